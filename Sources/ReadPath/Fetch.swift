import Basics
import BlockCache
import ObjectStore

/// One GET of adjacent granules, straight into the blocks that hold them.
///
/// It alone may write those granules: their `requested` bits belong to it until they are ready or it has ended.
final class Fetch: ObjectSink, ScheduledGet, @unchecked Sendable {
  let object: SharedObject
  let granules: Range<UInt64>
  let firstBlock: UInt64
  /// The blocks of `granules`, in order, each pinned once by this fetch until its part has arrived.
  let blocks: [BlockHandle]
  /// The read that caused it; nil when fetched ahead.
  let starter: PendingRead?

  // Guarded by the lock of the object.
  /// Granules that have arrived.
  var arrived: UInt64 = 0
  /// The readers that want the bytes, or expect to.
  var sponsors: [UInt64]
  /// Where the object was when the GET started.
  var place: ObjectPlace
  var cancellation = Cancellation()

  // Touched only by the constructor and between `start` and the report of the store, by one thread at a time (`ObjectSink`).
  private var next: UInt64 = 0
  private var hasBegun = false
  private var rejection: ObjectStoreError?
  private var reported: UInt64 = 0

  init(
    object: SharedObject, place: ObjectPlace, granules: Range<UInt64>, blocks: [BlockHandle], starter: PendingRead?,
    sponsor: UInt64
  ) {
    self.object = object
    self.place = place
    self.granules = granules
    self.blocks = blocks
    self.starter = starter
    firstBlock = granules.lowerBound / Granules.perBlock
    sponsors = [sponsor]
  }

  /// One past the last byte.
  private var end: UInt64 { min(granules.upperBound * Granules.size, object.size) }

  // MARK: ScheduledGet

  func start(done: @escaping @Sendable () -> Void) {
    let (place, arrived, cancellation) = object.begin(self)
    next = (granules.lowerBound + arrived) * Granules.size
    reported = arrived
    hasBegun = false
    rejection = nil
    let range = ByteRange(offset: next, length: end - next)
    object.store.get(GetRequest(place.key, range: range, ifMatch: place.etag), into: self, cancellation) { [self] in
      let result = outcome($0)
      // The slot goes to the next GET before readers are answered: the network should not wait for them.
      done()
      object.finish(self, result)
    }
  }

  private func outcome(_ result: Result<ObjectMetadata, ObjectStoreError>) -> Result<Void, ObjectStoreError> {
    if let rejection { return .failure(rejection) }
    switch result {
    case .failure(let error):
      return .failure(error)
    case .success where next < end:
      return .failure(object.error(.corruptResponse, "The store reported success before all bytes were there."))
    case .success:
      return .success(())
    }
  }

  // MARK: ObjectSink

  func begin(metadata: ObjectMetadata, range: ByteRange) {
    hasBegun = true
    let place = object.place(of: self)
    if metadata.etag != place.etag || metadata.size != object.size {
      reject(.preconditionFailed, "The object is another version now.")
    } else if range.offset != next || range.end != end {
      reject(.corruptResponse, "The store delivers \(range) instead of \(next)..<\(end).")
    }
  }

  func receive(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) {
    guard rejection == nil else { return }
    guard hasBegun, offset == next, UInt64(bytes.count) <= end - next else {
      return reject(.corruptResponse, "The store delivered bytes that were not expected.")
    }
    var rest = bytes[...]
    while !rest.isEmpty {
      let index = next / Granules.blockSize
      let position = Int(next % Granules.blockSize)
      let memory = object.pool.memory(of: blocks[Int(index - firstBlock)])
      let count = min(rest.count, memory.count - position)
      UnsafeMutableRawBufferPointer(rebasing: memory[position..<position + count])
        .copyMemory(from: UnsafeRawBufferPointer(rebasing: rest.prefix(count)))
      rest = rest.dropFirst(count)
      next += UInt64(count)
    }
    let complete = next == end ? UInt64(granules.count) : next / Granules.size - granules.lowerBound
    if complete > reported {
      reported = complete
      object.arrived(self, upTo: complete)
    }
  }

  /// Bytes of another version, or at the wrong place, must never get in.
  private func reject(_ code: ObjectStoreError.Code, _ message: String) {
    guard rejection == nil else { return }
    rejection = object.error(code, message)
    object.cancel(self)
  }
}

/// Where the bytes of an object are to be had.
struct ObjectPlace: Hashable, Sendable {
  var key: ObjectKey
  var etag: ETag
}
