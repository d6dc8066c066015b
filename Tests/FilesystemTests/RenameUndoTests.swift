import Basics
import ObjectStore
import Synchronization
import SystemPackage
import Testing

@testable import Filesystem

/// A rename of a directory that fails takes back what it has made.
@Suite struct RenameUndoTests {
  @Test(arguments: [FailingObjectStore.Fault.fail(.serverError), .loseAnswer(.timedOut)])
  func nothingStaysUnderTheNewName(_ fault: FailingObjectStore.Fault) throws {
    let bench = try Bench()
    try bench.fillSource()
    bench.store.setRule { $0.kind == .copy && $0.source == ObjectKey("src/3") ? fault : nil }
    #expect(failure { try bench.rename("src", to: "dst") } != nil)
    #expect(bench.keys(below: "dst") == [])
    #expect(bench.keys(below: "src/").count == 7)
    bench.store.setRule { _ in nil }
    #expect(try bench.names("") == ["src"])
    try bench.rename("src", to: "dst")
    #expect(try bench.names("dst").count == 6)
    #expect(bench.keys(below: "src") == [])
  }

  @Test func anInterruptedOneTakesBackWhatItMade() throws {
    let bench = try Bench()
    try bench.fillSource()
    let cancellation = Cancellation()
    bench.store.setRule { operation in
      if operation.kind == .copy, operation.ordinal == 3 { cancellation.cancel() }
      return nil
    }
    let context = CallContext(uid: 1000, gid: 100, cancellation: cancellation)
    #expect(
      failure {
        try bench.filesystem.rename(.root, FileName("src"), to: .root, FileName("dst"), .replace, context)
      } == .interrupted)
    #expect(bench.keys(below: "dst") == [])
    #expect(try bench.load("src/1") == Array("x1".utf8))
  }

  @Test func copiesUnderWayWhenASignalComesAreWaitedForAndTakenBack() throws {
    let bench = try Bench()
    try bench.fillSource()
    let (gate, cancellation) = (Gate(), Cancellation())
    // Markers come first: the copies of the objects are not begun any more.
    bench.store.setRule { $0.kind == .put && $0.key == ObjectKey("dst/sub/") ? .hold(gate) : nil }
    let result = bench.startMoving(cancellation)
    gate.waitForArrival()
    cancellation.cancel()
    #expect(gate.waitingCount == 1)
    gate.open()
    #expect(result.wait() == .interrupted)
    #expect(bench.store.count(.copy) == 0)
    #expect(bench.keys(below: "dst") == [] && bench.keys(below: "src").count == 7)
  }

  @Test func whoDoesNotAnswerIsNotWaitedForEndlessly() throws {
    let bench = try Bench()
    try bench.fillSource()
    let (gate, cancellation) = (Gate(), Cancellation())
    bench.store.setRule { $0.kind == .copy && $0.source == ObjectKey("src/2") ? .hold(gate) : nil }
    let result = bench.startMoving(cancellation)
    gate.waitForArrival()
    cancellation.cancel()
    // What is scheduled happens: the patience is over.
    bench.runUploads()
    #expect(result.wait() == .interrupted)
    #expect(bench.keys(below: "src").count == 7)
  }

  @Test func theEmptyDirectoryThatWasToBeReplacedIsWhatItWas() throws {
    let bench = try Bench()
    try bench.fillSource()
    try bench.put("dst/", "", metadata: ["mode": "\(0o040700)", "theirs": "kept"])
    bench.store.setRule { $0.kind == .copy && $0.source == ObjectKey("src/3") ? .fail(.serverError) : nil }
    #expect(failure { try bench.rename("src", to: "dst") } == .ioError)
    bench.store.setRule { _ in nil }
    #expect(bench.keys(below: "dst/") == [ObjectKey("dst/")])
    #expect(try bench.stat("dst").mode & 0o777 == 0o700)
    #expect(try bench.metadata("dst/")["theirs"] == "kept")
  }

  @Test func theEmptyDirectoryStaysWhenItCannotBeLearntWhatItIs() throws {
    let bench = try Bench()
    try bench.fillSource()
    try bench.put("dst/", "", metadata: ["mode": "\(0o040700)", "theirs": "kept"])
    _ = try (bench.stat("src"), bench.stat("dst"))
    bench.store.forgetOperations()
    bench.store.setRule { $0.kind == .head && $0.key == ObjectKey("dst/") ? .fail(.cancelled) : nil }
    #expect(failure { try bench.rename("src", to: "dst") } == .interrupted)
    #expect(bench.store.operations.last?.kind == .head)
    #expect(bench.keys(below: "dst") == [ObjectKey("dst/")])
    #expect(try bench.metadata("dst/")["theirs"] == "kept")
    #expect(bench.journal.takeUp(log: bench.filesystem.log).intents.isEmpty)
  }

  @Test func aDirectoryThatOthersMadeBeforeAnythingElseStays() throws {
    let bench = try Bench()
    try bench.fillSource()
    _ = try (bench.stat("src"), bench.exists("dst"))
    let memory = bench.memory
    bench.store.setRule { operation in
      guard operation.kind == .head, operation.key == ObjectKey("src/") else { return nil }
      _ = try? memory.put(PutRequest(ObjectKey("dst/"), body: .bytes([])))
      return .fail(.cancelled)
    }
    #expect(failure { try bench.rename("src", to: "dst") } == .interrupted)
    #expect(bench.keys(below: "dst") == [ObjectKey("dst/")])
    #expect(bench.store.count(.put) == 0)
  }

  @Test func aMarkerWithBytesIsNotReplaced() throws {
    let bench = try Bench()
    try bench.fillSource()
    try bench.put("dst/", "notes")
    #expect(failure { try bench.rename("src", to: "dst") } == .directoryNotEmpty)
    #expect(bench.text("dst/") == "notes" && bench.keys(below: "src/").count == 7)
  }

  @Test func whatOthersStoreUnderTheNewNameStays() throws {
    let bench = try Bench()
    try bench.fillSource()
    let memory = bench.memory
    bench.store.setRule { operation in
      guard operation.kind == .copy, operation.source == ObjectKey("src/3") else { return nil }
      _ = try? memory.put(PutRequest(ObjectKey("dst/theirs"), body: .bytes([1])))
      _ = try? memory.put(PutRequest(ObjectKey("dst/3"), body: .bytes([2])))
      return .fail(.serverError)
    }
    #expect(failure { try bench.rename("src", to: "dst") } == .ioError)
    #expect(bench.keys(below: "dst/") == [ObjectKey("dst/"), ObjectKey("dst/3"), ObjectKey("dst/theirs")])
  }
}

/// What the tests of renames share: they move a directory `src` to `dst`.
extension Bench {
  /// Five files, and `sub` with one more.
  func fillSource() throws {
    for index in 0..<5 { try put("src/\(index)", "x\(index)") }
    try put("src/sub/", "")
    try put("src/sub/y", "y")
  }

  func keys(below prefix: String) -> [ObjectKey] { memory.keys.filter { $0.hasPrefix(prefix) } }

  /// Renames it on a thread of its own, and tells how that ended.
  func startMoving(_ cancellation: Cancellation) -> OneShot<Errno?> {
    let result = OneShot<Errno?>()
    let context = CallContext(uid: 1000, gid: 100, cancellation: cancellation)
    let thread = Thread.start(name: "test") { [filesystem] in
      result.fulfil(
        failure {
          try filesystem.rename(.root, FileName("src"), to: .root, FileName("dst"), .replace, context)
        })
    }
    thread?.detach()
    return result
  }
}
