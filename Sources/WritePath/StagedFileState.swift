import Basics
import ObjectStore
import SystemPackage

extension StagedFile {
  struct State {
    var size: UInt64
    var present = RangeSet64()
    var dirty = RangeSet64()
    /// Of what is present, what takes space on the disk: not the zeros a file grew by.
    var allocated = RangeSet64()
    var base: StagingBase?
    /// Bytes below this may be the base's.
    var baseLimit: UInt64
    /// Grows with every change, so that an upload can tell whether it is still of the newest bytes.
    var changes: UInt64
    /// The value of `changes` that the bucket has.
    var uploadedChanges: UInt64 = 0
    /// The change that last touched each part.
    var partChanges: [Int: UInt64] = [:]
    /// Uploads that hold the gate `uploading`, which is one at most.
    var uploads = 0
    /// A write that failed; the file is not whole since.
    var failure: Errno?
    /// Whether unchanged parts are copied by the server; false once it said that it cannot.
    var copiesParts = true
    /// Nothing is written any more: the bytes are where no later upload will follow them.
    var isRetired = false
    /// First part that was not yet handed to the streaming upload.
    var nextStreamedPart = 0
    /// Versions that the object may have got without anybody hearing of it.
    var expected: [ExpectedVersion] = []
    /// A file of an earlier mount that is all here and small: an upload of it made what an upload of it would make now.
    var expectsOwnTag = false
    /// How many of them the journal has heard of.
    var notedExpected = 0
    /// Grows with every write to the local file, also of bytes that were fetched.
    var writes: UInt64 = 1
    /// The value of `writes` that the disk has.
    var syncedWrites: UInt64 = 0
    /// What the journal's record says; nil without one.
    var recorded: Recorded?
    /// Records of other files whose names this one has taken since it was uploaded last.
    var supersedes: [UInt64] = []
    /// Whether the journal knows which name the bytes are for.
    var isNamed = false
  }

  /// The version that the journal has a record of.
  struct Recorded {
    /// The value of `changes` at that time.
    var changes: UInt64
    /// Its length: what lies beyond may be written without harm to it.
    var size: UInt64
    /// Whether the record stands on the live bytes, which then must not change below `size`.
    var isLive: Bool
    var target: UploadTarget
    var condition: WriteCondition
    var isDurable: Bool
    /// Whether all bytes are there, and no more than one PUT takes: the next mount finds out by itself then which version
    /// an upload of it makes.
    var isPlain: Bool
    /// False when the disk may have another one, since writing it has failed half-way.
    var isCertain = true
  }
}

extension StagedFile.State {
  /// Notes bytes written by a program.
  mutating func wrote(_ range: Range<UInt64>) {
    changes += 1
    writes += 1
    let touched = min(range.lowerBound, size)..<range.upperBound
    present.insert(touched)
    dirty.insert(touched)
    allocated.insert(range)
    size = max(size, range.upperBound)
    noteParts(touched)
  }

  /// Notes a new length.
  /// - Returns: how many bytes on the disk are free now.
  mutating func truncated(to newSize: UInt64) -> UInt64 {
    guard newSize != size || newSize == 0 else { return 0 }
    changes += 1
    writes += 1
    let before = allocated.byteCount
    if newSize < size {
      present.removeAll(from: newSize)
      dirty.removeAll(from: newSize)
      allocated.removeAll(from: newSize)
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
    return before - allocated.byteCount
  }

  /// Notes that the bucket has the bytes as of `changes`.
  mutating func uploaded(_ key: ObjectKey, _ etag: ETag, size: UInt64, changes: UInt64) {
    uploadedChanges = changes
    base = StagingBase(key: key, etag: etag, size: size)
    nextStreamedPart = 0
    expected = []
    notedExpected = 0
    expectsOwnTag = false
    supersedes = []
    // With changes since, what was dirty stays so: which of it the new version has is not known in ranges, and sending
    // it again is right.
    guard self.changes == changes else { return }
    baseLimit = size
    dirty = RangeSet64()
    partChanges = [:]
  }

  /// The last change that touched a range.
  func change(of range: Range<UInt64>) -> UInt64 {
    guard !range.isEmpty, !partChanges.isEmpty else { return 0 }
    let first = PartLayout.partIndex(containing: range.lowerBound)
    let last = PartLayout.partIndex(containing: range.upperBound - 1)
    return (first...last).reduce(0) { max($0, partChanges[$1] ?? 0) }
  }

  /// The parts that an upload of the file as it is now is made of.
  var plan: UploadPlan {
    guard copiesParts, base != nil, baseLimit > 0 else { return UploadPlan(size: size) }
    return UploadPlan(size: size, dirty: dirty, baseLimit: baseLimit)
  }

  /// Whether all bytes are here, and no more than one PUT takes.
  var isPlain: Bool { size <= PartLayout.firstPartSize && present.contains(0..<size) }

  /// How many bytes of a range take no space yet.
  func unallocated(in range: Range<UInt64>) -> UInt64 {
    allocated.gaps(in: range).reduce(0) { $0 + ($1.upperBound - $1.lowerBound) }
  }

  /// Whether a change from `offset` on would harm the version that the journal has a record of.
  func harmsRecord(from offset: UInt64) -> Bool {
    guard let recorded else { return false }
    return recorded.isLive && offset < recorded.size
  }

  private mutating func noteParts(_ range: Range<UInt64>) {
    guard !range.isEmpty else { return }
    let first = PartLayout.partIndex(containing: range.lowerBound)
    let last = PartLayout.partIndex(containing: range.upperBound - 1)
    for part in first...last { partChanges[part] = changes }
  }
}
