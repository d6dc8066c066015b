import Basics
import Glibc
import ObjectStore
import Synchronization
import SystemPackage
import Testing

@testable import WritePath

@Suite struct JournalEntryTests {
  @Test func aNewEntryIsEmptyAndPrivate() throws {
    let bench = try JournalBench()
    let journal = try bench.open()
    let entry = try journal.makeEntry()
    #expect(entry.path.name == "1.data" && !entry.isRecorded && entry.record == nil)
    var info = stat()
    #expect(entry.path.withPlatformString { stat($0, &info) } == 0)
    #expect(info.st_mode & 0o777 == 0o600 && info.st_size == 0)
    #expect(try journal.makeEntry().path.name == "2.data")
  }

  @Test func recordsAreNumberedAndDated() throws {
    let bench = try JournalBench()
    let journal = try bench.open()
    let (first, second) = (try journal.makeEntry(), try journal.makeEntry())
    try second.record([1])
    try first.record([2])
    try first.write(wholeRecord(1, state: .synced), durable: false)
    let sequences = [second, first].compactMap { $0.record?.sequence }
    #expect(sequences == sequences.sorted() && Set(sequences).count == 2)
    #expect(first.record?.time == 1_000_000_000 && first.record?.state == .synced)
    // Also when the clock goes back to where it was before.
    let last = first.record?.sequence ?? 0
    let again = try Journal(
      root: bench.root.path, name: "bucket", identity: "other", space: journal.space, disk: JournalDisk(),
      clock: ManualClock(seconds: 5).timeSource)
    let entry = try again.makeEntry()
    try entry.record([1])
    try entry.write(wholeRecord(1), durable: false)
    #expect(entry.record.map { $0.sequence < last && $0.sequence > 5_000_000 } == true)
  }

  @Test func aRecordThatCannotBeTrueIsNotWritten() throws {
    let journal = try JournalBench().open()
    let entry = try journal.makeEntry()
    var record = wholeRecord(10)
    record.size = 11
    #expect(throws: Errno.invalidArgument) { try entry.write(record, durable: false) }
    record = wholeRecord(10)
    record.present = RangeSet64()
    record.base = StagingBase(key: journalKey, etag: ETag("e"), size: 10)
    #expect(throws: Errno.invalidArgument) { try entry.write(record, durable: false) }
    #expect(!entry.isRecorded && journal.names("files") == ["1.data"])
  }

  @Test func freezeKeepsWhatWasRecorded() throws {
    let journal = try JournalBench().open()
    let entry = try journal.makeEntry()
    // Nothing to keep.
    try entry.freeze()
    #expect(journal.names("files") == ["1.data"])
    try entry.record([1, 2, 3])
    let file = entry.file
    try entry.freeze()
    try entry.freeze()
    #expect(journal.names("files") == ["1-2.data.copy", "1.data", "1.record"])
    try entry.put([9], at: 0)
    #expect(entry.file === file && entry.liveBytes == [9, 2, 3])
    #expect(try JournalDisk.read(journal.directory.appending("files/1-2.data.copy")) == [1, 2, 3])
    try entry.write(wholeRecord(3), durable: false)
    #expect(journal.names("files") == ["1.data", "1.record"])
  }

  @Test func aCopyKeepsHoles() throws {
    let journal = try JournalBench().open()
    let entry = try journal.makeEntry()
    let size = 64 * mebibyte
    let piece = bytes(mebibyte, seed: 3)
    try entry.put(piece, at: UInt64(20 * mebibyte))
    try entry.put([7], at: UInt64(size - 1))
    let target = try JournalDisk.open(journal.directory.appending("copy"), O_RDWR | O_CREAT)
    let reserved = Mutex<UInt64>(0)
    try JournalDisk().copy(entry.file, to: target, "copy") { bytes in reserved.withLock { $0 = bytes } }
    let status = try JournalDisk.status(target)
    #expect(status.length == Int64(size))
    #expect(status.allocated < UInt64(4 * mebibyte))
    #expect(reserved.withLock { $0 } < UInt64(4 * mebibyte))
    let copied = try JournalDisk.read(journal.directory.appending("copy"))
    #expect(isSame(copied, entry.liveBytes))
  }

