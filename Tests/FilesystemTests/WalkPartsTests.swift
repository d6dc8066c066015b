import Basics
import ObjectStore
import SystemPackage
import Testing

@testable import Filesystem

/// Walks that are shared between several listings (`WalkPlan`).
@Suite struct WalkPartsTests {
  private static let outer = 14
  private static let inner = 2
  private static let files = 250

  /// Files of seven pages in a tree whose directories are called `NAME00`, `NAME01`...
  private func bench(_ options: InMemoryObjectStore.Options = .init(), name: String = "d") throws -> Bench {
    let clock = ManualClock()
    let memory = InMemoryObjectStore(options: options, time: clock.timeSource)
    for outer in 0..<Self.outer {
      for inner in 0..<Self.inner {
        for file in 0..<Self.files {
          let key = ObjectKey("t/\(name)\(digits(outer))/\(inner)/\(file)")
          try memory.put(PutRequest(key, body: .bytes(Array("x".utf8))))
        }
      }
    }
    return try Bench(over: memory, rootIsMarked: false)
  }

  private func digits(_ number: Int) -> String { number < 10 ? "0\(number)" : "\(number)" }

  /// Lets a walk go on behind its first page when the second directory was opened; then it is waited for.
  private func find(_ bench: Bench) throws -> [String] {
    let (gate, first) = (Gate(), OneTime())
    _ = try bench.names("t")
    bench.store.setRule { operation in
      guard operation.kind == .list, operation.prefix == "t/", !first.isFirst else { return nil }
      return .hold(gate)
    }
    defer { bench.store.setRule { _ in nil } }
    return try paths(bench, "t") { path in
      guard path.split(separator: "/").count == 3, path.hasSuffix("1") else { return }
      gate.open()
      bench.filesystem.listings.wait()
    }
  }

  /// All paths below a directory, as `find` reads them.
  private func paths(_ bench: Bench, _ path: String, _ visit: (String) throws -> Void = { _ in }) throws -> [String] {
    try visit(path)
    var found: [String] = []
    for entry in try bench.list(path, plus: true, capacity: 500) where !entry.name.string.hasPrefix(".") {
      let below = "\(path)/\(entry.name.string)"
      found.append(below)
      if entry.type == 0o040000 { found += try paths(bench, below, visit) }
    }
    return found
  }

  private func expected(_ bench: Bench) -> [String] {
    var paths: Set<String> = []
    for key in bench.memory.files where key.hasPrefix("t/") {
      let parts = key.string.split(separator: "/")
      for count in 2..<parts.count + 1 { paths.insert(parts[..<count].joined(separator: "/")) }
    }
    return paths.sorted()
  }

  private func flatLists(_ bench: Bench) -> Int {
    bench.store.operations.filter { $0.kind == .list && $0.prefix == "t/" }.count
  }

  @Test func allNamesAreThereForFewMorePages() throws {
    let bench = try bench()
    _ = try bench.inode("t")
    bench.store.forgetOperations()
    // What is listed in the background comes in time.
    let found = try find(bench)
    #expect(found.sorted() == expected(bench))
    #expect(bench.store.count(.head) == 0)
    // The names of the top, one or two directories before the first page, seven pages, and one more for each listing.
    #expect(bench.store.count(.list) <= 3 + 7 + WalkPlan.mostListings)
    #expect(bench.filesystem.tree.keysAreOrdered)
    #expect(bench.filesystem.tree.withState { $0.walks.isEmpty })
  }

  @Test func listingsAreUnderWayTogether() throws {
    let bench = try bench()
    _ = try bench.names("t")
    let (gate, first) = (Gate(), OneTime())
    bench.store.setRule { operation in
      guard operation.kind == .list, operation.prefix == "t/", !first.isFirst else { return nil }
      return .hold(gate)
    }
    // Blocks until the directory itself has answered; the walk goes on with it.
    _ = try bench.names("t/d00")
    // The second page of the first listing, and the first of another.
    for _ in 0..<2 { gate.waitForArrival() }
    #expect(flatLists(bench) >= 3)
    gate.open()
    bench.filesystem.listings.wait()
  }

