import ObjectStore
import SystemPackage
import Testing

@testable import Filesystem
@testable import WritePath

/// What the next mount makes of what earlier ones left.
@Suite struct TakeUpTests {
  private func bench(
    _ memory: InMemoryObjectStore, _ directory: TemporaryDirectory, _ mode: WriteMode = .writeback
  ) throws -> Bench {
    try Bench(over: memory, directory: directory, writeMode: mode)
  }

  private func isOffline(_ bench: Bench) {
    bench.store.setRule { [.put, .uploadPart, .completeUpload].contains($0.kind) ? .fail(.connectionFailed) : nil }
  }

  /// All contents in the bucket.
  private func contents(_ memory: InMemoryObjectStore) -> Set<String> {
    Set(memory.files.compactMap { memory.bytes(of: $0) }.map { String(decoding: $0, as: UTF8.self) })
  }

  @Test func twoMountsThatMadeTheSameNameBothKeepTheirBytes() throws {
    let (memory, directory) = (InMemoryObjectStore(), try TemporaryDirectory())
    do {
      let bench = try bench(memory, directory)
      try bench.save("a", "of the first".utf8)
    }
    do {
      // It cannot send what the first left, and knows nothing of the name.
      let bench = try bench(memory, directory)
      isOffline(bench)
      bench.filesystem.takeUpUnsent()
      try bench.save("a", "of the second".utf8)
    }
    let next = try bench(memory, directory)
    next.filesystem.takeUpUnsent()
    #expect(contents(memory) == ["of the first", "of the second"])
  }

  @Test func twoMountsAtOnceThatMadeTheSameNameBothKeepTheirBytes() throws {
    let (memory, directory) = (InMemoryObjectStore(), try TemporaryDirectory())
    do {
      let (first, second) = (try bench(memory, directory), try bench(memory, directory))
      try first.save("a", "of the first".utf8)
      try second.save("a", "of the second".utf8)
    }
    let next = try bench(memory, directory)
    next.filesystem.takeUpUnsent()
    #expect(contents(memory) == ["of the first", "of the second"])
  }

  /// A mount that died while a large file was being sent: everything but the completion has happened.
  private func largeFileUnsent(_ memory: InMemoryObjectStore, _ directory: TemporaryDirectory) throws -> [UInt8] {
    let bytes = pattern(9 << 20)
    let bench = try bench(memory, directory)
    bench.store.setRule { $0.kind == .completeUpload ? .fail(.connectionFailed) : nil }
    try bench.save("a", bytes)
    bench.runUploads()
    #expect(memory.uploadCount == 1)
    return bytes
  }

  @Test func aResumedUploadThatMeetsAnotherVersionLeavesThatAsItIs() throws {
    let (memory, directory) = (InMemoryObjectStore(), try TemporaryDirectory())
    let bytes = try largeFileUnsent(memory, directory)
    let next = try bench(memory, directory)
    try next.put("a", "theirs", metadata: ["mode": "33152", "of": "theirs"])
    next.filesystem.takeUpUnsent()
    #expect(next.text("a") == "theirs")
    #expect(try next.metadata("a") == ["mode": "33152", "of": "theirs"])
    let kept = try #require(memory.files.first { $0.string.contains("conflict bench") })
    #expect(memory.bytes(of: kept) == bytes)
    #expect(memory.uploadCount == 0)
  }

  @Test func aResumedUploadWhoseAttributesFailedIsNoConflictWithItself() throws {
    let (memory, directory) = (InMemoryObjectStore(), try TemporaryDirectory())
    let bytes = try largeFileUnsent(memory, directory)
    let next = try bench(memory, directory)
    next.store.setRule { $0.kind == .head && $0.key == ObjectKey("a") && $0.ordinal == 2 ? .fail(.timedOut) : nil }
    next.filesystem.takeUpUnsent()
    next.runUploads()
    #expect(memory.bytes(of: ObjectKey("a")) == bytes)
    #expect(memory.files == [ObjectKey("a")])
  }

  @Test func aResumedUploadSendsNoPartTwice() throws {
    let (memory, directory) = (InMemoryObjectStore(), try TemporaryDirectory())
    let bytes = try largeFileUnsent(memory, directory)
    let next = try bench(memory, directory)
    next.filesystem.takeUpUnsent()
    #expect(memory.bytes(of: ObjectKey("a")) == bytes)
    #expect(next.store.count(.uploadPart) == 0)
    #expect(memory.uploadCount == 0)
  }

