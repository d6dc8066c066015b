import Basics
import ObjectStore
import Synchronization
import SystemPackage
import Testing

@testable import Filesystem

/// What programs do while a request of another call is under way.
@Suite struct MeanwhileTests {
  /// Runs something once, when the bucket is asked for `kind`.
  private func during(
    _ kind: FailingObjectStore.Kind, _ bench: Bench, _ body: @escaping @Sendable () throws -> Void
  ) -> OneTime {
    let once = OneTime()
    bench.store.setRule { operation in
      if operation.kind == kind, once.isFirst { #expect(throws: Never.self) { try body() } }
      return nil
    }
    return once
  }

  private func changes(_ change: (inout AttributeChanges) -> Void) -> AttributeChanges {
    var changes = AttributeChanges()
    change(&changes)
    return changes
  }

  /// A bucket with `d/a`, made of parts: a copy of it has another tag.
  private func large() throws -> (Bench, [UInt8]) {
    let bench = try Bench(lifetime: 100)
    let bytes = pattern(9 << 20)
    try bench.save("d/a", bytes, makingDirectories: true)
    return (bench, bytes)
  }

  @Test func aFileMadeDuringAListingAndForgottenIsThere() throws {
    let bench = try Bench(lifetime: 100)
    try bench.put("d/", "")
    try bench.put("d/old", "x")
    let directory = try bench.inode("d")
    let start = bench.filesystem.configuration.time.monotonic
    try bench.save("d/new", "y".utf8)
    try bench.save("d/gone", "y".utf8)
    let (new, gone) = (try bench.inode("d/new"), try bench.inode("d/gone"))
    try bench.unlink("d/gone")
    for inode in [new, gone] { bench.filesystem.forget(inode, count: .max) }
    #expect(bench.filesystem.tree.view(new) == nil)
    // A listing that was made before all of that arrives now.
    let old = RemoteEntry.listedFile(
      try #require(bench.memory.list(ListRequest(prefix: "d/old", delimited: false)).entries.first))
    bench.filesystem.tree.store([FileName("old"): old], for: directory, isMarked: false, askedAt: start)
    #expect(try bench.exists("d/new") && bench.exists("d/old") && !bench.exists("d/gone"))
    #expect(try bench.names("d") == ["new", "old"])
  }

  @Test func aNewFileThatIsClosedAtTheVeryEndOfItsUploadStays() throws {
    let bench = try Bench(lifetime: 100, writeMode: .writeback)
    // What is known of the directory is believed from now on.
    #expect(try bench.names("").isEmpty)
    let handle = try bench.create("new")
    try bench.write(pattern(9 << 20), to: handle)
    try bench.filesystem.flush(handle, bench.context)
    let steps = Mutex<[FailingObjectStore.Kind]>([])
    bench.store.setRule { operation in
      let isStored = steps.withLock { steps in
        defer { steps.append(operation.kind) }
        return steps.last == .completeUpload
      }
      // The bucket has it, and the mount is about to note that.
      if isStored, operation.kind == .head { bench.filesystem.release(handle) }
      return nil
    }
    bench.runUploads()
    #expect(steps.withLock { $0.suffix(2) } == [.completeUpload, .head])
    #expect(try bench.names("") == ["new"] && bench.stat("new").size == 9 << 20)
    #expect(bench.filesystem.pending().paths.isEmpty)
  }

  @Test func whoChangesAProgramDuringItsUploadTakesItsPrivileges() throws {
    let bench = try Bench(lifetime: 100)
    try bench.save("a", "one".utf8)
    let (first, second) = (try bench.open("a", writes: true), try bench.open("a", writes: true))
    try bench.write("two".utf8, to: first)
    _ = try bench.filesystem.setAttributes(bench.inode("a"), changes { $0.mode = 0o4755 }, first, bench.context)
    let once = during(.put, bench) { try bench.write("three".utf8, to: second) }
    try bench.close(first)
    try bench.close(second)
    #expect(!once.isFirst)
    #expect(bench.text("a") == "three")
    #expect(try bench.stat("a").mode & 0o7777 == 0o755)
    #expect(try bench.metadata("a")["mode"] == "\(0o100755)")
  }

  @Test func aFileThatIsOpenedOnlyToBeReadAndCutIsStoredAtClose() throws {
    let bench = try Bench(lifetime: 100, rootIsMarked: false)
    try bench.put("a", "some bytes", metadata: ["mode": "33152", "theirs": "kept"])
    _ = try bench.names("")
    let mode = OpenMode(reads: true, writes: false, truncates: true)
    let handle = try bench.filesystem.open(try bench.inode("a"), mode, bench.context).handle
    try bench.filesystem.flush(handle, bench.context)
    #expect(bench.text("a")?.isEmpty == true)
    #expect(try bench.metadata("a")["theirs"] == "kept" && bench.metadata("a")["mode"] == "33152")
    bench.filesystem.release(handle)
  }

  @Test func aFileOpenedDuringItsRenameIsReadToItsEnd() throws {
    let (bench, bytes) = try large()
    let inode = try bench.inode("d/a")
    let opened = Mutex<HandleID?>(nil)
    let once = during(.copy, bench) {
      let mode = OpenMode(reads: true, writes: true)
      let handle = try bench.filesystem.open(inode, mode, bench.context).handle
      opened.withLock { $0 = handle }
    }
    try bench.rename("d/a", to: "b")
    #expect(!once.isFirst)
    let handle = try #require(opened.withLock { $0 })
    #expect(try bench.read(handle, at: 8 << 20, count: 100) == Array(bytes[(8 << 20)..<(8 << 20) + 100]))
    try bench.write("x".utf8, to: handle)
    try bench.close(handle)
    #expect(bench.memory.files.map(\.string) == ["b", "d/"])
    #expect(bench.object("b")?.first == UInt8(ascii: "x"))
  }

  @Test func aFileOpenedDuringTheRenameOfItsDirectoryIsReadToItsEnd() throws {
    let (bench, bytes) = try large()
    let inode = try bench.inode("d/a")
    let opened = Mutex<HandleID?>(nil)
    let once = during(.copy, bench) {
      let mode = OpenMode(reads: true, writes: true)
      let handle = try bench.filesystem.open(inode, mode, bench.context).handle
      opened.withLock { $0 = handle }
    }
    try bench.rename("d", to: "e")
    #expect(!once.isFirst)
    let handle = try #require(opened.withLock { $0 })
    #expect(try bench.read(handle, at: 8 << 20, count: 100) == Array(bytes[(8 << 20)..<(8 << 20) + 100]))
    try bench.write("x".utf8, to: handle)
    try bench.close(handle)
    #expect(bench.memory.files.map(\.string) == ["e/", "e/a"])
    #expect(bench.object("e/a")?.first == UInt8(ascii: "x"))
  }

  @Test func aFileOpenedWhileItsModeIsSetIsReadAndWritten() throws {
    let (bench, bytes) = try large()
    let inode = try bench.inode("d/a")
    let opened = Mutex<HandleID?>(nil)
    let once = during(.copy, bench) {
      let handle = try bench.filesystem.open(inode, OpenMode(reads: true, writes: true), bench.context).handle
      try bench.write("x".utf8, to: handle)
      opened.withLock { $0 = handle }
    }
    _ = try bench.filesystem.setAttributes(inode, changes { $0.mode = 0o600 }, nil, bench.context)
    #expect(!once.isFirst)
    let handle = try #require(opened.withLock { $0 })
    #expect(try bench.read(handle, at: 8 << 20, count: 100) == Array(bytes[(8 << 20)..<(8 << 20) + 100]))
    try bench.close(handle)
    #expect(bench.memory.files.map(\.string) == ["d/", "d/a"])
    #expect(bench.object("d/a")?.first == UInt8(ascii: "x"))
  }

  @Test func aNameThatIsAskedForWhileItsDirectoryMovesIsThereAfterwards() throws {
    let bench = try Bench()
    try bench.put("d/a", "x")
    let directory = try bench.inode("d")
    let once = during(.deleteMany, bench) {
      // As if some of them were gone already.
      try bench.memory.delete(ObjectKey("d/a"))
      let entry = try bench.filesystem.lookup(directory, FileName("a"), bench.context)
      // Under the new name, which the kernel takes what it believes along to.
      #expect(entry.inode != nil)
      #expect(entry.attributes.size == 1)
    }
    try bench.rename("d", to: "e")
    #expect(!once.isFirst)
    #expect(try bench.load("e/a") == Array("x".utf8))
  }

  @Test func anAnswerAboutThePathOfBeforeIsNotUsed() throws {
    let bench = try Bench()
    try bench.put("d/a", "x")
    let directory = try bench.inode("d")
    let once = OneTime()
    bench.store.setRule { operation in
      if operation.kind == .head, operation.key == ObjectKey("d/a"), once.isFirst {
        #expect(throws: Never.self) { try bench.rename("d", to: "e") }
      }
      return nil
    }
    #expect(try bench.filesystem.lookup(directory, FileName("a"), bench.context).inode != nil)
    #expect(!once.isFirst)
    #expect(try bench.load("e/a") == Array("x".utf8))
  }

  @Test(arguments: [WriteMode.close, .writeback])
  func whatIsWrittenDuringARenameGoesToTheNewName(_ mode: WriteMode) throws {
    let bench = try Bench(writeMode: mode)
    try bench.save("a", "before".utf8)
    #expect(bench.filesystem.drain() == [])
    let handle = try bench.open("a", writes: true)
    let once = during(.copy, bench) { try bench.write("during".utf8, to: handle) }
    try bench.rename("a", to: "b")
    #expect(!once.isFirst)
    try bench.close(handle)
    #expect(bench.filesystem.drain() == [])
    #expect(bench.memory.files == [ObjectKey("b")])
    #expect(bench.text("b") == "during")
  }

  @Test(arguments: [WriteMode.close, .writeback])
  func whatIsClosedDuringTheRenameOfItsDirectoryIsThereAfterACrash(_ mode: WriteMode) throws {
    let (memory, directory) = (InMemoryObjectStore(), try TemporaryDirectory())
    do {
      let bench = try Bench(over: memory, directory: directory, writeMode: mode)
      try bench.save("d/a", "before".utf8, makingDirectories: true)
      #expect(bench.filesystem.drain() == [])
      let handle = try bench.open("d/a", writes: true)
      let once = during(.copy, bench) {
        try bench.write("during".utf8, to: handle)
        if mode == .writeback { try bench.filesystem.flush(handle, bench.context) }
      }
      try bench.rename("d", to: "e")
      #expect(!once.isFirst)
      if mode == .close { try bench.close(handle) }
      // It holds the bench.
      bench.store.setRule { _ in nil }
    }
    let next = try Bench(over: memory, directory: directory, writeMode: mode)
    next.filesystem.takeUpUnsent()
    #expect(memory.files.map(\.string) == ["e/", "e/a"])
    #expect(next.text("e/a") == "during")
  }

  @Test func aFileThatIsRemovedWhileItIsUploadedStaysRemoved() throws {
    let bench = try Bench(writeMode: .writeback)
    try bench.save("a", "x".utf8)
    let gate = Gate()
    bench.store.setRule { $0.kind == .put && $0.key == ObjectKey("a") ? .hold(gate) : nil }
    let isOver = OneShot<Void>()
    _ = Thread.start(name: "uploads") {
      bench.runUploads()
      isOver.fulfil(())
    }
    gate.waitForArrival()
    let isRemoved = OneShot<Errno?>()
    _ = Thread.start(name: "unlink") { isRemoved.fulfil(failure { try bench.unlink("a") }) }
    gate.open()
    #expect(isRemoved.wait() == nil)
    isOver.wait()
    #expect(bench.memory.files.isEmpty)
    #expect(bench.filesystem.drain() == [])
    #expect(bench.memory.files.isEmpty)
    #expect(bench.journal.space.used == 0)
  }

  @Test func theNextMountSendsWhileItsOwnProgramsWriteTheSameName() throws {
    let (memory, directory) = (InMemoryObjectStore(), try TemporaryDirectory())
    do {
      let bench = try Bench(over: memory, directory: directory, writeMode: .writeback)
      try bench.save("a", "of before".utf8)
    }
    let next = try Bench(over: memory, directory: directory, writeMode: .writeback)
    let once = during(.put, next) { try next.save("a", "of now".utf8) }
    next.filesystem.takeUpUnsent()
    #expect(!once.isFirst)
    next.runUploads()
    _ = next.filesystem.drain()
    let contents = Set(memory.files.compactMap { memory.bytes(of: $0) }.map { String(decoding: $0, as: UTF8.self) })
    #expect(contents == ["of before", "of now"])
    #expect(memory.files.count == 2)
  }
}
