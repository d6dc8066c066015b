public import Basics
import Glibc
import Logging
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
/// `state` (a mutex; never across I/O), then the upload session's mutex.
public final class StagedFile: Sendable {
  struct State {
    var size: UInt64
    var present = RangeSet64()
    var dirty = RangeSet64()
    var base: StagingBase?
    /// Bytes below this may be the base's.
    var baseLimit: UInt64
    /// Grows with every change, so that an upload can tell whether it is still of the newest bytes.
    var changes: UInt64
    /// The value of `changes` that the bucket has.
    var uploadedChanges: UInt64 = 0
    /// The change that last touched each part.
    var partChanges: [Int: UInt64] = [:]
    /// A write that failed; the file is not whole since.
    var failure: Errno?
    /// Whether unchanged parts are copied by the server; false once it said that it cannot.
    var copiesParts = true
    /// Nothing is written any more: the bytes are where no later upload will follow them.
    var isRetired = false
    /// First part that was not yet handed to the streaming upload.
    var nextStreamedPart = 0
  }

  let file: SharedDescriptor
  let path: FilePath
  let store: any ObjectStore
  let workers: WorkerPool
  let log: Logger
  /// One upload at a time.
  let uploading = AccessGate()
  /// Writers share it; who needs the bytes to stand still takes it alone.
  let writing = AccessGate()
  let state: Mutex<State>
  let session = Mutex<UploadSession?>(nil)
  /// Where to stream parts to while the file grows; nil: wait for the upload.
  let streamTarget: @Sendable () -> UploadTarget?

  /// A file in the staging area, empty or (with `base`) standing for an object.
  /// - Parameters:
  ///   - file: an empty file to hold the bytes.
  ///   - path: where that file is; removed by `discard`.
  ///   - base: the object that is being changed; nil for a new file.
  ///   - store: where the bytes come from and go.
  ///   - workers: run part uploads.
  ///   - streamTarget: asked, with no lock held, when the first part is full.
  public init(
    file: SharedDescriptor, path: FilePath, base: StagingBase?, store: any ObjectStore, workers: WorkerPool,
    log: Logger, streamTarget: @escaping @Sendable () -> UploadTarget? = { nil }
  ) {
    self.file = file
    self.path = path
    self.store = store
    self.workers = workers
    self.log = log
    self.streamTarget = streamTarget
    // A new file counts as changed: it must come to be even when nothing is written.
    state = Mutex(
      State(size: base?.size ?? 0, base: base, baseLimit: base?.size ?? 0, changes: base == nil ? 1 : 0))
  }

