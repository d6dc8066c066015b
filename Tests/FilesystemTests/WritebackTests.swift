import Basics
import ObjectStore
import Synchronization
import SystemPackage
import Testing

@testable import Filesystem
@testable import WritePath

@Suite struct WritebackTests {
  private func bench(_ memory: InMemoryObjectStore? = nil, _ directory: TemporaryDirectory? = nil) throws -> Bench {
    try Bench(over: memory, directory: directory, writeMode: .writeback)
  }

  private func changes(_ change: (inout AttributeChanges) -> Void) -> AttributeChanges {
    var changes = AttributeChanges()
    change(&changes)
    return changes
  }

  @Test func closeReturnsWhenTheJournalHasIt() throws {
    let bench = try bench()
    try bench.save("a", "precious".utf8)
    #expect(bench.object("a") == nil)
    #expect(bench.store.count(.put) == 0)
    #expect(try bench.load("a") == Array("precious".utf8))
    #expect(try bench.names("") == ["a"])
    bench.runUploads()
    #expect(bench.text("a") == "precious")
    #expect(bench.filesystem.pending().paths.isEmpty)
  }

  @Test func whatWasClosedIsSentByTheNextMount() throws {
    let (memory, directory) = (InMemoryObjectStore(), try TemporaryDirectory())
    do {
      let bench = try bench(memory, directory)
      try bench.save("a", "first".utf8)
      let handle = try bench.open("a", writes: true, truncates: true)
      try bench.write("second, never closed".utf8, to: handle)
    }
    let next = try bench(memory, directory)
    next.filesystem.takeUpUnsent()
    #expect(next.text("a") == "first", "the version that was closed, whole")
  }

  @Test(arguments: [false, true]) func aVersionThatWasSyncedIsNotMixedWithWhatCameAfter(truncates: Bool) throws {
    let (memory, directory) = (InMemoryObjectStore(), try TemporaryDirectory())
    do {
      let bench = try bench(memory, directory)
      let handle = try bench.create("a")
      try bench.write("0123456789".utf8, to: handle)
      try bench.filesystem.sync(handle, bench.context)
      if truncates {
        _ = try bench.filesystem.setAttributes(
          try bench.inode("a"), changes { $0.size = 3 }, handle, bench.context)
      }
      try bench.write("AB".utf8, to: handle, at: 1)
    }
    let next = try bench(memory, directory)
    next.filesystem.takeUpUnsent()
    #expect(next.text("a") == "0123456789")
  }

