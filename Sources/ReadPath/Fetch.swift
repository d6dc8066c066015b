import Basics
import BlockCache
import ObjectStore

/// One GET of adjacent granules, or a read of them from the disk cache, straight into the blocks that hold them.
///
/// It alone may write those granules: their `requested` bits belong to it until they are ready or it has ended.
final class Fetch: ObjectSink, ScheduledGet, @unchecked Sendable {
  /// Where the bytes are looked for.
  enum Stage {
    /// On the disk first, where there is a disk cache.
    case disk
    case network
  }

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
  var stage = Stage.disk

  // Touched only by the constructor and between `start` and the report of the store, by one thread at a time (`ObjectSink`).
  private var receiver = BodyReceiver()

  init(
    object: SharedObject, place: ObjectPlace, granules: Range<UInt64>, blocks: [BlockHandle], starter: PendingRead?,
    sponsors: [UInt64]
  ) {
    self.object = object
    self.place = place
    self.granules = granules
    self.blocks = blocks
    self.starter = starter
    firstBlock = granules.lowerBound / Granules.perBlock
    self.sponsors = sponsors
  }

  /// One past the last byte.
  private var end: UInt64 { min(granules.upperBound * Granules.size, object.size) }

  // MARK: ScheduledGet

  func start(done: @escaping @Sendable () -> Void) {
    guard let disk = object.disk, object.stage(of: self) == .disk else { return startGet(done: done) }
    disk.read { [self] in
      object.readFromDisk(self)
      done()
    }
  }

  private func startGet(done: @escaping @Sendable () -> Void) {
    let (place, arrived, cancellation) = object.begin(self)
    let offset = (granules.lowerBound + arrived) * Granules.size
    let end = min(granules.upperBound * Granules.size, object.size)
    receiver = BodyReceiver(expecting: ByteRange(offset: offset, length: end - offset))
    let request = GetRequest(place.key, range: receiver.range, ifMatch: place.etag)
    object.store.get(request, into: self, cancellation) { [self] result in
      let failure = receiver.failure(after: result, object)
      // The slot goes to the next GET before readers are answered: the network should not wait for them.
      done()
      object.finish(self, failure)
    }
  }

  // MARK: ObjectSink

  func begin(metadata: ObjectMetadata, range: ByteRange) {
    let etag = object.place(of: self).etag
    if !receiver.begin(metadata: metadata, range: range, etag: etag, size: object.size) { object.cancel(self) }
  }

  func receive(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) {
    let before = complete
    guard receiver.receive(bytes, at: offset, memory: room) else { return object.cancel(self) }
    if complete > before { object.arrived(self, upTo: complete) }
  }

  /// Granules whose last byte is there.
  private var complete: UInt64 {
    receiver.range.length == 0 ? UInt64(granules.count) : receiver.next / Granules.size - granules.lowerBound
  }

  private func room(at offset: UInt64) -> UnsafeMutableRawBufferPointer {
    let memory = object.pool.memory(of: blocks[Int(offset / Granules.blockSize - firstBlock)])
    return UnsafeMutableRawBufferPointer(rebasing: memory[Int(offset % Granules.blockSize)...])
  }
}

/// Where the bytes of an object are to be had.
struct ObjectPlace: Hashable, Sendable {
  var key: ObjectKey
  var etag: ETag
}