  @Test func whatChangesWhileItIsListedIsRight() throws {
    let bench = try bench()
    let gate = Gate()
    let first = OneTime()
    _ = try bench.names("t")
    bench.store.setRule { operation in
      guard operation.kind == .list, operation.prefix == "t/", !first.isFirst else { return nil }
      return .holdAnswer(gate)
    }
    _ = try bench.names("t/d00")
    for _ in 0..<2 { gate.waitForArrival() }
    // The answers are on their way, and know nothing of this.
    try bench.unlink("t/d11/1/7")
    try bench.save("t/d11/1/new", "new".utf8)
    _ = try bench.inode("t/d10/0/3")
    try bench.rename("t/d10/0/3", to: "t/d10/1/three")
    bench.store.setRule { _ in nil }
    gate.open()
    bench.filesystem.listings.wait()
    let found = Set(try paths(bench, "t"))
    #expect(found.symmetricDifference(expected(bench)).sorted() == [])
    #expect(try bench.load("t/d11/1/new") == Array("new".utf8))
    #expect(try bench.exists("t/d11/1/7") == false)
  }

  @Test(arguments: [3, 5]) func aServerWithAnotherOrderGivesAllNames(number: Int) throws {
    var options = InMemoryObjectStore.Options()
    options.listsByNames = true
    let bench = try bench(options)
    // `d03/...` comes before `d03-/...` here, and behind it in the order of bytes.
    for file in 0..<3 { try bench.put("t/d0\(number)-/0/\(file)", "x") }
    _ = try bench.inode("t")
    let found = try find(bench)
    #expect(found.sorted() == expected(bench))
    // A listing that begins between the two sees nothing of them, and so they are no part of what it has found.
    guard number == 3 else { return }
    #expect(!bench.filesystem.tree.keysAreOrdered)
    // The next walk does not try.
    bench.clock.advance(seconds: 60)
    bench.store.forgetOperations()
    let again = try find(bench)
    #expect(again.sorted() == expected(bench))
    // To find the top, its names, and eight pages.
    #expect(flatLists(bench) <= 2 + 8)
  }

  @Test func aServerThatAlwaysBeginsAtTheBeginningIsFoundOut() throws {
    var options = InMemoryObjectStore.Options()
    options.honoursStartAfter = false
    let bench = try bench(options)
    _ = try bench.inode("t")
    let found = try find(bench)
    #expect(found.sorted() == expected(bench))
    #expect(!bench.filesystem.tree.keysAreOrdered)
  }

  @Test(arguments: ["d", "é", "-", "0", "\u{10FFFF}"]) func namesOfAllKindsAreCutBetween(name: String) throws {
    let bench = try bench(name: name)
    // Objects and directories right where a listing may begin.
    for neighbour in ["00", "0", "/0", "-/x", "0/x", "\u{10FFFF}/x"] {
      for number in 3..<9 { try bench.put("t/\(name)0\(number)\(neighbour)", "x") }
    }
    _ = try bench.inode("t")
    let found = try find(bench)
    #expect(found.sorted() == expected(bench))
  }

  @Test func whoOpensOneDirectoryInTheMiddleListsThatAlone() throws {
    let bench = try bench()
    _ = try bench.names("t")
    bench.store.forgetOperations()
    _ = try bench.names("t/d07")
    bench.filesystem.listings.wait()
    #expect(flatLists(bench) == 0)
    _ = try bench.names("t/d03")
    bench.filesystem.listings.wait()
    #expect(flatLists(bench) > 0)
    bench.store.forgetOperations()
    _ = try bench.names("t/d11/1")
    #expect(bench.store.count(.list) == 0)
  }

