public import Basics
import Glibc
public import ObjectStore
import Synchronization
public import SystemPackage

/// The version of an object that a staged file started from.
public struct StagingBase: Hashable, Sendable {
  /// Where the object is.
  public var key: ObjectKey
  /// Which version.
  public var etag: ETag
  /// Its length in bytes.
  public var size: UInt64

  /// Makes a base.
  public init(key: ObjectKey, etag: ETag, size: UInt64) {
    self.key = key
    self.etag = etag
    self.size = size
  }
}

/// A file that is being written: a sparse local file, and which bytes of it are here.
///
///     present   the bytes are in the staging file: written by a program, or fetched from the base
///     dirty     of these, what differs from the base
///     neither   the bytes are those of the base, in the bucket
///
/// Everything at or past `baseLimit` is present: growing a file writes zeros as far as this type is concerned.
///
/// Thread-safe. Lock order: `uploading` (a gate; held across I/O), then `writing` (a gate; held across local I/O), then
/// the journal entry's gate, then `state` (a mutex; never across I/O), then the upload session's mutex.
public final class StagedFile: Sendable {
  /// Its place in the journal, and the local file.
  let entry: JournalEntry
  let context: StagingContext
  /// One upload at a time.
  let uploading = AccessGate()
  /// Writers share it; who needs the bytes to stand still takes it alone.
  let writing = AccessGate()
  let state: Mutex<State>
  let session: Mutex<UploadSession?>
  /// Where to stream parts to while the file grows; nil: wait for the upload.
  let streamTarget: @Sendable () -> UploadTarget?

  /// A file in the journal, empty or (with `base`) standing for an object.
  /// - Parameters:
  ///   - entry: an empty one; discarded by `discard`.
  ///   - base: the object that is being changed; nil for a new file.
  ///   - streamTarget: asked, with no lock held, at the first write and when the first part is full.
  public init(
    entry: JournalEntry, base: StagingBase?, context: StagingContext,
    streamTarget: @escaping @Sendable () -> UploadTarget? = { nil }
  ) {
    self.entry = entry
    self.context = context
    self.streamTarget = streamTarget
    session = Mutex(nil)
    // A new file counts as changed: it must come to be even when nothing is written.
    state = Mutex(
      State(size: base?.size ?? 0, base: base, baseLimit: base?.size ?? 0, changes: base == nil ? 1 : 0))
  }

  /// A file that an earlier mount left to be sent.
  public init(resuming pending: PendingFile, context: StagingContext) {
    entry = pending.entry
    self.context = context
    streamTarget = { nil }
    session = Mutex(pending.upload.map { UploadSession(resuming: $0, pending.record.target, context.store) })
    let record = pending.record
    var restored = State(
      size: record.size, base: record.base, baseLimit: min(record.base?.size ?? 0, record.size), changes: 1)
    restored.present = record.present
    restored.dirty = record.dirty
    restored.allocated = record.present
    restored.isNamed = true
    restored.expected = pending.expected
    restored.notedExpected = pending.expected.count
    restored.recorded = Recorded(
      changes: 1, size: record.size, isLive: true, target: record.target, condition: record.condition,
      isDurable: true, isPlain: restored.isPlain)
    restored.expectsOwnTag = restored.isPlain
    state = Mutex(restored)
  }

  /// Length in bytes.
  public var size: UInt64 { state.withLock { $0.size } }

  /// Whether something is here that the bucket does not have.
  public var isDirty: Bool { state.withLock { $0.changes != $0.uploadedChanges } }

  /// The version this file stands on, once it was uploaded or when it was made from one.
  public var base: StagingBase? { state.withLock { $0.base } }

  /// The error of a write that failed, after which the file is not whole.
  public var failure: Errno? { state.withLock { $0.failure } }

  // MARK: Writing

  /// Writes all of `bytes`. Blocks for local I/O, while an upload takes its last look at the bytes, while the journal is
  /// full and about to get room, and while more parts wait for the network than `partsAhead`.
  /// Who gives up while it waits for room gets EINTR, and nothing was written.
  public func write(
    _ bytes: UnsafeRawBufferPointer, at offset: UInt64, _ cancellation: Cancellation? = nil
  ) throws(WriteError) {
    guard !bytes.isEmpty else { return }
    guard offset <= PartLayout.maximumObjectSize, UInt64(bytes.count) <= PartLayout.maximumObjectSize - offset else {
      throw .staging(Errno(rawValue: EFBIG))
    }
    noteName()
    let needed = state.withLock { $0.unallocated(in: offset..<offset + UInt64(bytes.count)) }
    do throws(Errno) {
      try entry.reserve(needed, cancellation)
    } catch {
      if error != .interrupted { state.withLock { $0.failure = error } }
      throw .staging(error)
    }
    do throws(WriteError) {
      while try !writeBeside(bytes, at: offset) { try saveRecord(from: offset) }
    } catch {
      entry.release(needed)
      throw error
    }
    stream()
  }

