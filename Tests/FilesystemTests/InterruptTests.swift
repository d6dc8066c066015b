import Basics
import Glibc
import ObjectStore
import SystemPackage
import Testing

@testable import Filesystem

/// Calls that wait for the server, and whose program is told to stop.
@Suite struct InterruptTests {
  /// Reads a directory to its end on a thread of its own.
  private func read(
    _ bench: Bench, _ handle: HandleID, _ cancellation: Cancellation?, plus: Bool = false
  ) throws -> OneShot<Result<[String], Errno>> {
    let result = OneShot<Result<[String], Errno>>()
    let context = CallContext(uid: 1000, gid: 100, cancellation: cancellation)
    let thread = Thread.start(name: "test") {
      result.fulfil(
        Result { () throws(Errno) in
          var names: [String] = []
          try bench.filesystem.readDirectory(handle, offset: 2, plus: plus, context) { entry in
            names.append(entry.name.string)
            return true
          }
          return names
        })
    }
    try #require(thread).detach()
    return result
  }

  @Test func whoReadsADirectoryCanGiveUp() throws {
    let bench = try Bench()
    for name in ["a", "b"] { try bench.put("d/\(name)", "x") }
    let handle = try bench.filesystem.openDirectory(bench.inode("d"), bench.context)
    let gate = Gate()
    bench.store.forgetOperations()
    bench.store.setRule { $0.kind == .list ? .hold(gate) : nil }
    let (first, second) = (Cancellation(), Cancellation())
    let one = try read(bench, handle, first)
    gate.waitForArrival()
    // Behind the one who waits for the page.
    let other = try read(bench, handle, second)
    second.cancel()
    #expect(other.wait() == .failure(.interrupted))
    first.cancel()
    #expect(one.wait() == .failure(.interrupted))
    // The page that was asked for is for whoever reads on.
    gate.open()
    #expect(try read(bench, handle, nil).wait().get() == ["a", "b"])
    #expect(bench.store.count(.list) == 1)
    bench.filesystem.releaseDirectory(handle)
  }

  @Test(arguments: [false, true])
  func whoWaitsForTheMarkerOfADirectoryCanGiveUp(_ plus: Bool) throws {
    let bench = try Bench()
    try bench.put("d/", "", metadata: ["mode": "16877"])
    let directory = try bench.inode("d")
    bench.clock.advance(seconds: 100)
    // Somebody else has marked it since.
    try bench.put("d/", "", metadata: [DirectoryMark.field: "1"])
    try bench.put("d/a", "x", metadata: ["mode": "33152"])
    let handle = try bench.filesystem.openDirectory(directory, bench.context)
    let gate = Gate()
    bench.store.setRule { $0.kind == .head ? .hold(gate) : nil }
    let cancellation = Cancellation()
    let reader = try read(bench, handle, cancellation, plus: plus)
    gate.waitForArrival()
    cancellation.cancel()
    #expect(reader.wait() == .failure(.interrupted))
    gate.open()
    #expect(try read(bench, handle, nil, plus: plus).wait().get() == ["a"])
    // It is marked, and remembered so.
    #expect(try bench.stat("d/a").mode & 0o777 == 0o600)
    bench.filesystem.releaseDirectory(handle)
  }

  @Test func whoWaitsForAttributesOfManyGetsTheNamesWithoutThem() throws {
    let bench = try Bench()
    try bench.put("d/", "", metadata: [DirectoryMark.field: "1"])
    try bench.put("d/a", "x", metadata: ["mode": "33152"])
    let handle = try bench.filesystem.openDirectory(bench.inode("d"), bench.context)
    let gate = Gate()
    bench.store.setRule { $0.kind == .head && $0.key == ObjectKey("d/a") ? .hold(gate) : nil }
    let cancellation = Cancellation()
    let reader = try read(bench, handle, cancellation, plus: true)
    gate.waitForArrival()
    cancellation.cancel()
    #expect(reader.wait() == .success(["a"]))
    gate.open()
    bench.filesystem.releaseDirectory(handle)
  }

  @Test func whoWaitsForAListingAheadCanGiveUp() throws {
    let bench = try Bench()
    for name in ["a", "b", "c"] { try bench.put("d/\(name)", "x") }
    let directory = try bench.inode("d")
    for name in ["a", "b"] { _ = try bench.filesystem.lookup(directory, FileName(name), bench.context) }
    let gate = Gate()
    bench.store.setRule { $0.kind == .list ? .hold(gate) : nil }
    let cancellation = Cancellation()
    let context = CallContext(uid: 1000, gid: 100, cancellation: cancellation)
    let result = OneShot<Errno?>()
    let thread = Thread.start(name: "test") {
      result.fulfil(failure { _ = try bench.filesystem.lookup(directory, FileName("c"), context) })
    }
    try #require(thread).detach()
    gate.waitForArrival()
    cancellation.cancel()
    #expect(result.wait() == .interrupted)
    gate.open()
    bench.filesystem.listings.wait()
  }
}