  @Test func whoOpensTheFirstDirectoryOnlyCostsFewPages() throws {
    let bench = try bench()
    let tree = bench.filesystem.tree
    _ = try bench.names("t")
    let first = try bench.inode("t/d00")
    guard case .leading(let walk) = tree.noteOpened(first) else {
      Issue.record("no walk is begun")
      return
    }
    #expect(tree.goesOn(walk, pages: Walk.pagesOnTrial - 1) && !tree.goesOn(walk, pages: Walk.pagesOnTrial))
    // The directory itself is no evidence for more; another one is, whoever has found it.
    #expect(seen(tree.noteOpened(try bench.inode("t"))) == nil)
    #expect(!tree.goesOn(walk, pages: Walk.pagesOnTrial))
    #expect(seen(tree.noteOpened(try bench.inode("t/d01"))) == 0)
    #expect(tree.goesOn(walk, pages: Walk.pagesOnTrial))
    bench.clock.advance(seconds: 2)
    #expect(!tree.goesOn(walk, pages: 1))
    tree.end(walk, isComplete: false)
  }

  /// After how many pages somebody waits for the next; nil for who does not.
  private func seen(_ role: WalkRole) -> Int? {
    guard case .following(_, let pages) = role else { return nil }
    return pages
  }

  @Test func whoseNamesTheNextPageHasWaitsForIt() throws {
    let bench = try bench()
    let tree = bench.filesystem.tree
    _ = try bench.names("t")
    guard case .leading(let walk) = tree.noteOpened(try bench.inode("t/d00")) else {
      Issue.record("no walk is begun")
      return
    }
    let second = try bench.inode("t/d01")
    tree.notePage(of: walk, begun: [DirectoryPath("t/d01"), DirectoryPath("t/d01/1")])
    #expect(seen(tree.noteOpened(second)) == 1)
    // Further on it may take many pages.
    #expect(seen(tree.noteOpened(try bench.inode("t/d09"))) == nil)
    #expect(tree.keep([:], at: DirectoryPath("t/d01"), of: walk, isMarked: false))
    #expect(seen(tree.noteOpened(second)) == nil)
    // Neither is waited for what has come, nor for what does not come any more.
    walk.pages.wait(after: 0)
    tree.end(walk, isComplete: true)
    walk.pages.wait(after: 1)
  }

  // MARK: The plan

  private func markers(_ count: Int) -> [ObjectKey] { (0..<count).map { ObjectKey("p/d\(digits($0))/") } }

  @Test func aTreeOfFewPagesIsOneListing() {
    // All but two have begun on the first page.
    #expect(WalkPlan.cuts(markers(10), after: ObjectKey("p/d07/x")) == [])
    #expect(WalkPlan.cuts(markers(1), after: ObjectKey("p/d00/x")) == [])
    #expect(WalkPlan.cuts([], after: ObjectKey("p/x")) == [])
    // More than could be kept.
    #expect(WalkPlan.cuts((0..<1000).map { ObjectKey("p/\(1000 + $0)/") }, after: ObjectKey("p/1000/x")) == [])
  }

  @Test func theRestIsSharedEvenly() {
    let cuts = WalkPlan.cuts(markers(50).reversed(), after: ObjectKey("p/d04/x"))
    #expect(cuts == [ObjectKey("p/d190"), ObjectKey("p/d340")])
    #expect(WalkPlan.cuts(markers(16), after: ObjectKey("p/d01/x")).count == 2)
  }

  @Test func aCutIsBetweenDirectories() {
    for marker in ["a/", "a/b/", "é/", "a0/", "\u{10FFFF}/"] {
      let (end, marker) = (WalkPlan.end(of: ObjectKey(marker)), ObjectKey(marker))
      #expect(marker < end)
      for last in ["\u{10FFFF}", "~", "0", "\u{1}"] { #expect(ObjectKey(marker.string + last) < end) }
      #expect(ObjectKey(String(marker.string.dropLast()) + "1/x") > end)
    }
  }
}
