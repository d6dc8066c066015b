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
    /// Removed or set aside.
    var isGone = false
  }

  let area: JournalArea
  let number: UInt64
  private let gate = AccessGate()
  private let state: Mutex<State>
  private let notes: JournalEntryNotes

  /// A new entry, or with a record one that an earlier mount left.
  init(
    area: JournalArea, number: UInt64, live: JournalData, record: JournalRecord? = nil, upload: RecordedUpload? = nil
  ) {
    self.area = area
    self.number = number
    state = Mutex(State(live: live, record: record))
    notes = JournalEntryNotes(
      path: area.files.appending("\(number)\(JournalName.notes)"), disk: area.disk, upload: upload?.upload)
  }

  private var recordPath: FilePath { area.files.appending("\(number)\(JournalName.record)") }

  /// The live data. Changes with `startAfresh`, so read it each time.
  public var file: SharedDescriptor { state.withLock { $0.live.file } }

  /// Where the live data is.
  public var path: FilePath { state.withLock { $0.live.path } }

  /// Whether a crash now would leave a version that the next mount uploads.
  public var isRecorded: Bool { state.withLock { $0.record != nil } }

  /// The record a crash now would leave.
  public var record: JournalRecord? { state.withLock { $0.record } }

  /// Adds a hint for the next mount. Best effort: losing it costs repeated work.
  public func note(_ note: JournalNote) { notes.note(note) }

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
  /// - Throws: ENOSPC when there is no room and nobody is freeing.
  public func reserve(_ bytes: UInt64) throws(Errno) {
    try area.space.reserve(bytes)
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

  // MARK: Records

  /// Records the live bytes as a version that the next mount uploads, in place of the one recorded before.
  ///
  /// `sequence`, `time`, `isDurable` and the name of the data are given here. A record that replaces a durable one is
  /// durable too: it must not be lost together with the bytes that were promised.
  /// - Parameter durable: data and record are on stable storage when this returns; otherwise they survive the end of
  ///   the daemon, but not of the machine.
  /// - Throws: the error of the disk. The version recorded before is still recorded then, unless only the last wait for
  ///   the disk failed: then it is one of the two. EINVAL for a record that cannot be true. When the data could not be
  ///   made durable, every later `write` fails too, until `startAfresh`: the kernel may have dropped bytes.
  public func write(_ record: JournalRecord, durable: Bool) throws(Errno) {
    try gate.exclusive { () throws(Errno) in
      let before = state.withLock { $0 }
      guard !before.isGone else { throw .staleNFSFileHandle }
      if let failure = before.live.failure { throw failure }
      var record = record
      record.isDurable = durable || before.record?.isDurable ?? false
      record.data = before.live.name
      record.sequence = area.makeSequence()
      record.time = area.clock.wall.seconds
      record.boot = area.boot
      guard record.isSound else { throw .invalidArgument }
      if record.isDurable { try syncLive(before.live) }
      try area.disk.replace(recordPath, with: record.encoded, durable: record.isDurable)
      state.withLock { state in
        state.record = record
        state.isSettled = !record.isDurable
        if let frozen = state.frozen { state.stale.append(frozen) }
        state.frozen = nil
      }
      try settle()
      removeStale()
    }
  }

  /// Gives the record, if there is one, another state. It keeps its bytes and its place in the order.
  ///
  /// `closed`, which takes back what was meant to happen to the file, needs no room on the disk.
  public func mark(_ kind: JournalRecord.State) throws(Errno) {
    try gate.exclusive { () throws(Errno) in
      guard var record = state.withLock({ $0.record }), record.state != kind else { return }
      record.state = kind
      do throws(Errno) {
        try area.disk.replace(recordPath, with: record.encoded, durable: record.isDurable)
      } catch {
        guard kind == .closed else { throw error }
        // One that is torn by the end of the machine is set aside with its data, and not lost.
        try area.disk.overwrite(recordPath, with: record.encoded, durable: record.isDurable)
      }
      state.withLock { state in
        state.record = record
        state.isSettled = !record.isDurable && state.isSettled
      }
      try settle()
    }
  }

  /// Whether the live bytes must not be changed before `freeze` or `startAfresh`, record or not.
  public var mustFreeze: Bool { state.withLock { $0.needsFreezing } }

  private func syncLive(_ live: JournalData) throws(Errno) {
    do throws(Errno) {
      try area.disk.sync(live.file, live.path)
    } catch {
      state.withLock { $0.live.failure = error }
      throw error
    }
  }

  /// Makes the newest change of the record durable, where it must be and is not.
  private func settle() throws(Errno) {
    guard !state.withLock({ $0.isSettled }) else { return }
    try area.disk.syncDirectory(area.files)
    state.withLock { $0.isSettled = true }
  }

  /// To be called before the live bytes are changed: afterwards what was recorded stands in a file of its own.
  ///
  /// Costs next to nothing when nothing is recorded or it was done before. Otherwise the bytes are copied, sharing
  /// blocks where the filesystem can.
  /// - Throws: the error of the disk, ENOSPC also when the bounds of the journal leave no room for the copy; the live
  ///   bytes must not be changed then. Never waits for room, since an upload of this file may be what would make it.
  public func freeze() throws(Errno) {
    guard state.withLock({ $0.needsFreezing }) else { return }
    try gate.exclusive { () throws(Errno) in
      let before = state.withLock { $0 }
      // A record that was promised to be gone, or to name its own data, must not come back with a power failure.
      guard let record = before.record, before.frozen == nil else { return try settle() }
      var copy = try makeCopy(of: before.live, durable: record.isDurable)
      do throws(Errno) {
        var frozen = record
        frozen.data = copy.name
        try area.disk.replace(recordPath, with: frozen.encoded, durable: record.isDurable)
        state.withLock { state in
          state.record = frozen
          state.frozen = copy
          state.isSettled = !record.isDurable
        }
      } catch {
        remove(&copy)
        throw error
      }
      try settle()
      removeStale()
    }
  }

  private func makeCopy(of live: JournalData, durable: Bool) throws(Errno) -> JournalData {
    let path = area.files.appending("\(number)-\(area.makeNumber())\(JournalName.copy)")
    var copy = JournalData(path: path, file: try area.disk.make(path))
    do throws(Errno) {
      var reserved: UInt64 = 0
      defer { copy.reserved = reserved }
      try area.disk.copy(live.file, to: copy.file, path) { bytes throws(Errno) in
        try area.space.reserve(bytes, waits: false)
        reserved = bytes
      }
      if durable { try area.disk.sync(copy.file, path) }
    } catch {
      remove(&copy)
      throw error
    }
    return copy
  }

  /// To be called instead of `freeze` when the file is about to become empty: what was recorded keeps its data file, and
  /// the live bytes begin in a new, empty one. Nothing is copied. Does nothing when what is recorded, if anything, has
  /// its own data: then the caller cuts the live file itself.
  /// - Returns: whether the live data is a new, empty file.
  @discardableResult
  public func startAfresh() throws(Errno) -> Bool {
    try gate.exclusive { () throws(Errno) in
      let before = state.withLock { $0 }
      guard !before.isGone else { throw .staleNFSFileHandle }
      try settle()
      let isNamed = before.record != nil && before.frozen == nil
      guard isNamed || before.live.failure != nil else { return false }
      let path = area.files.appending("\(number)-\(area.makeNumber())\(JournalName.data)")
      let fresh = JournalData(path: path, file: try area.disk.make(path))
      state.withLock { state in
        // Read again: space may have been reserved meanwhile.
        if isNamed { state.frozen = state.live } else { state.stale.append(state.live) }
        state.live = fresh
      }
      if !isNamed { removeStale() }
      return true
    }
  }

  // MARK: The end

  /// Forgets what was recorded: the bytes are in the bucket, or nobody wants them. The live data stays, and so does
  /// an upload that was noted: it may be of a newer version.
  public func forget() {
    gate.exclusive {
      guard !state.withLock({ $0.isGone }) else { return }
      forgetRecord()
    }
  }

  /// - Returns: false when the record cannot be removed: then its data stays too.
  @discardableResult
  private func forgetRecord() -> Bool {
    guard let record = state.withLock({ $0.record }) else { return true }
    do throws(Errno) {
      try area.disk.remove(recordPath, isSpare: !record.isDurable)
    } catch {
      return false
    }
    state.withLock { state in
      state.record = nil
      // Waited for only when the live bytes are changed next: until then a record that came back would be right.
      state.isSettled = !record.isDurable && state.isSettled
      if let frozen = state.frozen { state.stale.append(frozen) }
      state.frozen = nil
    }
    removeStale()
    return true
  }

  /// Removes everything, and gives its space back. An upload that was noted is the caller's to end before.
  public func discard() {
    gate.exclusive {
      guard !state.withLock({ $0.isGone }) else { return }
      guard forgetRecord() else { return }
      state.withLock { state in
        state.isGone = true
        state.stale.append(state.live)
        state.live.reserved = 0
      }
      removeStale()
      notes.end(removing: true)
    }
  }

  /// Leaves everything where it is, as if the daemon had ended.
  public func leave() {
    gate.exclusive {
      state.withLock { $0.isGone = true }
      notes.end(removing: false)
    }
  }

  /// Gives the live data away to `recovered`, with what is known of it: it is not whole, since a write failed, but not
  /// ours to delete.
  /// - Returns: the version that was recorded before, as if an earlier mount had left it; nil without one.
  @discardableResult
  public func setAside() -> JournalEntry? {
    gate.exclusive {
      let before = state.withLock { state in
        let before = state
        state.isGone = true
        state.live.reserved = 0
        state.frozen?.reserved = 0
        return before
      }
      guard !before.isGone else { return nil }
      // Without a copy, nobody has changed what is recorded.
      if before.record == nil || before.frozen != nil {
        area.copyNotes(number, to: area.recovered, name: before.record?.target.key)
        if let name = before.live.path.lastComponent?.string { try? area.move(name, to: area.recovered) }
        area.space.release(before.live.reserved)
      }
      notes.end(removing: before.record == nil && notes.upload == nil)
      return before.record.map {
        JournalEntry(area: area, number: number, live: before.frozen ?? before.live, record: $0)
      }
    }
  }

  /// Removes what nothing names; what cannot be removed is tried again later.
  private func removeStale() {
    var stale = state.withLock { state in
      defer { state.stale = [] }
      return state.stale
    }
    stale.removeAll { data in
      var data = data
      return remove(&data)
    }
    state.withLock { $0.stale += stale }
  }

  @discardableResult
  private func remove(_ data: inout JournalData) -> Bool {
    do throws(Errno) {
      try area.disk.remove(data.path)
    } catch {
      return false
    }
    area.space.release(data.reserved)
    data.reserved = 0
    return true
  }
}

extension JournalEntry.State {
  /// Whether `freeze` has something to do.
  fileprivate var needsFreezing: Bool { (record != nil && frozen == nil) || !isSettled }
}