  @Test func aLostAnswerToACloseIsNoConflictForTheNextMount() throws {
    let (memory, directory) = (InMemoryObjectStore(), try TemporaryDirectory())
    do {
      let bench = try bench(memory, directory, .close)
      bench.store.setRule { $0.kind == .put && $0.key == ObjectKey("a") ? .loseAnswer(.timedOut) : nil }
      let handle = try bench.create("a")
      try bench.write("content".utf8, to: handle)
      #expect(failure { try bench.filesystem.flush(handle, bench.context) } == .timedOut)
    }
    #expect(contents(memory) == ["content"])
    #expect(try JournalInventory.read(root: directory.path).count == 1)
    let next = try bench(memory, directory, .close)
    next.filesystem.takeUpUnsent()
    #expect(try JournalInventory.read(root: directory.path).isEmpty)
    #expect(memory.files == [ObjectKey("a")])
    #expect(next.text("a") == "content")
  }

  /// A file that took the name of another knows what uploads of that one may have made; that tells nothing of its own age.
  @Test func whatAnUploadOfAReplacedFileMadeDoesNotSupersedeAChange() throws {
    let (memory, directory) = (InMemoryObjectStore(), try TemporaryDirectory())
    do {
      let bench = try bench(memory, directory)
      let target = UploadTarget(key: ObjectKey("a"), attributes: ObjectAttributes())
      try bench.put("a", "0123456789")
      let etag = try memory.head(target.key).etag
      let base = StagingBase(key: target.key, etag: etag, size: 10)
      let staging = bench.filesystem.staging
      let file = StagedFile(entry: try bench.journal.makeEntry(), base: base, context: staging)
      let replaced = StagedFile(entry: try bench.journal.makeEntry(), base: nil, context: staging)
      try Array("AB".utf8).withUnsafeBytes { try file.write($0, at: 3) }
      try Array("xyz".utf8).withUnsafeBytes { try replaced.write($0, at: 0) }
      bench.store.setRule { $0.kind == .put && $0.key == target.key ? .loseAnswer(.timedOut) : nil }
      let order = UploadOrder(target, condition: .ifMatch(etag), conditions: bench.filesystem.conditions)
      #expect(throws: WriteError.self) { try replaced.upload(order) }
      file.inheritExpected(from: replaced)
      replaced.discard()
      try file.record(for: target, condition: .ifMatch(etag), as: .closed, durable: false)
    }
    let next = try bench(memory, directory)
    next.filesystem.takeUpUnsent()
    #expect(next.text("a") == "xyz")
    #expect(try JournalInventory.read(root: directory.path).map(\.state) == [.stranded], "kept for a person")
  }

  @Test func aPatchWhoseBaseIsGoneDoesNotHoldUpWhatCameAfter() throws {
    let (memory, directory) = (InMemoryObjectStore(), try TemporaryDirectory())
    do {
      let bench = try bench(memory, directory)
      try bench.put("a", "0123456789")
      let handle = try bench.open("a", writes: true)
      try bench.write("AB".utf8, to: handle, at: 2)
      try bench.close(handle)
    }
    do {
      let bench = try bench(memory, directory)
      try bench.put("a", "theirs")
      bench.filesystem.takeUpUnsent()
      #expect(bench.text("a") == "theirs")
      try bench.save("a", "newer".utf8)
    }
    for _ in 0..<2 {
      let next = try bench(memory, directory)
      next.filesystem.takeUpUnsent()
      #expect(next.text("a") == "newer", "it does not wait for one that nobody can send")
      let items = try JournalInventory.read(root: directory.path)
      #expect(items.map(\.state) == [.stranded], "the patch is kept for a person")
      #expect(items.first?.key == ObjectKey("a"))
      #expect(next.filesystem.pending().paths.isEmpty && next.journal.space.used == 0)
      #expect(next.store.count(.get) == 0, "nobody tries again")
    }
    // Somebody saves it, while a mount runs.
    let running = try bench(memory, directory)
    let item = try #require(try JournalInventory.read(root: directory.path).first)
    #expect(item.isInUse)
    let target = directory.path.appending("saved")
    #expect(try JournalInventory.export(item, to: target).missing == [0..<2, 4..<10])
    #expect(try JournalDisk.read(target) == [0, 0] + Array("AB".utf8) + [0, 0, 0, 0, 0, 0])
    withExtendedLifetime(running) {}
  }

