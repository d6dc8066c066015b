public import Basics
public import ObjectStore
import Synchronization
public import SystemPackage

/// A data file of an entry.
struct JournalData: Sendable {
  var path: FilePath
  var file: SharedDescriptor
  /// Bytes of the journal's space that it stands for.
  var reserved: UInt64 = 0
  /// Why its bytes did not reach the disk. The kernel says so once; the file is not whole from then on.
  var failure: Errno?

  /// The name that a record gives it: of a copy too, which is `NAME.copy` on the disk.
  var name: String {
    let name = path.lastComponent?.string ?? ""
    return JournalName.stem(of: name, ending: JournalName.copy).map { $0 + JournalName.data } ?? name
  }
}

/// One file's place in the journal: its live bytes, the version of it that was recorded last, and notes.
///
///     nothing recorded     the live bytes are what a crash leaves, as a recovered file
///     recorded             N.record names the live bytes: nobody may change them before `freeze` or `startAfresh`
///     frozen               N.record names a data file of its own; the live bytes are free to change
///
/// The caller keeps writers away while it calls `write`, `freeze`, `startAfresh`: the bytes must stand still then.
/// Nothing is deleted while a record names it, and a record goes before its data.
///
/// Thread-safe; blocks for local I/O. Lock order: `gate` (held across I/O), then the notes' gate, then `state`.
public final class JournalEntry: Sendable {
  struct State {
    var live: JournalData
    /// What `N.record` holds.
    var record: JournalRecord?
    /// What it names, where that is not the live data.
    var frozen: JournalData?
    /// What no record names any more, to be removed as soon as that is durable.
    var stale: [JournalData] = []
    /// Whether the newest change of `N.record` was durable, when it must be.
    var isSettled = true
    /// Whether something of it may have been made durable: then it may come back with a power failure.
    var wasDurable: Bool
    /// Removed or set aside.
    var isGone = false
    /// The key that the live bytes are for, where that was noted.
    var name: ObjectKey?
  }

  let area: JournalArea
  let number: UInt64
  let gate = AccessGate()
  let state: Mutex<State>
  let notes: JournalEntryNotes

  /// A new entry, or with a record one that an earlier mount left.
  init(
    area: JournalArea, number: UInt64, live: JournalData, record: JournalRecord? = nil, upload: RecordedUpload? = nil
  ) {
    self.area = area
    self.number = number
    state = Mutex(State(live: live, record: record, wasDurable: record != nil))
    notes = JournalEntryNotes(
      path: area.files.appending("\(number)\(JournalName.notes)"), disk: area.disk, isThere: record != nil,
      upload: upload?.upload)
  }

  var recordPath: FilePath { area.files.appending("\(number)\(JournalName.record)") }

  /// The live data. Changes with `startAfresh`, so read it each time.
  public var file: SharedDescriptor { state.withLock { $0.live.file } }

  /// Where the live data is.
  public var path: FilePath { state.withLock { $0.live.path } }

  /// Whether a crash now would leave a version that the next mount uploads.
  public var isRecorded: Bool { state.withLock { $0.record != nil } }

  /// The record a crash now would leave.
  public var record: JournalRecord? { state.withLock { $0.record } }

  /// Adds a hint for the next mount. Best effort: losing it costs repeated work.
  public func note(_ note: JournalNote) {
    guard case .name(let key) = note else { return notes.note(note) }
    gate.exclusive {
      let live = state.withLock { state in
        defer { state.name = key }
        return state.name != key && !state.isGone ? state.live : nil
      }
      if let live { label(live, key) }
    }
  }

  /// Whether there is a file of notes: then another line costs next to nothing.
  var hasNotes: Bool { notes.isThere }

  /// Writes the key that a data file is for onto it, or where that cannot be, into the notes: those count more.
  func label(_ data: JournalData, _ key: ObjectKey) {
    if !notes.hasName, (try? area.disk.label(data.file, data.path, key)) != nil { return }
    notes.note(.name(key))
  }

  /// Notes that an upload was completed or aborted, unless another was begun since.
  public func note(ended upload: MultipartUpload) {
    if notes.upload == upload { notes.note(.uploadEnded) }
  }

  /// Leaves an upload that could not be aborted to the next mount.
  /// - Returns: false when that cannot be noted.
  public func leave(_ upload: MultipartUpload) -> Bool { area.note(abandoned: upload) != nil }

  // MARK: Space

  /// Reserves space for bytes that are about to be written; given back by `discard`. Blocks while there is no room and
  /// somebody is freeing; the caller must hold nothing that an upload needs to come to its end.
  /// - Throws: ENOSPC when there is no room and nobody is freeing; EINTR when the caller gives up.
  public func reserve(_ bytes: UInt64, _ cancellation: Cancellation? = nil) throws(Errno) {
    try area.space.reserve(bytes, cancellation)
    let isKept = state.withLock { state in
      guard !state.isGone else { return false }
      state.live.reserved += bytes
      return true
    }
    guard !isKept else { return }
    area.space.release(bytes)
    throw .staleNFSFileHandle
  }

  /// Counts bytes that are written whether or not there is room, since an upload needs them to come to its end.
  public func account(_ bytes: UInt64) {
    let isKept = state.withLock { state in
      guard !state.isGone else { return false }
      state.live.reserved += bytes
      return true
    }
    if isKept { area.space.adopt(bytes) }
  }

  /// Gives back space of the live data: it was cut.
  public func release(_ bytes: UInt64) {
    let given = state.withLock { state in
      let given = min(bytes, state.live.reserved)
      state.live.reserved -= given
      return given
    }
    area.space.release(given)
  }
}
