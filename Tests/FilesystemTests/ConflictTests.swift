import Basics
import ObjectStore
import Synchronization
import SystemPackage
import Testing
import WritePath

@testable import Filesystem

/// Somebody else's change, found by an upload in the background while a program goes on writing.
@Suite struct ConflictTests {
  private let (memory, directory): (InMemoryObjectStore, TemporaryDirectory)

  init() throws { (memory, directory) = (InMemoryObjectStore(), try TemporaryDirectory()) }

  private func bench() throws -> Bench { try Bench(over: memory, directory: directory, writeMode: .writeback) }

  private var contents: Set<String> {
    Set(memory.files.compactMap { memory.bytes(of: $0) }.map { String(decoding: $0, as: UTF8.self) })
  }

  /// A file whose version `closed` waits, while the bucket has somebody else's.
  private func conflicting(_ bench: Bench) throws -> HandleID {
    try bench.put("a", "base")
    let handle = try bench.open("a", writes: true, truncates: true)
    try bench.write("closed".utf8, to: handle)
    try bench.filesystem.flush(handle, bench.context)
    try bench.put("a", "theirs")
    return handle
  }

  @Test func theClosedVersionIsNotLostToWhatIsWrittenMeanwhile() throws {
    do {
      let bench = try bench()
      let handle = try conflicting(bench)
      let once = OneTime()
      bench.store.setRule { operation in
        guard operation.kind == .put, operation.key == ObjectKey("a"), once.isFirst else { return nil }
        // While the upload is under way, and before the server refuses it.
        try? bench.write("half".utf8, to: handle)
        return nil
      }
      bench.runUploads()
      bench.store.setRule { _ in nil }
      #expect(!once.isFirst)
      #expect(!contents.contains("halfed"))
    }
    let next = try bench()
    next.filesystem.takeUpUnsent()
    #expect(contents == ["theirs", "closed"])
  }

  @Test func theClosedVersionStaysInTheJournalWhenTheCopyCannotBeStored() throws {
    do {
      let bench = try bench()
      let handle = try conflicting(bench)
      bench.store.setRule { operation in
        guard operation.kind == .put, let key = operation.key, key.string.contains("conflict") else { return nil }
        return .fail(.connectionFailed)
      }
      bench.runUploads()
      try bench.write("half".utf8, to: handle)
      bench.runUploads()
    }
    let next = try bench()
    next.filesystem.takeUpUnsent()
    #expect(contents == ["theirs", "closed"])
  }

  @Test(arguments: [WriteMode.close, .writeback]) func everyHandleThatWroteIsTold(mode: WriteMode) throws {
    let bench = try Bench(over: memory, directory: directory, writeMode: mode)
    try bench.put("a", "base")
    let handles = try (0..<4).map { _ in try bench.open("a", writes: true) }
    try bench.write("one".utf8, to: handles[0])
    try bench.write("two".utf8, to: handles[1], at: 3)
    var changes = AttributeChanges()
    changes.size = 5
    _ = try bench.filesystem.setAttributes(try bench.inode("a"), changes, handles[2], bench.context)
    if mode == .writeback { try bench.filesystem.flush(handles[0], bench.context) }
    try bench.put("a", "theirs")
    bench.runUploads()
    for handle in handles[..<3] { #expect(failure { try bench.close(handle) } == .staleNFSFileHandle) }
    // It has nothing to lose.
    try bench.close(handles[3])
    #expect(contents == ["theirs", "onetw"])
    #expect(bench.journal.space.used == 0)
  }

  /// A close that waits while another one meets the conflict.
  @Test func aCloseThatWaitedForAConflictIsToldToo() throws {
    let bench = try Bench(over: memory, directory: directory)
    try bench.put("a", "base")
    let (first, second) = (try bench.open("a", writes: true, truncates: true), try bench.open("a", writes: true))
    try bench.write("one".utf8, to: first)
    try bench.write("two".utf8, to: second, at: 3)
    try bench.put("a", "theirs")
    let answers = Mutex<[Errno?]>([])
    let once = OneTime()
    let thread = Mutex<Basics.Thread?>(nil)
    bench.store.setRule { operation in
      guard operation.kind == .put, operation.key == ObjectKey("a"), once.isFirst else { return nil }
      // It asks for the key while the first one has it.
      let started = OneShot<Void>()
      let other = Basics.Thread.start(name: "second") {
        started.fulfil(())
        let answer = failure { try bench.filesystem.flush(second, bench.context) }
        answers.withLock { $0.append(answer) }
      }
      started.wait()
      thread.withLock { $0 = other }
      return nil
    }
    #expect(failure { try bench.filesystem.flush(first, bench.context) } == .staleNFSFileHandle)
    thread.withLock { $0 }?.join()
    #expect(answers.withLock { $0 } == [.staleNFSFileHandle])
    for handle in [first, second] { bench.filesystem.release(handle) }
    #expect(contents == ["theirs", "onetwo"])
  }

  @Test func aNewerVersionGoesBesideWhenItIsClosed() throws {
    let bench = try bench()
    let handle = try conflicting(bench)
    let once = OneTime()
    bench.store.setRule { operation in
      if operation.kind == .put, operation.key == ObjectKey("a"), once.isFirst {
        try? bench.write("newer!".utf8, to: handle)
      }
      return nil
    }
    bench.runUploads()
    try bench.filesystem.flush(handle, bench.context)
    bench.runUploads()
    #expect(contents == ["theirs", "newer!"])
    #expect(failure { try bench.filesystem.flush(handle, bench.context) } == .staleNFSFileHandle)
    bench.filesystem.release(handle)
    #expect(bench.journal.space.used == 0)
  }

  @Test func aLargeFileInConflictIsStoredOnceAndWhole() throws {
    let bench = try bench()
    try bench.put("big", "base")
    let bytes = pattern(9 << 20)
    let handle = try bench.open("big", writes: true, truncates: true)
    try bench.write(bytes, to: handle)
    try bench.filesystem.flush(handle, bench.context)
    try bench.put("big", "theirs")
    bench.runUploads()
    #expect(bench.text("big") == "theirs")
    let kept = memory.files.filter { $0.string.contains("conflict bench") }
    #expect(kept.count == 1)
    #expect(kept.first.flatMap { memory.bytes(of: $0) } == bytes)
    #expect(memory.uploadCount == 0)
    #expect(failure { try bench.filesystem.flush(handle, bench.context) } == .staleNFSFileHandle)
    bench.filesystem.release(handle)
    #expect(bench.journal.space.used == 0)
  }
}

/// True once. Thread-safe.
final class OneTime: Sendable {
  private let used = Mutex(false)

  var isFirst: Bool {
    used.withLock { used in
      defer { used = true }
      return !used
    }
  }
}
