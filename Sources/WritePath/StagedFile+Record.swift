import Basics
public import ObjectStore
import Synchronization
import SystemPackage

/// What the journal knows of a staged file, so that a crash loses nothing that was promised.
extension StagedFile {
  /// Keeps the file as it is now in the journal: the next mount sends it, whatever happens to this one. Blocks for local
  /// I/O, and keeps the writers waiting meanwhile.
  /// - Parameters:
  ///   - target: where it goes, and what is stored with it.
  ///   - condition: what must hold in the bucket.
  ///   - kind: what the program did.
  ///   - isDurable: waits until the disk has it; otherwise it outlives this process, but not the machine.
  public func record(
    for target: UploadTarget, condition: WriteCondition, as kind: JournalRecord.State, durable isDurable: Bool
  ) throws(WriteError) {
    try writing.exclusive { () throws(WriteError) in
      try recordAlone(for: target, condition: condition, as: kind, durable: isDurable)
    }
  }

  /// Brings the bytes to the disk ahead of a durable record, so that who holds something while that is made does not wait
  /// for them. Blocks for local I/O; writers may go on. An error is told by `record`.
  public func syncAhead() {
    let (writes, isSynced) = state.withLock { ($0.writes, $0.writes == $0.syncedWrites) }
    guard !isSynced, (try? entry.syncAhead()) != nil else { return }
    state.withLock { $0.syncedWrites = max($0.syncedWrites, writes) }
  }

  /// Whether the disk has said that it lost bytes that were written: the file is not whole then, but most of it may be.
  public var hasLostBytes: Bool { entry.dataFailure != nil }

  /// Keeps the file in the journal under another name, with which it takes the place of another file.
  /// - Parameters:
  ///   - superseded: the record of that other file, which nobody needs from then on.
  ///   - isDurable: whether that one may be on stable storage: then so is what takes its place.
  /// - Throws: `superseded` when bytes were written that came after the version that has a record.
  public func recordRename(
    to target: UploadTarget, condition: WriteCondition, superseding superseded: UInt64?, durable isDurable: Bool
  ) throws(WriteError) {
    try writing.exclusive { () throws(WriteError) in
      guard state.withLock({ $0.recorded == nil || $0.recorded?.changes == $0.changes }) else { throw .superseded }
      try recordAlone(for: target, condition: condition, as: .closed, durable: isDurable, superseding: superseded)
    }
  }

  /// `record`, with the writers kept out.
  private func recordAlone(
    for target: UploadTarget, condition: WriteCondition, as kind: JournalRecord.State, durable isDurable: Bool,
    superseding superseded: UInt64? = nil
  ) throws(WriteError) {
    let state = state.withLock { $0 }
    if let failure = state.failure { throw .incomplete(failure) }
    // What a program was told is on stable storage must not give way to a record that is not.
    let isDurable = isDurable || state.recorded?.isDurable ?? false
    if let recorded = state.recorded, recorded.isCurrent(state, target, condition, isDurable) { return }
    // Else it would be sent once more by the next mount, and meet itself or what came after it.
    guard state.changes != state.uploadedChanges else { return }
    var record = JournalRecord(
      state: kind, target: target, size: state.size, condition: condition, base: state.base,
      present: state.present, dirty: state.dirty)
    record.supersedes = state.supersedes + (superseded.map { [$0] } ?? [])
    let made = Recorded(
      changes: state.changes, size: state.size, isLive: true, target: target, condition: condition,
      isDurable: isDurable, isPlain: state.isPlain)
    do throws(Errno) {
      // What the uploads before may have made, the next mount must know with the record.
      noteExpected()
      try entry.write(record, durable: isDurable, isSynced: state.writes == state.syncedWrites)
    } catch {
      // What the disk has lost, no upload may take for what was written.
      if let failure = entry.dataFailure { self.state.withLock { $0.failure = failure } }
      // It may be the new one that the disk has.
      if entry.isRecorded { self.state.withLock { $0.recorded = made.uncertain(after: $0.recorded) } }
      throw .staging(error)
    }
    self.state.withLock { [writes = state.writes] state in
      if isDurable { state.syncedWrites = writes }
      state.recorded = made
      state.supersedes = record.supersedes
    }
  }

  /// Tells the journal of uploads that it has not heard of.
  func noteExpected() {
    let versions = state.withLock { state in
      defer { state.notedExpected = state.expected.count }
      return state.expected.dropFirst(state.notedExpected)
    }
    for version in versions { entry.note(.expected(version)) }
  }

  /// Waits while an upload keeps the writers out.
  public func waitForWriting() { writing.shared {} }

  /// Whether the journal has a record of some version of this file.
  public var isRecorded: Bool { state.withLock { $0.recorded != nil } }

  /// Tells the record apart from all others of this journal, those of the same file included; nil without one.
  public var recordSequence: UInt64? { entry.record?.sequence }

  /// Whether that record is on stable storage.
  public var isRecordDurable: Bool { state.withLock { $0.recorded?.isDurable ?? false } }

  /// The value of `changes` that the journal has a record of; nil without one.
  public var recordedChanges: UInt64? { state.withLock { $0.recorded?.changes } }

  /// Whether the newest bytes are in the journal, with a record.
  public var isRecordCurrent: Bool { state.withLock { $0.recorded?.changes == $0.changes } }