  @Test func startAfreshLeavesTheRecordedBytesWhereTheyAre() throws {
    let journal = try JournalBench().open()
    let entry = try journal.makeEntry()
    #expect(try entry.startAfresh() == false)
    try entry.record([1, 2, 3])
    let before = entry.file
    #expect(try entry.startAfresh())
    #expect(entry.file !== before && entry.path.name == "1-2.data" && entry.liveBytes == [])
    #expect(journal.names("files") == ["1-2.data", "1.data", "1.record"])
    // What is recorded has its own data already.
    #expect(try entry.startAfresh() == false)
    try entry.freeze()
    #expect(journal.names("files").count == 3)
    try entry.record([4])
    #expect(journal.names("files") == ["1-2.data", "1.record"])
    #expect(try entry.startAfresh())
    #expect(entry.path.name == "1-3.data")
  }

  @Test func forgetKeepsTheLiveBytes() throws {
    let journal = try JournalBench().open()
    let entry = try journal.makeEntry()
    entry.note(.upload(MultipartUpload(key: journalKey, id: "1")))
    try entry.record([1])
    try entry.freeze()
    try entry.put([2], at: 0)
    entry.forget()
    entry.forget()
    #expect(!entry.isRecorded && entry.liveBytes == [2])
    #expect(journal.names("files") == ["1.data", "1.notes"])
    let upload = MultipartUpload(key: journalKey, id: "1")
    func noted() throws -> MultipartUpload? {
      JournalNotes(decoding: try JournalDisk.read(journal.directory.appending("files/1.notes"))).upload
    }
    #expect(try noted() == upload, "it may be of what was written since")
    entry.note(ended: MultipartUpload(key: journalKey, id: "0"))
    #expect(try noted() == upload)
    entry.note(ended: upload)
    #expect(try noted() == nil)
    try entry.record([3])
    #expect(entry.isRecorded)
  }

  @Test func discardRemovesEverything() throws {
    let journal = try JournalBench().open()
    for freezes in [false, true] {
      let entry = try journal.makeEntry()
      entry.note(.name(journalKey))
      try entry.record([1])
      if freezes { try entry.freeze() } else { try entry.startAfresh() }
      entry.discard()
      entry.discard()
      entry.note(.name(ObjectKey("late")))
      #expect(journal.names("files").isEmpty)
      #expect(throws: Errno.staleNFSFileHandle) { try entry.write(wholeRecord(1), durable: false) }
      #expect(throws: Errno.staleNFSFileHandle) { try entry.startAfresh() }
      #expect(throws: Errno.staleNFSFileHandle) { try entry.reserve(1) }
    }
    #expect(journal.space.used == 0)
  }

  @Test func setAsideMovesOnlyWhatIsNotRecorded() throws {
    let bench = try JournalBench()
    try bench.leave { journal in
      // Never recorded.
      let first = try journal.makeEntry()
      first.note(.name(ObjectKey("first")))
      try first.fill([1])
      try first.reserve(10)
      first.setAside()
      first.setAside()
      #expect(journal.space.used == 0)
      // Changed after it was recorded.
      let second = try journal.makeEntry()
      try second.record([2], key: ObjectKey("second"))
      try second.freeze()
      try second.put([3], at: 0)
      second.setAside()
      // Recorded as it is.
      let third = try journal.makeEntry()
      try third.record([4], key: ObjectKey("third"))
      third.setAside()
      #expect(journal.names("recovered") == ["1.data", "1.notes", "2.data", "2.notes"])
      #expect(journal.names("files") == ["2-3.data.copy", "2.record", "4.data", "4.record"])
      for (number, name) in [(1, "first"), (2, "second")] {
        let notes = try JournalDisk.read(journal.directory.appending("recovered/\(number).notes"))
        #expect(JournalNotes(decoding: notes).name == ObjectKey(name))
      }
    }
    let (_, found) = try bench.takeUp()
    #expect(found.pending.map { $0.entry.liveBytes } == [[2], [4]])
    #expect(found.pending.map(\.record.target.key.string) == ["second", "third"])
  }