  /// Writes unless that would harm the version the journal has a record of.
  private func writeBeside(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) throws(WriteError) -> Bool {
    try writing.shared { () throws(WriteError) in
      let (isRetired, isHarmful) = state.withLock { ($0.isRetired, $0.harmsRecord(from: offset)) }
      guard !isRetired else { throw .staging(.staleNFSFileHandle) }
      guard !isHarmful, isRecorded || !entry.mustFreeze else { return false }
      do throws(Errno) {
        try FileSystem.write(bytes, to: entry.file.descriptor, at: offset)
      } catch {
        state.withLock { $0.failure = error }
        throw .staging(error)
      }
      let isNoted = state.withLock { state in
        guard !state.isRetired else {
          // Who reads the file on for something else is to see that it is not what it was.
          state.changes += 1
          return false
        }
        state.wrote(offset..<offset + UInt64(bytes.count))
        return true
      }
      guard isNoted else { throw .staging(.staleNFSFileHandle) }
      return true
    }
  }

  /// Sets the length. What is cut off is gone; what is added reads as zeros.
  public func truncate(to size: UInt64) throws(WriteError) {
    guard size <= PartLayout.maximumObjectSize else { throw .staging(Errno(rawValue: EFBIG)) }
    noteName()
    try writing.exclusive { () throws(WriteError) in
      guard !state.withLock({ $0.isRetired }) else { throw .staging(.staleNFSFileHandle) }
      try saveRecordAlone(from: size, emptying: size == 0)
      // One that fails has changed nothing: the file is as whole as before.
      while ftruncate(entry.file.descriptor.rawValue, Int(size)) != 0 {
        guard errno == EINTR else { throw .staging(Errno(rawValue: errno)) }
      }
      let freed: UInt64? = state.withLock { state in
        guard !state.isRetired else { return nil }
        return state.truncated(to: size)
      }
      guard let freed else { throw .staging(.staleNFSFileHandle) }
      entry.release(freed)
    }
  }

  /// Ends writing for good when the bucket has everything: each later write fails with ESTALE.
  /// - Returns: false, and nothing is changed, when something is here that the bucket does not have.
  public func retireIfClean() -> Bool {
    state.withLock { state in
      guard state.changes == state.uploadedChanges else { return false }
      state.isRetired = true
      return true
    }
  }

  // MARK: Reading

  /// Reads bytes that are here, up to the end of the file.
  /// - Returns: how many bytes were read; nil when some of the range are still the base's (see `fill`).
  public func read(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) throws(WriteError) -> Int? {
    let attempts = 3
    for _ in 0..<attempts {
      let range: Range<UInt64>? = state.withLock { state in
        let end = min(offset.clampedSum(UInt64(buffer.count)), state.size)
        guard offset < end else { return offset..<offset }
        return state.present.contains(offset..<end) ? offset..<end : nil
      }
      guard let range else { return nil }
      guard !range.isEmpty else { return 0 }
      let target = UnsafeMutableRawBufferPointer(rebasing: buffer[..<(range.upperBound - range.lowerBound).asInt])
      if try readHere(into: target, at: offset) == target.count { return target.count }
      // The file has just been cut; its new length is known when that is over.
      writing.shared {}
    }
    // The staging file was cut by somebody else.
    throw .staging(.ioError)
  }

  /// Whether no byte of the range is here: then all of it can be read from the base.
  public func isUntouched(offset: UInt64, count: Int) -> Bool {
    state.withLock { !$0.present.intersects(offset..<offset.clampedSum(UInt64(max(0, count)))) }
  }

  /// Reads up to the end of the staging file.
  func readHere(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) throws(WriteError) -> Int {
    let file = entry.file
    var done = 0
    while done < buffer.count {
      do {
        let count = try file.descriptor.read(
          fromAbsoluteOffset: Int64(offset) + Int64(done),
          into: UnsafeMutableRawBufferPointer(rebasing: buffer[done...]))
        if count == 0 { break }
        done += count
      } catch {
        throw .staging(error as? Errno ?? .ioError)
      }
    }
    return done
  }

  // MARK: The end

  /// The same bytes now live under another key or tag: the object was renamed.
  public func relocate(to key: ObjectKey, etag: ETag) {
    state.withLock { state in
      guard let base = state.base else { return }
      state.base = StagingBase(key: key, etag: etag, size: base.size)
    }
  }

  /// Stops an upload under way: the file was removed.
  public func giveUpUpload() { abandonSession() }

  /// Lets go of a file that is not whole, but not of the version that the journal has a record of.
  /// - Returns: that version, as if an earlier mount had left it; nil without one.
  public func setAside() -> PendingFile? {
    abandonSession()
    guard let entry = entry.setAside(), let record = entry.record else { return nil }
    return PendingFile(
      entry: entry, record: record, upload: nil, expected: state.withLock { $0.expected },
      mayBeTorn: entry.dataFailure != nil)
  }

  /// Forgets an upload under way and the local file. Only for a file nobody needs any more.
  public func discard() {
    abandonSession()
    entry.discard()
  }
}

extension UInt64 {
  /// As an Int; lengths that come here are those of buffers in memory.
  var asInt: Int { Int(clamping: self) }

  /// The sum, or the largest number where it does not fit.
  func clampedSum(_ other: UInt64) -> UInt64 {
    let (sum, overflow) = addingReportingOverflow(other)
    return overflow ? .max : sum
  }
}
