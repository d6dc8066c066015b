import Basics
import Glibc
import Logging
import ObjectStore
import Synchronization
import SystemPackage

@testable import WritePath

/// A root for journals that is removed with the test.
final class JournalBench: Sendable {
  let root: TemporaryDirectory
  let log = Logger(label: "test", factory: { _ in SwiftLogNoOpLogHandler() })
  let clock = ManualClock()

  init() throws { root = try TemporaryDirectory() }

  func open(
    _ bounds: JournalBounds = JournalBounds(freeFraction: 0), disk: JournalDisk = JournalDisk()
  ) throws -> Journal {
    try Journal(
      root: root.path, name: "bucket", identity: "https://s3.example/bucket:dir/",
      // The journal keeps its root.
      space: JournalSpace(bounds: bounds, disk: { withExtendedLifetime(self) { nil } }), disk: disk,
      clock: clock.timeSource)
  }

  /// Opens the journal as the next mount does.
  func takeUp() throws -> (Journal, LeftOver) {
    let journal = try open()
    return (journal, journal.takeUp(log: log))
  }

  /// A daemon that does `body` and dies.
  func leave(_ body: (Journal) throws -> Void) throws { try body(try open()) }
}

let journalKey = ObjectKey("dir/a file")

/// The record of a new file that is all here.
func wholeRecord(_ size: Int, key: ObjectKey = journalKey, state: JournalRecord.State = .closed) -> JournalRecord {
  var present = RangeSet64()
  present.insert(0..<UInt64(size))
  return JournalRecord(
    state: state, target: UploadTarget(key: key, attributes: ObjectAttributes(userMetadata: ["mode": "33188"])),
    size: UInt64(size), condition: .ifAbsent, base: nil, present: present, dirty: present)
}

extension Journal {
  func names(_ folder: String) -> [String] {
    (try? FileSystem.names(in: directory.appending(folder))) ?? []
  }
}

extension JournalEntry {
  /// Makes the live data exactly those bytes, in place.
  func fill(_ bytes: [UInt8]) throws {
    guard ftruncate(file.descriptor.rawValue, 0) == 0 else { throw Errno(rawValue: errno) }
    try put(bytes, at: 0)
  }

  func put(_ bytes: [UInt8], at offset: UInt64) throws {
    try bytes.withUnsafeBytes { try FileSystem.write($0, to: file.descriptor, at: offset) }
  }

  /// Makes the bytes live and records them.
  func record(_ bytes: [UInt8], key: ObjectKey = journalKey, durable: Bool = false) throws {
    try freeze()
    try fill(bytes)
    try write(wholeRecord(bytes.count, key: key), durable: durable)
  }

  var liveBytes: [UInt8]? { try? JournalDisk.read(path) }
}

extension FilePath {
  var name: String { lastComponent?.string ?? "" }

  func overwrite(_ bytes: [UInt8]) throws {
    let file = try JournalDisk.open(self, O_WRONLY | O_CREAT | O_TRUNC)
    try bytes.withUnsafeBytes { try FileSystem.write($0, to: file.descriptor, at: 0) }
  }
}

/// Notes the steps of a journal as text, and lets none be done any more from a certain one on: the daemon has died.
final class StepRecorder: Sendable {
  private struct State {
    var steps: [String] = []
    var count = 0
    var hasStopped = false
  }

  private let state = Mutex(State())
  private let stopAt: Int?

  /// - Parameter stopAt: the number of the step, from 1, that is not done; nil: all are.
  init(stopAt: Int? = nil) { self.stopAt = stopAt }

  var disk: JournalDisk {
    JournalDisk { step throws(Errno) in
      let hasStopped = self.state.withLock { state in
        state.count += 1
        state.steps.append(Self.text(step))
        if let stopAt = self.stopAt, state.count >= stopAt { state.hasStopped = true }
        return state.hasStopped
      }
      if hasStopped { throw .ioError }
    }
  }

  /// Whether a step was not done.
  var hasStopped: Bool { state.withLock { $0.hasStopped } }

  /// The steps since the last call.
  func taken() -> [String] {
    state.withLock { state in
      defer { state.steps = [] }
      return state.steps
    }
  }

  private static func text(_ step: JournalDisk.Step) -> String {
    switch step {
    case .make(let path): "make \(path.name)"
    case .write(let path): "write \(path.name)"
    case .sync(let path): "sync \(path.name)"
    case .rename(_, let path): "rename to \(path.name)"
    case .remove(let path): "remove \(path.name)"
    case .syncDirectory(let path): "sync directory \(path.name)"
    case .label(let path): "label \(path.name)"
    }
  }
}
