import Basics
import ObjectStore
import Synchronization
import SystemPackage
import Testing

@testable import Filesystem

/// How renames end when something goes wrong or somebody else is at work.
@Suite struct RenameEndTests {
  private func fill(_ bench: Bench) throws {
    for index in 0..<5 { try bench.put("src/\(index)", "x\(index)") }
    try bench.put("src/sub/", "")
    try bench.put("src/sub/y", "y")
  }

  private func below(_ prefix: String, _ bench: Bench) -> [ObjectKey] {
    bench.memory.keys.filter { $0.hasPrefix(prefix) }
  }

  // MARK: A copy that fails

  @Test(arguments: [FailingObjectStore.Fault.fail(.serverError), .loseAnswer(.timedOut)])
  func nothingStaysUnderTheNewName(_ fault: FailingObjectStore.Fault) throws {
    let bench = try Bench()
    try fill(bench)
    bench.store.setRule { $0.kind == .copy && $0.source == ObjectKey("src/3") ? fault : nil }
    #expect(failure { try bench.rename("src", to: "dst") } != nil)
    #expect(below("dst", bench) == [])
    #expect(below("src/", bench).count == 7)
    bench.store.setRule { _ in nil }
    #expect(try bench.names("") == ["src"])
    try bench.rename("src", to: "dst")
    #expect(try bench.names("dst").count == 6)
    #expect(below("src", bench) == [])
  }

  @Test func anInterruptedOneTakesBackWhatItMade() throws {
    let bench = try Bench()
    try fill(bench)
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
    #expect(below("dst", bench) == [])
    #expect(try bench.load("src/1") == Array("x1".utf8))
  }

  @Test func copiesUnderWayWhenASignalComesAreWaitedForAndTakenBack() throws {
    let bench = try Bench()
    try fill(bench)
    let (gate, cancellation) = (Gate(), Cancellation())
    // Markers come first: the copies of the objects are not begun any more.
    bench.store.setRule { $0.kind == .put && $0.key == ObjectKey("dst/sub/") ? .hold(gate) : nil }
    let result = OneShot<Errno?>()
    let context = CallContext(uid: 1000, gid: 100, cancellation: cancellation)
    let thread = Thread.start(name: "test") {
      result.fulfil(
        failure {
          try bench.filesystem.rename(.root, FileName("src"), to: .root, FileName("dst"), .replace, context)
        })
    }
    gate.waitForArrival()
    cancellation.cancel()
    #expect(gate.waitingCount == 1)
    gate.open()
    thread?.join()
    #expect(result.wait() == .interrupted)
    #expect(bench.store.count(.copy) == 0)
    #expect(below("dst", bench) == [] && below("src", bench).count == 7)
  }

  @Test func whoDoesNotAnswerIsNotWaitedForEndlessly() throws {
    let bench = try Bench()
    try fill(bench)
    let (gate, cancellation) = (Gate(), Cancellation())
    bench.store.setRule { $0.kind == .copy && $0.source == ObjectKey("src/2") ? .hold(gate) : nil }
    let result = OneShot<Errno?>()
    let context = CallContext(uid: 1000, gid: 100, cancellation: cancellation)
    let thread = Thread.start(name: "test") {
      result.fulfil(
        failure {
          try bench.filesystem.rename(.root, FileName("src"), to: .root, FileName("dst"), .replace, context)
        })
    }
    gate.waitForArrival()
    cancellation.cancel()
    // What is scheduled happens: the patience is over.
    bench.runUploads()
    thread?.join()
    #expect(result.wait() == .interrupted)
    #expect(below("src", bench).count == 7)
  }

  @Test func theEmptyDirectoryThatWasToBeReplacedIsWhatItWas() throws {
    let bench = try Bench()
    try fill(bench)
    try bench.put("dst/", "", metadata: ["mode": "\(0o040700)", "theirs": "kept"])
    bench.store.setRule { $0.kind == .copy && $0.source == ObjectKey("src/3") ? .fail(.serverError) : nil }
    #expect(failure { try bench.rename("src", to: "dst") } == .ioError)
    bench.store.setRule { _ in nil }
    #expect(below("dst/", bench) == [ObjectKey("dst/")])
    #expect(try bench.stat("dst").mode & 0o777 == 0o700)
    #expect(try bench.metadata("dst/")["theirs"] == "kept")
  }

