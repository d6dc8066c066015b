import Basics
public import SystemPackage

/// The version that is recorded, and the bytes it stands on.
extension JournalEntry {
  /// Records the live bytes as a version that the next mount uploads, in place of the one recorded before.
  ///
  /// `sequence`, `time`, `isDurable` and the name of the data are given here. A record that replaces a durable one is
  /// durable too: it must not be lost together with the bytes that were promised.
  /// - Parameters:
  ///   - durable: data and record are on stable storage when this returns; otherwise they survive the end of the daemon,
  ///     but not of the machine.
  ///   - isSynced: nothing was written to the live data since `syncAhead` or the last durable record.
  /// - Throws: the error of the disk. The version recorded before is still recorded then, unless only the last wait for
  ///   the disk failed: then it is one of the two. EINVAL for a record that cannot be true. When the data could not be
  ///   made durable, every later `write` fails too, until `startAfresh`: the kernel may have dropped bytes.
  public func write(_ record: JournalRecord, durable: Bool, isSynced: Bool = false) throws(Errno) {
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
      if record.isDurable {
        state.withLock { $0.wasDurable = true }
        if !isSynced { try syncLive(before.live) }
      }
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

  /// Brings the live bytes to the disk, ahead of a durable record. Others may use the entry meanwhile.
  /// - Throws: the error of the disk, which every later `write` throws, too.
  func syncAhead() throws(Errno) { try syncLive(state.withLock { $0.live }) }

  private func syncLive(_ live: JournalData) throws(Errno) {
    do throws(Errno) {
      try area.disk.sync(live.file, live.path)
    } catch {
      state.withLock { if $0.live.file === live.file { $0.live.failure = error } }
      throw error
    }
  }

  /// Why the live bytes may not be what was written; nil as long as the disk has not said so.
  var dataFailure: Errno? { state.withLock { $0.live.failure } }

  /// Makes the newest change of the record durable, where it must be and is not.
  func settle() throws(Errno) {
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
      let fresh = JournalData(path: path, file: try area.disk.makeData(path))
      if let name = before.name { label(fresh, name) }
      state.withLock { state in
        // Read again: space may have been reserved meanwhile.
        if isNamed { state.frozen = state.live } else { state.stale.append(state.live) }
        state.live = fresh
      }
      if !isNamed { removeStale() }
      return true
    }
  }
}

extension JournalEntry.State {
  /// Whether `freeze` has something to do.
  fileprivate var needsFreezing: Bool { (record != nil && frozen == nil) || !isSettled }
}