  /// The kernel reports once that bytes did not reach the disk: a later sync that succeeds proves nothing.
  @Test func dataThatDidNotReachTheDiskIsNeverRecordedAgain() throws {
    let failing = Atomic<Bool>(false)
    let disk = JournalDisk { step throws(Errno) in
      if failing.load(ordering: .relaxed), case .sync(let path) = step, path.name.hasSuffix(".data") { throw .ioError }
    }
    let journal = try JournalBench().open(disk: disk)
    let entry = try journal.makeEntry()
    try entry.record([1], durable: true)
    try entry.freeze()
    try entry.put([2], at: 0)
    failing.store(true, ordering: .relaxed)
    #expect(throws: Errno.ioError) { try entry.write(wholeRecord(1), durable: true) }
    failing.store(false, ordering: .relaxed)
    for durable in [true, false] {
      #expect(throws: Errno.ioError) { try entry.write(wholeRecord(1), durable: durable) }
    }
    #expect(try JournalDisk.read(journal.directory.appending("files/1-2.data.copy")) == [1])
    #expect(try entry.startAfresh())
    try entry.record([3], durable: true)
    #expect(journal.names("files") == ["1-3.data", "1.record"])
  }

  @Test func aDurableRecordIsNotReplacedByOneThatIsNot() throws {
    let recorder = StepRecorder()
    let journal = try JournalBench().open(disk: recorder.disk)
    func done(_ body: () throws -> Void) throws -> [String] {
      _ = recorder.taken()
      try body()
      return recorder.taken()
    }
    let entry = try journal.makeEntry()
    let new = "1.record.new"
    let durable = ["sync 1.data", "make \(new)", "write \(new)", "sync \(new)", "rename to 1.record"]
    #expect(
      try done { try entry.write(wholeRecord(0), durable: false) } == [
        "make \(new)", "write \(new)", "rename to 1.record",
      ])
    for isDurable in [true, false] {
      #expect(
        try done { try entry.write(wholeRecord(0), durable: isDurable) } == durable + ["sync directory files"])
      #expect(entry.record?.isDurable == true)
    }
    #expect(
      try done { try entry.freeze() } == [
        "make 1-2.data.copy", "write 1-2.data.copy", "sync 1-2.data.copy", "make \(new)", "write \(new)",
        "sync \(new)", "rename to 1.record", "sync directory files",
      ])
    #expect(
      try done { try entry.write(wholeRecord(0), durable: false) } == durable + [
        "sync directory files", "remove 1-2.data.copy",
      ])
    #expect(try done { entry.forget() } == ["remove 1.record"])
    // Before the live bytes change the record must not be able to come back.
    #expect(try done { try entry.freeze() } == ["sync directory files"])
    #expect(try done { try entry.freeze() } == [])
    #expect(try done { entry.discard() } == ["remove 1.data"])
  }

  @Test func spaceFollowsTheFiles() throws {
    let journal = try JournalBench().open(JournalBounds(limit: 1 << 20, freeFraction: 0))
    let entry = try journal.makeEntry()
    try entry.reserve(300 << 10)
    try entry.fill(bytes(300 << 10, seed: 1))
    try entry.write(wholeRecord(300 << 10), durable: false)
    entry.release(44 << 10)
    #expect(journal.space.used == 256 << 10)
    // The old bytes keep their share until they are gone.
    try entry.startAfresh()
    try entry.reserve(100 << 10)
    entry.release(.max)
    #expect(journal.space.used == 256 << 10)
    try entry.reserve(500 << 10)
    try entry.record(bytes(500 << 10, seed: 2))
    #expect(journal.space.used == 500 << 10)
    // A copy needs room, where blocks cannot be shared; a writer is not kept waiting for it.
    journal.space.beginFreeing()
    try journal.space.reserve(524 << 10)
    let isShared: Bool
    do {
      try entry.freeze()
      isShared = true
    } catch {
      #expect(error == .noSpace)
      isShared = false
    }
    #expect(journal.names("files").contains { $0.hasSuffix(".copy") } == isShared)
    journal.space.release(524 << 10)
    try entry.freeze()
    #expect(journal.space.used >= 500 << 10)
    entry.forget()
    #expect(journal.space.used == 500 << 10)
    entry.discard()
    #expect(journal.space.used == 0)
  }

  @Test func notesAreWrittenOnceEach() throws {
    let journal = try JournalBench().open()
    let entry = try journal.makeEntry()
    let upload = MultipartUpload(key: journalKey, id: "u")
    let parts = (1...40).map {
      RecordedPart(number: $0, range: 0..<UInt64($0), etag: ETag("\($0)"), isCopy: $0 % 2 == 0)
    }
    entry.note(.part(parts[0]))
    entry.note(.uploadEnded)
    #expect(journal.names("files") == ["1.data"])
    entry.note(.name(journalKey))
    entry.note(.name(journalKey))
    entry.note(.upload(upload))
    let threads = (0..<4).compactMap { index in
      Thread.start(name: "part") { for part in parts where part.number % 4 == index { entry.note(.part(part)) } }
    }
    for thread in threads { thread.join() }
    let text = try JournalDisk.read(journal.directory.appending("files/1.notes"))
    #expect(text.split(separator: 10).count == 41)
    #expect(JournalNotes(decoding: text).recordedUpload == RecordedUpload(upload: upload, parts: parts))
  }

  @Test func theLastLineOfADeadDaemonDoesNotSwallowTheNext() throws {
    let bench = try JournalBench()
    let upload = MultipartUpload(key: journalKey, id: "u")
    let part = RecordedPart(number: 2, range: 0..<5, etag: ETag("e"), isCopy: false)
    try bench.leave { journal in
      let entry = try journal.makeEntry()
      try entry.record([1])
      entry.note(.upload(upload))
      try JournalDisk().append(Array("123 part=tor".utf8), to: journal.directory.appending("files/1.notes"))
    }
    do {
      let (_, found) = try bench.takeUp()
      found.pending.first?.entry.note(.part(part))
    }
    let (_, found) = try bench.takeUp()
    #expect(found.pending.first?.upload == RecordedUpload(upload: upload, parts: [part]))
  }

  @Test func takingAMarkBackNeedsNoRoom() throws {
    let bench = try JournalBench()
    let isFull = Mutex(false)
    let disk = JournalDisk(onStep: { step throws(Errno) in
      if case .make = step, isFull.withLock({ $0 }) { throw .noSpace }
    })
    do {
      let entry = try bench.open(disk: disk).makeEntry()
      try entry.record([1, 2], durable: true)
      try entry.mark(.removed)
      isFull.withLock { $0 = true }
      #expect(throws: Errno.noSpace) { try entry.mark(.stranded) }
      try entry.mark(.closed)
    }
    let (_, found) = try bench.takeUp()
    #expect(found.pending.map(\.record.state) == [.closed] && found.pending.map { $0.entry.liveBytes } == [[1, 2]])
  }

  @Test func smallDataIsUsedAgainWhenNobodyHasItOpen() throws {
    let journal = try JournalBench().open()
    func inode(_ entry: JournalEntry) throws -> ino_t {
      var info = stat()
      guard fstat(entry.file.descriptor.rawValue, &info) == 0 else { throw Errno(rawValue: errno) }
      return info.st_ino
    }
    /// - Returns: its inode, and what still has it open.
    func live(durable: Bool) throws -> (ino_t, SharedDescriptor) {
      let entry = try journal.makeEntry()
      entry.note(.name(journalKey))
      try entry.record([1, 2, 3], durable: durable)
      defer { entry.discard() }
      return (try inode(entry), entry.file)
    }
    var (first, reader): (ino_t, SharedDescriptor?) = try live(durable: false)
    let second = try journal.makeEntry()
    #expect(try inode(second) != first)
    #expect(JournalDisk.label(second.path) == nil)
    var byte: UInt8 = 0
    #expect(pread(try #require(reader).descriptor.rawValue, &byte, 1, 1) == 1 && byte == 2, "it is read to the end")
    reader = nil
    let third = try journal.makeEntry()
    #expect(try inode(third) == first)
    #expect(third.liveBytes == [] && JournalDisk.label(third.path) == nil)
    third.discard()
    let before = journal.names("spare").filter { $0.hasPrefix("d") }
    (first, reader) = try live(durable: true)
    reader = nil
    let after = journal.names("spare").filter { $0.hasPrefix("d") }
    #expect(after.count <= before.count, "it may come back with a power failure")
  }

  @Test func whatADeadDaemonDidNotMakeEmptyIsNotUsedAgain() throws {
    let bench = try JournalBench()
    try bench.leave { journal in
      for (name, bytes) in [("d1", []), ("d2", [1]), ("r3", [2]), ("x", [3])] as [(String, [UInt8])] {
        try journal.directory.appending("spare").appending(name).overwrite(bytes)
      }
    }
    let journal = try bench.open()
    #expect(journal.names("spare") == ["d1", "r3"])
    let entry = try journal.makeEntry()
    #expect(entry.liveBytes == [] && journal.names("spare") == ["r3"])
    try entry.record([1])
    #expect(journal.names("spare") == [])
    entry.discard()
    #expect(journal.names("spare") == ["d5", "r4"])
  }
}