  @Test func theEmptyDirectoryStaysWhenItCannotBeLearntWhatItIs() throws {
    let bench = try Bench()
    try fill(bench)
    try bench.put("dst/", "", metadata: ["mode": "\(0o040700)", "theirs": "kept"])
    _ = try (bench.stat("src"), bench.stat("dst"))
    bench.store.forgetOperations()
    bench.store.setRule { $0.kind == .head && $0.key == ObjectKey("dst/") ? .fail(.cancelled) : nil }
    #expect(failure { try bench.rename("src", to: "dst") } == .interrupted)
    #expect(bench.store.operations.last?.kind == .head)
    #expect(below("dst", bench) == [ObjectKey("dst/")])
    #expect(try bench.metadata("dst/")["theirs"] == "kept")
    #expect(bench.journal.takeUp(log: bench.filesystem.log).intents.isEmpty)
  }

  @Test func aDirectoryThatOthersMadeBeforeAnythingElseStays() throws {
    let bench = try Bench()
    try fill(bench)
    _ = try (bench.stat("src"), bench.exists("dst"))
    let memory = bench.memory
    bench.store.setRule { operation in
      guard operation.kind == .head, operation.key == ObjectKey("src/") else { return nil }
      _ = try? memory.put(PutRequest(ObjectKey("dst/"), body: .bytes([])))
      return .fail(.cancelled)
    }
    #expect(failure { try bench.rename("src", to: "dst") } == .interrupted)
    #expect(below("dst", bench) == [ObjectKey("dst/")])
    #expect(bench.store.count(.put) == 0)
  }

  @Test func aMarkerWithBytesIsNotReplaced() throws {
    let bench = try Bench()
    try fill(bench)
    try bench.put("dst/", "notes")
    #expect(failure { try bench.rename("src", to: "dst") } == .directoryNotEmpty)
    #expect(bench.text("dst/") == "notes" && below("src/", bench).count == 7)
  }

  @Test func whatOthersStoreUnderTheNewNameStays() throws {
    let bench = try Bench()
    try fill(bench)
    let memory = bench.memory
    bench.store.setRule { operation in
      guard operation.kind == .copy, operation.source == ObjectKey("src/3") else { return nil }
      _ = try? memory.put(PutRequest(ObjectKey("dst/theirs"), body: .bytes([1])))
      _ = try? memory.put(PutRequest(ObjectKey("dst/3"), body: .bytes([2])))
      return .fail(.serverError)
    }
    #expect(failure { try bench.rename("src", to: "dst") } == .ioError)
    #expect(below("dst/", bench) == [ObjectKey("dst/"), ObjectKey("dst/3"), ObjectKey("dst/theirs")])
  }

  // MARK: Somebody else at work

  @Test func whatOthersStoreInADirectoryThatMovesKeepsItsOldName() throws {
    let bench = try Bench()
    try fill(bench)
    let (memory, clock, once) = (bench.memory, bench.clock, OneTime())
    bench.store.setRule { operation in
      // All copies have been made when the deletion begins with another look.
      guard operation.kind == .copy, operation.source == ObjectKey("src/sub/y"), once.isFirst else { return nil }
      clock.advance(seconds: 5)
      for (key, text) in [("src/1", "newer"), ("src/2", "x2"), ("src/new", "new"), ("src/made/", "")] {
        _ = try? memory.put(PutRequest(ObjectKey(key), body: .bytes(Array(text.utf8))))
      }
      return nil
    }
    try bench.rename("src", to: "dst")
    // The same bytes stored once more are somebody's, too.
    let kept = ["src/1", "src/2", "src/made/", "src/new"]
    #expect(below("src", bench).map(\.string).filter { $0 != "src/" } == kept)
    #expect(bench.text("src/1") == "newer" && bench.text("dst/2") == "x2")
    #expect(try bench.names("src") == ["1", "2", "made", "new"])
    #expect(try bench.load("src/1") == Array("newer".utf8))
  }

  @Test func aFileThatOthersReplaceDuringALongCopyKeepsTheirVersion() throws {
    let bench = try Bench()
    try bench.put("a", "old")
    let (memory, clock) = (bench.memory, bench.clock)
    let seen = OneTime()
    bench.store.setRule { operation in
      if operation.kind == .head, operation.key == ObjectKey("a"), bench.text("b") != nil, seen.isFirst {
        _ = try? memory.put(PutRequest(ObjectKey("a"), body: .bytes(Array("newer".utf8))))
      }
      if operation.kind == .copy { clock.advance(seconds: 2) }
      return nil
    }
    try bench.rename("a", to: "b")
    #expect(!seen.isFirst)
    #expect(bench.text("a") == "newer" && bench.text("b") == "old")
    #expect(try bench.load("a") == Array("newer".utf8))
  }

  @Test func aShortRenameDoesNotAskOnceMore() throws {
    let bench = try Bench()
    try bench.put("a", "old")
    _ = try bench.names("")
    bench.store.forgetOperations()
    try bench.rename("a", to: "b")
    #expect(bench.store.operations.drop { $0.kind != .copy }.map(\.kind) == [.copy, .delete])
  }

  // MARK: A deletion that fails

