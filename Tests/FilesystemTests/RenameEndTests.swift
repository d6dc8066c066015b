import Basics
import ObjectStore
import Synchronization
import SystemPackage
import Testing

@testable import Filesystem

/// How renames end when somebody else is at work, or the old names cannot be removed at once.
@Suite struct RenameEndTests {
  // MARK: Somebody else at work

  @Test func whatOthersStoreInADirectoryThatMovesKeepsItsOldName() throws {
    let bench = try Bench()
    try bench.fillSource()
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
    #expect(bench.keys(below: "src").map(\.string).filter { $0 != "src/" } == kept)
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
    try bench.fillSource()
    bench.store.setRule { $0.kind == .deleteMany ? .fail(.throttled) : nil }
    try bench.rename("src", to: "dst")
    #expect(try bench.names("dst").count == 6)
    try bench.save("dst/1", "changed".utf8)
    #expect(bench.keys(below: "src/").count == 7)
    bench.runUploads()
    #expect(bench.keys(below: "src/").count == 7)
    bench.store.setRule { _ in nil }
    bench.clock.advance(seconds: 3)
    try bench.put("src/2", "newer")
    bench.runUploads()
    #expect(bench.keys(below: "src").map(\.string) == ["src/2"])
    #expect(bench.text("dst/1") == "changed" && bench.text("dst/2") == "x2")
    #expect(bench.journal.takeUp(log: bench.filesystem.log).intents.isEmpty)
  }

  @Test func oldNamesThatWaitForTheirRemovalArePending() throws {
    let bench = try Bench()
    try bench.fillSource()
    bench.store.setRule { $0.kind == .deleteMany ? .fail(.throttled) : nil }
    try bench.rename("src", to: "dst")
    let pending = bench.filesystem.pending()
    #expect(pending.paths == ["src"] && pending.failed == 1 && pending.bytes == 0)
    #expect(bench.filesystem.unsentFiles().first?.trouble?.failures == 1)
    #expect(bench.filesystem.drain() == ["src"])
    #expect(bench.filesystem.unsentFiles().first?.trouble?.failures == 2)
    bench.store.setRule { _ in nil }
    #expect(bench.filesystem.drain() == [])
    #expect(bench.keys(below: "src") == [])
    #expect(bench.filesystem.pending().paths.isEmpty)
    #expect(bench.journal.takeUp(log: bench.filesystem.log).intents.isEmpty)
    // The try in the background has nothing left to do.
    bench.store.forgetOperations()
    bench.runUploads()
    #expect(bench.store.operations.isEmpty)
  }

  @Test func whatWasMadeUnderTheOldNameMeanwhileStays() throws {
    let bench = try Bench()
    try bench.fillSource()
    bench.store.setRule { $0.kind == .deleteMany ? .fail(.throttled) : nil }
    try bench.rename("src", to: "dst")
    bench.store.setRule { _ in nil }
    // A program clears up by itself, and begins anew.
    for key in bench.keys(below: "src/") { try bench.memory.delete(key) }
    bench.clock.advance(seconds: 20)
    try bench.makeDirectory("src")
    try bench.makeDirectory("src/sub")
    bench.runUploads()
    #expect(bench.keys(below: "src").map(\.string) == ["src/", "src/sub/"])
    #expect(try bench.names("src") == ["sub"])
  }

  @Test func filesThatAreBeingWrittenKeepTheirOldDirectories() throws {
    let bench = try Bench()
    try bench.fillSource()
    try bench.put("src/", "")
    bench.store.setRule { $0.kind == .deleteMany ? .fail(.throttled) : nil }
    try bench.rename("src", to: "dst")
    bench.store.setRule { _ in nil }
    let (new, old) = (try bench.create("src/sub/new"), try bench.open("src/1", writes: true))
    try bench.write("new".utf8, to: new)
    try bench.write("changed".utf8, to: old, at: 2)
    bench.runUploads()
    #expect(bench.keys(below: "src").map(\.string) == ["src/", "src/1", "src/sub/"])
    try bench.close(new)
    try bench.close(old)
    #expect(bench.text("src/sub/new") == "new" && bench.text("src/1") == "x1changed" && bench.text("dst/1") == "x1")
  }

  @Test(arguments: [false, true]) func directoriesMadeUnderTheOldNameSinceAreNotRests(newIsGone: Bool) throws {
    let (clock, directory) = (ManualClock(), try TemporaryDirectory())
    let memory = InMemoryObjectStore(time: clock.timeSource)
    do {
      let bench = try Bench(over: memory, directory: directory)
      try bench.fillSource()
      bench.store.setRule { $0.kind == .deleteMany ? .fail(.connectionFailed) : nil }
      try bench.rename("src", to: "dst")
    }
    clock.advance(seconds: 60)
    let next = try Bench(over: memory, directory: directory)
    for key in next.keys(below: "src/") + (newIsGone ? next.keys(below: "dst/") : []) { try memory.delete(key) }
    let made = newIsGone ? ["src/"] : ["src/", "src/sub/"]
    for key in made { try next.put(key, "") }
    next.filesystem.takeUpUnsent()
    #expect(next.keys(below: "src").map(\.string) == made)
  }

  @Test func aSignalLeavesTheRemovalToTheBackground() throws {
    let bench = try Bench()
    try bench.fillSource()
    let (gate, cancellation) = (Gate(), Cancellation())
    bench.store.setRule { $0.kind == .deleteMany ? .hold(gate) : nil }
    let result = bench.startMoving(cancellation)
    gate.waitForArrival()
    cancellation.cancel()
    // What is scheduled happens: the patience is over.
    bench.runUploads()
    #expect(result.wait() == nil)
    gate.open()
    bench.runUploads()
    #expect(bench.keys(below: "src") == [] && bench.keys(below: "dst/").count == 8)
  }

  @Test func theNextMountRemovesThemOtherwise() throws {
    let (memory, directory) = (InMemoryObjectStore(), try TemporaryDirectory())
    do {
      let bench = try Bench(over: memory, directory: directory)
      try bench.fillSource()
      bench.store.setRule { $0.kind == .deleteMany ? .fail(.connectionFailed) : nil }
      try bench.rename("src", to: "dst")
    }
    let next = try Bench(over: memory, directory: directory)
    next.filesystem.takeUpUnsent()
    #expect(next.keys(below: "src") == [])
    #expect(next.keys(below: "dst/").count == 8)
  }

  @Test func aCopyMadeUnderTheOldNameSinceIsNotTakenForARest() throws {
    let (clock, directory) = (ManualClock(), try TemporaryDirectory())
    let memory = InMemoryObjectStore(time: clock.timeSource)
    do {
      let bench = try Bench(over: memory, directory: directory)
      try bench.fillSource()
      bench.store.setRule { $0.kind == .deleteMany ? .fail(.connectionFailed) : nil }
      try bench.rename("src", to: "dst")
    }
    clock.advance(seconds: 60)
    let next = try Bench(over: memory, directory: directory)
    try next.put("src/1", "x1")
    next.filesystem.takeUpUnsent()
    #expect(next.keys(below: "src").map(\.string) == ["src/1"])
  }

  @Test func oldNamesThatMayNotBeRemovedAreAnError() throws {
    let bench = try Bench()
    try bench.fillSource()
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
      try bench.fillSource()
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
    #expect(bench.keys(below: "src") == [])
  }
}
