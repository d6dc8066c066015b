import Basics
import ObjectStore
import SystemPackage
import Testing

@testable import Filesystem

/// Names of a directory that nobody has listed, asked for one by one.
@Suite struct ListAheadTests {
  private func bench(_ count: Int, lifetime: Double = 10) throws -> Bench {
    let bench = try Bench(lifetime: lifetime, rootIsMarked: false)
    for index in 0..<count { try bench.put("d/\(index)", "x") }
    return bench
  }

  private func find(_ name: Int, in directory: InodeID, _ bench: Bench) throws -> InodeID? {
    try bench.filesystem.lookup(directory, FileName("\(name)"), bench.context).inode
  }

  @Test func theThirdNameMakesAListing() throws {
    let bench = try bench(1500)
    let directory = try bench.inode("d")
    bench.store.forgetOperations()
    for name in 0..<2 { #expect(try find(name, in: directory, bench) != nil) }
    #expect(bench.store.count(.head) == 2)
    #expect(bench.store.count(.list) == 2)
    bench.store.forgetOperations()
    for name in 2..<1600 { #expect(try (find(name, in: directory, bench) != nil) == (name < 1500)) }
    #expect(bench.store.operations.map(\.kind) == [.list, .list], "two pages, and no HEAD")
    #expect(try bench.stat("d/1499").size == 1)
  }

  @Test func twoNamesAtATimeMakeAListing() throws {
    let bench = try bench(100)
    let directory = try bench.inode("d")
    bench.store.forgetOperations()
    let once = OneTime()
    bench.store.setRule { operation in
      guard operation.key == ObjectKey("d/0"), once.isFirst else { return nil }
      // While the first is being asked for.
      #expect(throws: Never.self) { _ = try find(1, in: directory, bench) }
      return nil
    }
    #expect(try find(0, in: directory, bench) != nil)
    #expect(bench.store.operations.filter { $0.kind == .head }.map(\.key) == [ObjectKey("d/0")])
    #expect(Set(bench.store.operations.compactMap(\.prefix)) == ["d/", "d/0/"])
    for name in 2..<110 { #expect(try (find(name, in: directory, bench) != nil) == (name < 100)) }
    #expect(bench.store.count(.list) == 2)
  }

  @Test func openingAndReadingManyFilesIsOneRequestEach() throws {
    let bench = try bench(100)
    for name in 0..<100 { #expect(try bench.load("d/\(name)") == Array("x".utf8)) }
    #expect(bench.store.count(.get) == 100)
    #expect(bench.store.count(.head) <= 5)
    #expect(bench.store.count(.list) <= 5)
  }

  @Test func aDirectoryThatIsTooLargeIsGivenUp() throws {
    let bench = try bench(11_000)
    let directory = try bench.inode("d")
    for name in 0..<3 { _ = try find(name, in: directory, bench) }
    // The rest of the listing is made on another thread.
    bench.filesystem.listings.close()
    let listed = bench.store.count(.list)
    #expect(listed < 20)
    bench.store.forgetOperations()
    for name in 3..<20 { #expect(try find(name, in: directory, bench) != nil) }
    #expect(bench.store.count(.head) == 17)
    #expect(bench.store.count(.list) == 17, "each for its own name")
  }

  @Test func slowlyOrWithoutALifetimeEachNameIsAskedFor() throws {
    let slow = try bench(10)
    let directory = try slow.inode("d")
    slow.store.forgetOperations()
    for name in 0..<10 {
      slow.clock.advance(seconds: 3)
      #expect(try find(name, in: directory, slow) != nil)
    }
    #expect(slow.store.count(.head) == 10)
    let asking = try bench(10, lifetime: 0)
    let other = try asking.inode("d")
    asking.store.forgetOperations()
    for name in 0..<10 { #expect(try find(name, in: other, asking) != nil) }
    #expect(asking.store.count(.head) == 10)
  }

  @Test func whatChangesWhileItIsListedIsRight() throws {
    let bench = try bench(20)
    let directory = try bench.inode("d")
    for name in 0..<2 { _ = try find(name, in: directory, bench) }
    let once = OneTime()
    bench.store.setRule { operation in
      guard operation.kind == .list, operation.prefix == "d/", once.isFirst else { return nil }
      // By the time the answer comes, one file is gone and another is there.
      #expect(throws: Never.self) {
        try bench.filesystem.unlink(directory, FileName("1"), bench.context)
        let mode = OpenMode(reads: true, writes: true)
        let made = try bench.filesystem.create(directory, FileName("new"), permissions: 0o644, mode, bench.context)
        try bench.filesystem.flush(made.open.handle, bench.context)
        bench.filesystem.release(made.open.handle)
      }
      return nil
    }
    #expect(try find(7, in: directory, bench) != nil)
    #expect(!once.isFirst)
    bench.store.setRule { _ in nil }
    #expect(try bench.exists("d/1") == false)
    #expect(try bench.exists("d/new"))
    #expect(try bench.names("d").count == 20)
  }

  @Test func aListingThatFailsIsNobodysError() throws {
    let bench = try bench(20)
    let directory = try bench.inode("d")
    bench.store.setRule { $0.kind == .list && $0.prefix == "d/" ? .fail(.accessDenied) : nil }
    for name in 0..<20 { #expect(try find(name, in: directory, bench) != nil) }
  }
}