  @Test func oldNamesThatCannotBeRemovedNowGoLater() throws {
    let bench = try Bench()
    try fill(bench)
    bench.store.setRule { $0.kind == .deleteMany ? .fail(.throttled) : nil }
    try bench.rename("src", to: "dst")
    #expect(try bench.names("dst").count == 6)
    try bench.save("dst/1", "changed".utf8)
    #expect(below("src/", bench).count == 7)
    bench.runUploads()
    #expect(below("src/", bench).count == 7)
    bench.store.setRule { _ in nil }
    bench.clock.advance(seconds: 3)
    try bench.put("src/2", "newer")
    bench.runUploads()
    #expect(below("src", bench).map(\.string) == ["src/2"])
    #expect(bench.text("dst/1") == "changed" && bench.text("dst/2") == "x2")
    #expect(bench.journal.takeUp(log: bench.filesystem.log).intents.isEmpty)
  }

  @Test func oldNamesThatWaitForTheirRemovalArePending() throws {
    let bench = try Bench()
    try fill(bench)
    bench.store.setRule { $0.kind == .deleteMany ? .fail(.throttled) : nil }
    try bench.rename("src", to: "dst")
    let pending = bench.filesystem.pending()
    #expect(pending.paths == ["src"] && pending.failed == 1 && pending.bytes == 0)
    #expect(bench.filesystem.unsentFiles().first?.trouble?.failures == 1)
    #expect(bench.filesystem.drain() == ["src"])
    #expect(bench.filesystem.unsentFiles().first?.trouble?.failures == 2)
    bench.store.setRule { _ in nil }
    #expect(bench.filesystem.drain() == [])
    #expect(below("src", bench) == [])
    #expect(bench.filesystem.pending().paths.isEmpty)
    #expect(bench.journal.takeUp(log: bench.filesystem.log).intents.isEmpty)
    // The try in the background has nothing left to do.
    bench.store.forgetOperations()
    bench.runUploads()
    #expect(bench.store.operations.isEmpty)
  }

  @Test func whatWasMadeUnderTheOldNameMeanwhileStays() throws {
    let bench = try Bench()
    try fill(bench)
    bench.store.setRule { $0.kind == .deleteMany ? .fail(.throttled) : nil }
    try bench.rename("src", to: "dst")
    bench.store.setRule { _ in nil }
    // A program clears up by itself, and begins anew.
    for key in below("src/", bench) { try bench.memory.delete(key) }
    bench.clock.advance(seconds: 20)
    try bench.makeDirectory("src")
    try bench.makeDirectory("src/sub")
    bench.runUploads()
    #expect(below("src", bench).map(\.string) == ["src/", "src/sub/"])
    #expect(try bench.names("src") == ["sub"])
  }

  @Test func filesThatAreBeingWrittenKeepTheirOldDirectories() throws {
    let bench = try Bench()
    try fill(bench)
    try bench.put("src/", "")
    bench.store.setRule { $0.kind == .deleteMany ? .fail(.throttled) : nil }
    try bench.rename("src", to: "dst")
    bench.store.setRule { _ in nil }
    let (new, old) = (try bench.create("src/sub/new"), try bench.open("src/1", writes: true))
    try bench.write("new".utf8, to: new)
    try bench.write("changed".utf8, to: old, at: 2)
    bench.runUploads()
    #expect(below("src", bench).map(\.string) == ["src/", "src/1", "src/sub/"])
    try bench.close(new)
    try bench.close(old)
    #expect(bench.text("src/sub/new") == "new" && bench.text("src/1") == "x1changed" && bench.text("dst/1") == "x1")
  }

  @Test(arguments: [false, true]) func directoriesMadeUnderTheOldNameSinceAreNotRests(newIsGone: Bool) throws {
    let (clock, directory) = (ManualClock(), try TemporaryDirectory())
    let memory = InMemoryObjectStore(time: clock.timeSource)
    do {
      let bench = try Bench(over: memory, directory: directory)
      try fill(bench)
      bench.store.setRule { $0.kind == .deleteMany ? .fail(.connectionFailed) : nil }
      try bench.rename("src", to: "dst")
    }
    clock.advance(seconds: 60)
    let next = try Bench(over: memory, directory: directory)
    for key in below("src/", next) + (newIsGone ? below("dst/", next) : []) { try memory.delete(key) }
    let made = newIsGone ? ["src/"] : ["src/", "src/sub/"]
    for key in made { try next.put(key, "") }
    next.filesystem.takeUpUnsent()
    #expect(below("src", next).map(\.string) == made)
  }

