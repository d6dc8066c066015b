import ObjectStore
import Synchronization
import SystemPackage
import Testing

@testable import WritePath

/// Records of a staged file when the disk fails, and when an upload comes between.
@Suite struct RecordEdgeTests {
  /// A journal whose disk fails at the steps a test names.
  private final class Disk: Sendable {
    let root: TemporaryDirectory
    let fails = Mutex<(@Sendable (JournalDisk.Step) -> Bool)?>(nil)

    init() throws { root = try TemporaryDirectory() }

    func journal() throws -> Journal {
      let space = JournalSpace(bounds: JournalBounds(freeFraction: 0)) { nil }
      let disk = JournalDisk { step throws(Errno) in
        if self.fails.withLock({ $0 })?(step) ?? false { throw .ioError }
      }
      return try Journal(
        root: root.path, name: "bucket", identity: "test", space: space, disk: disk, clock: .system)
    }

    func fail(_ rule: (@Sendable (JournalDisk.Step) -> Bool)?) { fails.withLock { $0 = rule } }
  }

  private func leftOver(_ root: TemporaryDirectory, _ bench: Workbench) throws -> [[UInt8]] {
    let journal = try Journal(root: root.path, name: "bucket", identity: "test")
    return try journal.takeUp(log: bench.log).pending.map { file in
      let staged = StagedFile(resuming: file, context: bench.context)
      return try staged.read(Int(staged.size), at: 0)
    }
  }

  @Test func aRecordThatOnlyItsLastSyncFailedIsNotChangedInPlace() throws {
    let (bench, disk) = (try Workbench(), try Disk())
    do {
      let journal = try disk.journal()
      let file = StagedFile(entry: try journal.makeEntry(), base: nil, context: bench.context)
      let (one, two, three) = (bytes(100, seed: 1), bytes(100, seed: 2), bytes(100, seed: 3))
      try file.write(one, at: 0)
      try file.record(for: bench.target, condition: .ifAbsent, as: .synced, durable: true)
      try file.write(two, at: 0)
      // The new record has its name already.
      disk.fail { if case .syncDirectory = $0 { true } else { false } }
      #expect(throws: WriteError.self) {
        try file.record(for: bench.target, condition: .ifAbsent, as: .synced, durable: true)
      }
      disk.fail(nil)
      try file.write(Array(three[..<50]), at: 0)
    }
    let left = try leftOver(disk.root, bench)
    #expect(left == [bytes(100, seed: 1)] || left == [bytes(100, seed: 2)])
  }

  @Test func aFirstRecordThatOnlyItsLastSyncFailedGoesWithTheUpload() throws {
    let (bench, disk) = (try Workbench(), try Disk())
    do {
      let journal = try disk.journal()
      let file = StagedFile(entry: try journal.makeEntry(), base: nil, context: bench.context)
      try file.write(bytes(100, seed: 1), at: 0)
      disk.fail { if case .syncDirectory = $0 { true } else { false } }
      try? file.record(for: bench.target, condition: .ifAbsent, as: .closed, durable: true)
      disk.fail(nil)
      _ = try bench.upload(file)
      file.forgetRecordIfUploaded()
    }
    #expect(try leftOver(disk.root, bench) == [])
  }

  @Test func whatTheBucketHasIsNotRecordedAgain() throws {
    let bench = try Workbench()
    let file = try bench.staged()
    try file.write(bytes(100, seed: 1), at: 0)
    _ = try bench.upload(file)
    try file.record(for: bench.target, condition: .ifAbsent, as: .closed, durable: false)
    #expect(!file.isRecorded)
    try file.write(bytes(10, seed: 2), at: 0)
    try file.record(for: bench.target, condition: .ifAbsent, as: .closed, durable: false)
    #expect(file.isRecorded)
  }

  @Test func anUploadBeforeTheRecordIsExpectedByTheNextMount() throws {
    let bench = try Workbench()
    let root = bench.root
    do {
      let journal = try Journal(root: root.path, name: "bucket", identity: "other")
      let file = StagedFile(entry: try journal.makeEntry(), base: nil, context: bench.context)
      try file.write(bytes(100, seed: 1), at: 0)
      bench.store.setRule { $0.kind == .put && $0.key == bench.key ? .loseAnswer(.timedOut) : nil }
      #expect(storeCode { _ = try bench.upload(file) } == .timedOut)
      try file.record(for: bench.target, condition: .ifAbsent, as: .closed, durable: true)
    }
    let journal = try Journal(root: root.path, name: "bucket", identity: "other")
    let pending = try #require(journal.takeUp(log: bench.log).pending.first)
    #expect(pending.expected == [ExpectedVersion(try bench.memory.head(bench.key).etag)])
  }

  @Test func aVersionThatIsSentAloneIsNotMixedWithWhatIsWrittenMeanwhile() throws {
    let bench = try Workbench()
    let file = try bench.staged()
    let content = bytes(2 * partBytes + 5, seed: 1)
    try file.write(content, at: 0)
    try file.record(for: bench.target, condition: .none, as: .closed, durable: false)
    let version = try #require(file.recordedChanges)
    bench.store.setRule { operation in
      if operation.kind == .uploadPart, operation.part == 2 { try? file.write([1, 2, 3], at: 10) }
      return nil
    }
    #expect(throws: WriteError.self) {
      try file.upload(
        UploadOrder(bench.target, condition: .none, conditions: bench.conditions, version: version))
    }
    #expect(bench.stored == nil)
    #expect(isSame(try file.read(10, at: 5), Array(content[5..<10] + [1, 2, 3] + content[13..<15])))
    bench.store.setRule { _ in nil }
    _ = try bench.upload(file)
    #expect(isSame(bench.stored.map { Array($0[..<13]) }, Array(content[..<10]) + [1, 2, 3]))
    #expect(bench.memory.uploadCount == 0)
  }
}