  /// A disk that cannot bring bytes to its platters says so once, and may have dropped them.
  @Test(arguments: [false, true]) func whatTheDiskHasLostIsNotSent(isClosedBefore: Bool) throws {
    let disk = JournalDisk(onStep: { step throws(Errno) in
      if case .sync(let path) = step, path.string.hasSuffix(".data") { throw .ioError }
    })
    let bench = try Bench(writeMode: .writeback, disk: disk)
    let handle = try bench.create("a")
    try bench.write("precious".utf8, to: handle)
    if isClosedBefore { try bench.filesystem.flush(handle, bench.context) }
    for _ in 0..<2 { #expect(failure { try bench.filesystem.sync(handle, bench.context) } == .ioError) }
    #expect(failure { try bench.close(handle) } == .ioError)
    bench.runUploads()
    #expect(bench.object("a") == nil)
    if isClosedBefore {
      let kept = try #require(bench.memory.files.first { $0.string.contains("conflict bench") })
      #expect(bench.memory.bytes(of: kept) == Array("precious".utf8), "a program was told that it is there")
    } else {
      let recovered = try #require(bench.journal.recoveredFiles().first)
      #expect(try JournalDisk.read(recovered) == Array("precious".utf8))
      #expect(bench.memory.files.isEmpty)
    }
  }

  @Test func anEmptiedFileHasLostNothing() throws {
    let fails = Atomic(true)
    let disk = JournalDisk(onStep: { step throws(Errno) in
      if fails.load(ordering: .relaxed), case .sync(let path) = step, path.string.hasSuffix(".data") { throw .ioError }
    })
    let bench = try Bench(writeMode: .writeback, disk: disk)
    let handle = try bench.create("a")
    try bench.write("lost".utf8, to: handle)
    #expect(failure { try bench.filesystem.sync(handle, bench.context) } == .ioError)
    fails.store(false, ordering: .relaxed)
    let (inode, empty) = (try bench.inode("a"), changes { $0.size = 0 })
    _ = try bench.filesystem.setAttributes(inode, empty, handle, bench.context)
    try bench.write("again".utf8, to: handle)
    try bench.filesystem.sync(handle, bench.context)
    try bench.close(handle)
    bench.runUploads()
    #expect(bench.text("a") == "again")
  }

  /// Bytes may take long to the disk.
  @Test func namesMayChangeWhileBytesGoToTheDisk() throws {
    let renames = Mutex<(@Sendable () -> Void)?>(nil)
    let ended = Semaphore()
    let isRenamed = Atomic(false)
    let wasInTime = Atomic(false)
    let disk = JournalDisk(onStep: { step throws(Errno) in
      guard case .sync(let path) = step, path.string.hasSuffix(".data") else { return }
      let rename = renames.withLock { rename in
        defer { rename = nil }
        return rename
      }
      guard let rename else { return }
      rename()
      ended.wait(seconds: 60)
      wasInTime.store(isRenamed.load(ordering: .sequentiallyConsistent), ordering: .relaxed)
    })
    let bench = try Bench(writeMode: .writeback, disk: disk)
    try bench.save("b", "other".utf8)
    let handle = try bench.create("a")
    try bench.write("content".utf8, to: handle)
    renames.withLock { renames in
      renames = {
        Thread.start(name: "rename") { [unowned bench] in
          try? bench.rename("b", to: "c")
          isRenamed.store(true, ordering: .sequentiallyConsistent)
          ended.signal()
        }?.detach()
      }
    }
    try bench.filesystem.sync(handle, bench.context)
    let inTime = wasInTime.load(ordering: .relaxed)
    #expect(inTime)
    #expect(try bench.names("") == ["a", "c"])
    try bench.close(handle)
    #expect(bench.filesystem.drain() == [])
    #expect(bench.text("a") == "content")
  }

  @Test func onlyTheLastOfSeveralVersionsIsSent() throws {
    let bench = try bench()
    for text in ["one", "two", "three"] { try bench.save("a", text.utf8) }
    bench.runUploads()
    #expect(bench.text("a") == "three")
    #expect(bench.store.operations.filter { $0.kind == .put && $0.key == ObjectKey("a") }.count == 1)
  }

  @Test func aFileThatIsWrittenAgainIsNotSentHalfWritten() throws {
    let bench = try bench()
    try bench.save("a", "whole".utf8)
    let handle = try bench.open("a", writes: true, truncates: true)
    try bench.write("ha".utf8, to: handle)
    bench.runUploads()
    #expect(bench.object("a") == nil)
    try bench.write("lf no more".utf8, to: handle, at: 2)
    try bench.close(handle)
    #expect(bench.filesystem.drain() == [])
    #expect(bench.text("a") == "half no more")
  }

  @Test func anErrorIsToldToTheNextCloseAndToEveryFsyncUntilItIsOver() throws {
    let bench = try bench()
    bench.store.setRule { $0.kind == .put ? .fail(.accessDenied) : nil }
    let handle = try bench.create("a")
    try bench.write("x".utf8, to: handle)
    try bench.filesystem.flush(handle, bench.context)
    bench.runUploads()
    #expect(bench.filesystem.pending().failed == 1)
    #expect(failure { try bench.filesystem.flush(handle, bench.context) } == .permissionDenied)
    #expect(failure { try bench.filesystem.flush(handle, bench.context) } == nil, "told once")
    for _ in 0..<2 { #expect(failure { try bench.filesystem.sync(handle, bench.context) } == .permissionDenied) }
    bench.store.setRule { _ in nil }
    #expect(bench.filesystem.drain() == [])
    #expect(failure { try bench.filesystem.sync(handle, bench.context) } == nil)
    #expect(bench.text("a") == "x")
  }

  @Test func fsyncOfADirectoryWaitsForWhatIsBelow() throws {
    let bench = try bench()
    try bench.save("d/e/a", "x".utf8, makingDirectories: true)
    try bench.save("d/b", "y".utf8)
    try bench.save("c", "z".utf8)
    let directory = try bench.filesystem.openDirectory(try bench.inode("d"), bench.context)
    try bench.filesystem.syncDirectory(directory, bench.context)
    #expect(bench.text("d/e/a") == "x" && bench.text("d/b") == "y")
    #expect(bench.object("c") == nil)
    try bench.save("d/b", "more".utf8)
    bench.store.setRule { $0.kind == .put ? .fail(.timedOut) : nil }
    #expect(failure { try bench.filesystem.syncDirectory(directory, bench.context) } == .timedOut)
  }

  @Test func aFileThatWaitsIsRenamedHere() throws {
    let (memory, directory) = (InMemoryObjectStore(), try TemporaryDirectory())
    do {
      let bench = try bench(memory, directory)
      try bench.put("final", "old")
      try bench.save("new", "content".utf8)
      try bench.rename("new", to: "final")
      #expect(bench.store.count(.copy) == 0)
      #expect(bench.text("final") == "old")
      #expect(try bench.load("final") == Array("content".utf8))
      #expect(try bench.exists("new") == false)
    }
    let next = try bench(memory, directory)
    next.filesystem.takeUpUnsent()
    #expect(next.text("final") == "content")
    #expect(next.object("new") == nil)
    #expect(next.memory.files.count == 1)
  }

  @Test func savingAsEditorsDoWithAnExclusiveTemporaryFile() throws {
    let bench = try bench()
    try bench.save("text", "old".utf8)
    bench.runUploads()
    #expect(bench.filesystem.drain() == [])
    let handle = try bench.create("text.tmp", exclusive: true)
    #expect(bench.text("text.tmp") == "", "others see that the name is taken")
    try bench.write("new".utf8, to: handle)
    try bench.filesystem.sync(handle, bench.context)
    try bench.close(handle)
    try bench.rename("text.tmp", to: "text")
    #expect(bench.object("text.tmp") == nil)
    #expect(bench.filesystem.drain() == [])
    #expect(bench.text("text") == "new")
    #expect(bench.memory.files.count == 1)
  }

  @Test func aRemovedFileDoesNotComeBack() throws {
    let (memory, directory) = (InMemoryObjectStore(), try TemporaryDirectory())
    do {
      let bench = try bench(memory, directory)
      try bench.save("a", "x".utf8)
      try bench.unlink("a")
      bench.runUploads()
      #expect(bench.memory.files.isEmpty)
    }
    let next = try bench(memory, directory)
    next.filesystem.takeUpUnsent()
    #expect(next.memory.files.isEmpty)
  }

  /// Making and removing files is what a journal on ext4 spends its time with.
  @Test func aSmallFileTakesTwoFilesOfTheJournal() throws {
    let bench = try bench()
    let names = Mutex<[String]>([])
    let list: @Sendable () -> Void = {
      let found = (try? FileSystem.names(in: bench.journal.directory.appending("files"))) ?? []
      names.withLock { $0 = found }
    }
    bench.store.setRule { operation in
      if operation.kind == .put, operation.key == ObjectKey("a") { list() }
      return nil
    }
    try bench.save("a", "content".utf8)
    bench.runUploads()
    #expect(bench.text("a") == "content")
    #expect(names.withLock { $0 } == ["1.data", "1.record"])
    list()
    #expect(names.withLock { $0 } == [])
  }

  @Test func aFileWhoseRemovalFailedIsNotRemovedByTheNextMount() throws {
    let (memory, directory, disk) = (InMemoryObjectStore(), try TemporaryDirectory(), FullDisk())
    do {
      let bench = try Bench(over: memory, directory: directory, writeMode: .writeback, disk: disk.disk)
      try bench.put("a", "base")
      try bench.save("a", "ours".utf8)
      bench.store.setRule { operation in
        guard operation.kind == .delete else { return nil }
        disk.isFull = true
        return .fail(.connectionFailed)
      }
      #expect(failure { try bench.unlink("a") } == .ioError)
      #expect(try bench.load("a") == Array("ours".utf8))
    }
    let next = try bench(memory, directory)
    next.filesystem.takeUpUnsent()
    #expect(next.text("a") == "ours")
    #expect(next.memory.files.count == 1)
  }

  @Test func aVersionThatTheBucketGotWithoutAnswerIsNoConflict() throws {
    let (memory, directory) = (InMemoryObjectStore(), try TemporaryDirectory())
    do {
      let bench = try bench(memory, directory)
      bench.store.setRule { $0.kind == .put && $0.key == ObjectKey("a") ? .loseAnswer(.connectionFailed) : nil }
      try bench.save("a", "x".utf8)
      bench.runUploads()
      #expect(bench.text("a") == "x")
      #expect(bench.filesystem.pending().failed == 1)
      #expect(failure { try bench.save("a", "newer".utf8) } == .ioError, "of the upload before")
    }
    let next = try bench(memory, directory)
    next.filesystem.takeUpUnsent()
    #expect(next.text("a") == "newer")
    #expect(next.memory.files.count == 1, "no conflict copy")
  }

  @Test func somebodyElsesChangeIsFoundInTheBackground() throws {
    let bench = try bench()
    try bench.put("a", "base")
    let handle = try bench.open("a", writes: true)
    try bench.write("OURS".utf8, to: handle)
    try bench.filesystem.flush(handle, bench.context)
    try bench.put("a", "theirs")
    bench.runUploads()
    #expect(bench.text("a") == "theirs")
    #expect(bench.memory.files.contains { $0.string.contains("conflict bench") })
    #expect(failure { try bench.filesystem.flush(handle, bench.context) } == .staleNFSFileHandle)
  }

  @Test func anExclusiveCreationIsWonByOne() throws {
    let memory = InMemoryObjectStore()
    let (first, second) = (try bench(memory), try bench(memory))
    #expect(try second.exists("lock") == false)
    _ = try first.create("lock", exclusive: true)
    #expect(failure { _ = try second.create("lock", exclusive: true) } == .fileExists)
  }

  @Test func attributesSetAfterTheCloseGoWithTheUpload() throws {
    let bench = try bench()
    try bench.save("a", "x".utf8)
    _ = try bench.filesystem.setAttributes(
      try bench.inode("a"), changes { $0.mode = 0o600 }, nil, bench.context)
    #expect(bench.store.count(.copy) == 0)
    bench.runUploads()
    #expect(try bench.metadata("a")["mode"] == "\(0o100600)")
  }
}