  @Test func aSignalLeavesTheRemovalToTheBackground() throws {
    let bench = try Bench()
    try fill(bench)
    let (gate, cancellation) = (Gate(), Cancellation())
    bench.store.setRule { $0.kind == .deleteMany ? .hold(gate) : nil }
    let result = OneShot<Errno?>()
    let context = CallContext(uid: 1000, gid: 100, cancellation: cancellation)
    let thread = Thread.start(name: "test") {
      result.fulfil(
        failure {
          try bench.filesystem.rename(.root, FileName("src"), to: .root, FileName("dst"), .replace, context)
        })
    }
    gate.waitForArrival()
    cancellation.cancel()
    // What is scheduled happens: the patience is over.
    bench.runUploads()
    thread?.join()
    #expect(result.wait() == nil)
    gate.open()
    bench.runUploads()
    #expect(below("src", bench) == [] && below("dst/", bench).count == 8)
  }

  @Test func theNextMountRemovesThemOtherwise() throws {
    let (memory, directory) = (InMemoryObjectStore(), try TemporaryDirectory())
    do {
      let bench = try Bench(over: memory, directory: directory)
      try fill(bench)
      bench.store.setRule { $0.kind == .deleteMany ? .fail(.connectionFailed) : nil }
      try bench.rename("src", to: "dst")
    }
    let next = try Bench(over: memory, directory: directory)
    next.filesystem.takeUpUnsent()
    #expect(below("src", next) == [])
    #expect(below("dst/", next).count == 8)
  }

  @Test func aCopyMadeUnderTheOldNameSinceIsNotTakenForARest() throws {
    let (clock, directory) = (ManualClock(), try TemporaryDirectory())
    let memory = InMemoryObjectStore(time: clock.timeSource)
    do {
      let bench = try Bench(over: memory, directory: directory)
      try fill(bench)
      bench.store.setRule { $0.kind == .deleteMany ? .fail(.connectionFailed) : nil }
      try bench.rename("src", to: "dst")
    }
    clock.advance(seconds: 60)
    let next = try Bench(over: memory, directory: directory)
    try next.put("src/1", "x1")
    next.filesystem.takeUpUnsent()
    #expect(below("src", next).map(\.string) == ["src/1"])
  }

  @Test func oldNamesThatMayNotBeRemovedAreAnError() throws {
    let bench = try Bench()
    try fill(bench)
    bench.store.setRule { $0.kind == .deleteMany ? .fail(.accessDenied) : nil }
    #expect(failure { try bench.rename("src", to: "dst") } == .permissionDenied)
    bench.store.setRule { _ in nil }
    #expect(try bench.names("src") == bench.names("dst"))
    #expect(bench.journal.takeUp(log: bench.filesystem.log).intents.isEmpty)
  }

  // MARK: Files that are being written

  @Test func anInterruptedRenameDoesNotTakeHalfAFileForAWholeOne() throws {
    let (memory, directory) = (InMemoryObjectStore(), try TemporaryDirectory())
    do {
      let bench = try Bench(over: memory, directory: directory)
      try fill(bench)
      let handle = try bench.create("src/half")
      try bench.write("half".utf8, to: handle)
      bench.store.setRule { $0.kind == .put && $0.key == ObjectKey("src/half") ? .fail(.cancelled) : nil }
      #expect(failure { try bench.rename("src", to: "dst") } == .interrupted)
      #expect(bench.store.operations.last?.key == ObjectKey("src/half"))
    }
    let next = try Bench(over: memory, directory: directory)
    next.filesystem.takeUpUnsent()
    #expect(next.text("src/half") == nil)
  }

  // MARK: The point of no return, and markers

  @Test func nobodyInterruptsARenameWhoseCopyIsMade() throws {
    let bench = try Bench()
    try bench.put("d/a", "x")
    try bench.put("d/e/b", "y")
    let cancellation = Cancellation()
    bench.store.setRule { operation in
      if operation.kind == .put, operation.key == ObjectKey("d/") { cancellation.cancel() }
      return nil
    }
    let inode = try bench.inode("d")
    let context = CallContext(uid: 1000, gid: 100, cancellation: cancellation)
    try bench.filesystem.rename(inode, FileName("a"), to: .root, FileName("a"), .replace, context)
    #expect(cancellation.isCancelled)
    #expect(bench.text("a") == "x" && bench.text("d/a") == nil && bench.text("d/") != nil)
  }

  @Test func theBytesOfMarkersMoveAlong() throws {
    let bench = try Bench()
    try bench.put("src/", "notes", metadata: ["mode": "\(0o040750)"])
    try bench.put("src/sub/", "more")
    try bench.put("src/sub/y", "y")
    try bench.rename("src", to: "dst")
    #expect(bench.text("dst/") == "notes" && bench.text("dst/sub/") == "more")
    #expect(try bench.stat("dst").mode & 0o777 == 0o750)
    #expect(below("src", bench) == [])
  }
}