  /// A file that an earlier mount kept.
  init(
    file: SharedDescriptor, path: FilePath, restoring record: UnsentRecord, store: any ObjectStore,
    workers: WorkerPool, log: Logger
  ) {
    self.file = file
    self.path = path
    self.store = store
    self.workers = workers
    self.log = log
    streamTarget = { nil }
    var restored = State(size: record.size, base: record.base, baseLimit: record.base?.size ?? 0, changes: 1)
    restored.present = record.present
    restored.dirty = record.present
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

  /// Writes all of `bytes`. Blocks for local I/O, and while an upload takes its last look at the bytes.
  public func write(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) throws(WriteError) {
    guard !bytes.isEmpty else { return }
    guard offset <= PartLayout.maximumObjectSize, UInt64(bytes.count) <= PartLayout.maximumObjectSize - offset else {
      throw .staging(Errno(rawValue: EFBIG))
    }
    try writing.shared { () throws(WriteError) in
      guard !state.withLock({ $0.isRetired }) else { throw .staging(.staleNFSFileHandle) }
      do throws(Errno) {
        try FileSystem.write(bytes, to: file.descriptor, at: offset)
      } catch {
        state.withLock { $0.failure = error }
        throw .staging(error)
      }
      let isNoted = state.withLock { state in
        guard !state.isRetired else { return false }
        state.wrote(offset..<offset + UInt64(bytes.count))
        return true
      }
      guard isNoted else { throw .staging(.staleNFSFileHandle) }
    }
    stream()
  }

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

  /// Ends writing for good when the bucket has everything: each later write fails with ESTALE.
  /// - Returns: false, and nothing is changed, when something is here that the bucket does not have.
  public func retireIfClean() -> Bool {
    state.withLock { state in
      guard state.changes == state.uploadedChanges else { return false }
      state.isRetired = true
      return true
    }
  }

  /// Sets the length. What is cut off is gone; what is added reads as zeros.
  public func truncate(to size: UInt64) throws(WriteError) {
    guard size <= PartLayout.maximumObjectSize else { throw .staging(Errno(rawValue: EFBIG)) }
    try writing.exclusive { () throws(WriteError) in
      guard !state.withLock({ $0.isRetired }) else { throw .staging(.staleNFSFileHandle) }
      // One that fails has changed nothing: the file is as whole as before.
      while ftruncate(file.descriptor.rawValue, Int(size)) != 0 {
        guard errno == EINTR else { throw .staging(Errno(rawValue: errno)) }
      }
      let isNoted = state.withLock { state in
        guard !state.isRetired else { return false }
        state.truncated(to: size)
        return true
      }
      guard isNoted else { throw .staging(.staleNFSFileHandle) }
    }
  }

  /// Fetches what is missing of a range from the base, so that all of it is here.
  public func fill(_ range: Range<UInt64>, _ cancellation: Cancellation?) throws(WriteError) {
    try fill(range, writersWait: false, cancellation)
  }

  /// `fill`, for a caller that may already keep the writers waiting.
  func fill(_ range: Range<UInt64>, writersWait: Bool, _ cancellation: Cancellation?) throws(WriteError) {
    while true {
      let (missing, base): (Range<UInt64>?, StagingBase?) = state.withLock { state in
        let range = range.clamped(to: 0..<state.size)
        return (state.present.gaps(in: range).first, state.base)
      }
      guard let missing, let base else { return }
      let piece = missing.lowerBound..<min(missing.upperBound, missing.lowerBound + BaseFetch.chunkSize)
      let bytes: [UInt8]
      do throws(WriteError) {
        bytes = try BaseFetch.fetch(piece, of: base, from: store, cancellation)
      } catch {
        // Renamed meanwhile: the same bytes are elsewhere now.
        if state.withLock({ $0.base != base }) { continue }
        throw error
      }
      if writersWait {
        try adopt(bytes, at: piece, from: base)
      } else {
        try writing.exclusive { () throws(WriteError) in try adopt(bytes, at: piece, from: base) }
      }
    }
  }

  /// The same bytes now live under another key or tag: the object was renamed.
  public func relocate(to key: ObjectKey, etag: ETag) {
    state.withLock { state in
      guard let base = state.base else { return }
      state.base = StagingBase(key: key, etag: etag, size: base.size)
    }
  }

  /// Stops an upload under way: the file was removed.
  public func giveUpUpload() { abandonSession() }

  /// Forgets an upload under way and the local file. Only for a file nobody needs any more.
  public func discard() {
    abandonSession()
    try? FileSystem.remove(path)
  }

  /// Takes fetched bytes in where nothing was written meanwhile; writers are kept out.
  private func adopt(_ bytes: [UInt8], at piece: Range<UInt64>, from base: StagingBase) throws(WriteError) {
    let wanted: [Range<UInt64>] = state.withLock { state in
      state.base == base ? state.present.gaps(in: piece.clamped(to: 0..<state.size)) : []
    }
    for range in wanted {
      let start = (range.lowerBound - piece.lowerBound).asInt
      let count = (range.upperBound - range.lowerBound).asInt
      do {
        try bytes.withUnsafeBytes { bytes in
          try FileSystem.write(
            UnsafeRawBufferPointer(rebasing: bytes[start..<start + count]), to: file.descriptor, at: range.lowerBound)
        }
      } catch {
        // The program's bytes are untouched: only this operation fails.
        throw .staging(error as? Errno ?? .ioError)
      }
      state.withLock { $0.present.insert(range) }
    }
  }

  /// Reads up to the end of the staging file.
  func readHere(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) throws(WriteError) -> Int {
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
}

extension StagedFile.State {
  /// Notes bytes written by a program.
  mutating func wrote(_ range: Range<UInt64>) {
    changes += 1
    let touched = min(range.lowerBound, size)..<range.upperBound
    present.insert(touched)
    dirty.insert(touched)
    size = max(size, range.upperBound)
    noteParts(touched)
  }

  /// Notes a new length.
  mutating func truncated(to newSize: UInt64) {
    guard newSize != size || newSize == 0 else { return }
    changes += 1
    if newSize < size {
      present.removeAll(from: newSize)
      dirty.removeAll(from: newSize)
      baseLimit = min(baseLimit, newSize)
      // The part that the new end cuts is shorter now.
      partChanges[PartLayout.partIndex(containing: newSize)] = changes
      partChanges = partChanges.filter { PartLayout.partStart($0.key) <= newSize }
      nextStreamedPart = min(nextStreamedPart, PartLayout.partIndex(containing: newSize))
    } else {
      present.insert(size..<newSize)
      dirty.insert(size..<newSize)
      noteParts(size..<newSize)
    }
    size = newSize
    // Nothing of what the failed write left behind remains.
    if newSize == 0 { failure = nil }
  }

  private mutating func noteParts(_ range: Range<UInt64>) {
    guard !range.isEmpty else { return }
    let first = PartLayout.partIndex(containing: range.lowerBound)
    let last = PartLayout.partIndex(containing: range.upperBound - 1)
    for part in first...last { partChanges[part] = changes }
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