  @Test(arguments: [WriteMode.close, .writeback], [10, 20 << 20])
  func aPatchWhoseBaseIsReplacedMeanwhileIsGivenUpOnce(mode: WriteMode, size: Int) throws {
    let (memory, directory) = (InMemoryObjectStore(), try TemporaryDirectory())
    do {
      let bench = try bench(memory, directory, mode)
      try memory.put(PutRequest(ObjectKey("a"), body: .bytes(pattern(size))))
      let handle = try bench.open("a", writes: true)
      try bench.write("AB".utf8, to: handle, at: 2)
      try bench.put("a", "theirs")
      let closed = failure { try bench.filesystem.flush(handle, bench.context) }
      #expect(closed == (mode == .close ? .staleNFSFileHandle : nil))
      bench.runUploads()
      bench.store.forgetOperations()
      bench.runUploads()
      #expect(bench.store.operations.isEmpty, "nobody tries again")
      #expect(failure { try bench.filesystem.flush(handle, bench.context) } == .staleNFSFileHandle)
      bench.filesystem.release(handle)
      #expect(bench.filesystem.pending().paths.isEmpty)
      #expect(bench.filesystem.drain() == ["a"])
      #expect(try bench.load("a") == Array("theirs".utf8))
      #expect(memory.files == [ObjectKey("a")])
      #expect(memory.uploadCount == 0)
    }
    let items = try JournalInventory.read(root: directory.path)
    #expect(items.map(\.state) == [.stranded])
    let item = try #require(items.first)
    #expect(item.reason.contains("discard"))
    try JournalInventory.discard(item)
    #expect(try JournalInventory.read(root: directory.path).isEmpty)
  }

  @Test(arguments: [nil, ObjectStoreError.Code.unsupported])
  func whatTheServerWasTriedWithIsRemoved(listing: ObjectStoreError.Code?) throws {
    let (memory, directory) = (InMemoryObjectStore(), try TemporaryDirectory())
    let (scratch, other) = (ObjectKey(".waysfs-probe-1"), ObjectKey(".waysfs-probe-12"))
    do {
      let bench = try bench(memory, directory)
      _ = bench.journal.note(scratch: scratch)
      try memory.put(PutRequest(scratch, body: .bytes([])))
      for key in [scratch, other] { _ = try memory.createUpload(key, attributes: ObjectAttributes(), nil) }
    }
    let next = try bench(memory, directory)
    next.store.setRule { operation in operation.kind == .listUploads ? listing.map { .fail($0) } : nil }
    next.filesystem.takeUpUnsent()
    #expect(memory.files.isEmpty)
    #expect(memory.uploadCount == (listing == nil ? 1 : 2), "the other one is not its own")
    #expect(try FileSystem.names(in: next.journal.directory.appending("files")).isEmpty)
  }

  @Test func whatAnEarlierMountLeftCountsUntilItIsSent() throws {
    let (memory, directory) = (InMemoryObjectStore(), try TemporaryDirectory())
    do {
      let bench = try bench(memory, directory)
      for name in ["d", "other"] { try bench.makeDirectory(name) }
      try bench.save("d/a", "content".utf8)
    }
    let next = try bench(memory, directory)
    isOffline(next)
    next.filesystem.takeUpUnsent()
    #expect(next.filesystem.pending().paths == ["d/a"])
    #expect(next.filesystem.pending().bytes == 7 && next.filesystem.pending().failed == 1)
    #expect(next.filesystem.pending().lastError == .ioError)
    #expect(next.filesystem.drain() == ["d/a"])
    let other = try next.filesystem.openDirectory(try next.inode("other"), next.context)
    try next.filesystem.syncDirectory(other, next.context)
    let directoryHandle = try next.filesystem.openDirectory(try next.inode("d"), next.context)
    #expect(failure { try next.filesystem.syncDirectory(directoryHandle, next.context) } == .ioError)
    next.store.setRule { _ in nil }
    try next.filesystem.syncDirectory(directoryHandle, next.context)
    #expect(next.text("d/a") == "content")
    #expect(next.filesystem.pending().paths.isEmpty && next.filesystem.pending().failed == 0)
    #expect(next.filesystem.drain() == [])
    // What was to be tried later finds nothing to do.
    next.runUploads()
    #expect(memory.files.map(\.string) == ["d/", "d/a", "other/"])
  }
}