  /// Whether an upload in parts is under way.
  public var hasUpload: Bool { session.withLock { $0?.upload != nil } }

  /// What is not here is in another version now, which an earlier upload of this file made.
  /// - Returns: false when that version cannot have it.
  public func rebase(on etag: ETag, size: UInt64) -> Bool {
    state.withLock { state in
      let missing = state.present.gaps(in: 0..<state.size)
      guard missing.last?.upperBound ?? 0 <= size else { return false }
      if let base = state.base { state.base = StagingBase(key: base.key, etag: etag, size: size) }
      return true
    }
  }

  /// Whether a version that an earlier upload of this file made came after what is here: it was cut shorter than what is
  /// still needed of the base, which no later state of the file would need. What an upload of another file made, whose
  /// name this one has taken, tells nothing of the kind.
  public func isOlder(than found: ObjectMetadata, under key: ObjectKey) -> Bool {
    state.withLock { state in
      state.base?.key == key && state.expected.contains(ExpectedVersion(found.etag))
        && state.present.gaps(in: 0..<state.size).last?.upperBound ?? 0 > found.size
    }
  }

  /// Notes what is about to happen to the file of the record, if there is one.
  public func markRecord(_ kind: JournalRecord.State) throws(WriteError) {
    do throws(Errno) {
      try entry.mark(kind)
    } catch {
      // The next close writes it anew.
      state.withLock { $0.recorded?.isCertain = false }
      throw .staging(error)
    }
  }

  /// Whether some of it is only in the version that it was made from.
  public var needsBase: Bool { state.withLock { !$0.present.contains(0..<$0.size) } }

  /// Leaves the file in the journal for a person, and ends writing for good: what of it is not here cannot be had any
  /// more. It is no longer this object's to discard.
  /// - Parameter version: only these bytes, as told by `recordedChanges`; with newer ones it throws `superseded`.
  public func strand(_ target: UploadTarget, version: UInt64?) throws(WriteError) {
    try writing.exclusive { () throws(WriteError) in
      if let version, version != state.withLock({ $0.changes }) { throw .superseded }
      if !isRecordCurrent { try recordAlone(for: target, condition: .ifAbsent, as: .closed, durable: true) }
      do throws(Errno) {
        try entry.mark(.stranded)
      } catch {
        throw .staging(error)
      }
      state.withLock { $0.isRetired = true }
    }
    abandonSession()
    entry.leave()
  }

  /// Takes the record back: the bucket has the bytes, or nobody wants them.
  public func forgetRecord() {
    writing.exclusive {
      state.withLock { $0.recorded = nil }
      entry.forget()
    }
  }

  /// Takes the record back if it is of nothing newer than what the bucket has.
  public func forgetRecordIfUploaded() {
    writing.exclusive {
      let isUploaded = state.withLock { state in
        guard let recorded = state.recorded, recorded.changes <= state.uploadedChanges else { return false }
        state.recorded = nil
        return true
      }
      if isUploaded { entry.forget() }
    }
  }

  /// Before bytes from `offset` on are changed: gives the record bytes of its own.
  func saveRecord(from offset: UInt64) throws(WriteError) {
    try writing.exclusive { () throws(WriteError) in try saveRecordAlone(from: offset) }
  }

  /// `saveRecord`, with the writers kept out.
  func saveRecordAlone(from offset: UInt64, emptying: Bool = false) throws(WriteError) {
    // A record that was taken back must not return, with a power failure, to bytes that have changed. And an empty file
    // has lost nothing.
    let mustSave = state.withLock { $0.harmsRecord(from: offset) || ($0.recorded == nil && entry.mustFreeze) }
    guard mustSave || (emptying && entry.dataFailure != nil) else { return }
    do throws(Errno) {
      // Who is about to empty the file needs none of the bytes: nothing is copied.
      if emptying { try entry.startAfresh() } else { try entry.freeze() }
    } catch {
      throw .staging(error)
    }
    state.withLock { $0.recorded?.isLive = false }
  }

  /// Tells the journal, once, which name the bytes are for: a file that is open when the daemon dies is found again.
  func noteName() {
    guard !state.withLock({ $0.isNamed }), let target = streamTarget() else { return }
    let isFirst = state.withLock { state in
      defer { state.isNamed = true }
      return !state.isNamed
    }
    if isFirst { entry.note(.name(target.key)) }
  }

  /// Tells the journal that the bytes are for another name now.
  public func renamed(to key: ObjectKey) {
    if state.withLock({ $0.isNamed }) { entry.note(.name(key)) }
  }
}

extension StagedFile.Recorded {
  /// This record or the one of before, whichever the disk has: nothing of either may be changed in place.
  fileprivate func uncertain(after before: Self?) -> Self {
    var either = before ?? self
    either.size = max(size, either.size)
    either.isLive = true
    either.isCertain = false
    return either
  }

  /// Whether the record says all that a new one would.
  fileprivate func isCurrent(
    _ state: StagedFile.State, _ target: UploadTarget, _ condition: WriteCondition, _ isDurable: Bool
  ) -> Bool {
    changes == state.changes && isLive && isCertain && self.target == target && self.condition == condition
      && (self.isDurable || !isDurable)
  }
}
