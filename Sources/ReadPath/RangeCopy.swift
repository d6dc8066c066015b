public import Basics
import BlockCache
import Glibc
public import ObjectStore
import Synchronization

/// Why a range could not be copied into a file.
public enum RangeCopyError: Error, Hashable, Sendable {
  /// The bytes could not be fetched.
  case store(ObjectStoreError)
  /// The bytes could not be written: the errno of pwrite(2).
  case write(errno: Int32)
}

extension ObjectReader {
  /// Copies a range of the object, clipped to it, into a file and blocks until it is there. Never call it on the store's
  /// thread.
  ///
  /// The bytes pass by the cache, in several GETs at once, through at most a quarter of the pool's memory. When it fails
  /// the file holds an unknown part of the range.
  /// - Parameter position: where the first byte goes in the file.
  public func copy(
    range: ByteRange, to file: SharedDescriptor, at position: UInt64, _ cancellation: Cancellation? = nil
  ) throws(RangeCopyError) {
    guard range.offset < object.size, range.length > 0 else { return }
    let range = ByteRange(offset: range.offset, length: min(range.length, object.size - range.offset))
    let copy = RangeCopy(object: object, range: range, parallelism: copyParallelism)
    let token = cancellation?.addHandler { copy.cancellation.cancel() }
    defer { cancellation?.removeHandler(token) }
    try copy.run { (bytes: UnsafeRawBufferPointer, offset: UInt64) throws(RangeCopyError) in
      try write(bytes, to: file, at: position + (offset - range.offset))
    }
  }
}

private func write(
  _ bytes: UnsafeRawBufferPointer, to file: SharedDescriptor, at position: UInt64
) throws(RangeCopyError) {
  guard let position = Int64(exactly: position) else { throw .write(errno: EFBIG) }
  var rest = bytes
  while !rest.isEmpty {
    let written = pwrite(
      file.descriptor.rawValue, rest.baseAddress, rest.count, off_t(position) + off_t(bytes.count - rest.count))
    if written < 0 {
      if errno == EINTR { continue }
      throw .write(errno: errno)
    }
    // A regular file that takes nothing and says nothing would loop for ever.
    if written == 0 { throw .write(errno: EIO) }
    rest = UnsafeRawBufferPointer(rebasing: rest[written...])
  }
}

/// One `copy` under way. Its thread waits only for parts that end by themselves, never for memory that it holds itself.
final class RangeCopy: Sendable {
  let object: SharedObject
  let cancellation = Cancellation()
  private let range: ByteRange
  private let partLength: UInt64
  private let limit: Int
  // A leaf lock.
  private let ended = Mutex<[CopyPart]>([])
  private let signal = Basics.Semaphore()

  init(object: SharedObject, range: ByteRange, parallelism: Int) {
    self.object = object
    self.range = range
    let share = max(1, object.pool.capacity / 4)
    limit = min(max(1, parallelism), share)
    let blocks = max(1, min(object.maximumGet / Granules.blockSize, UInt64(share / limit)))
    partLength = blocks * Granules.blockSize
  }

  /// Calls `write` on this thread with pieces of the range, in any order, each once.
  func run(
    _ write: (UnsafeRawBufferPointer, UInt64) throws(RangeCopyError) -> Void
  ) throws(RangeCopyError) {
    var next = range.offset
    var running = 0
    var failure: RangeCopyError?
    while true {
      while failure == nil, running < limit, next < range.end {
        let length = min(partLength, range.end - next)
        launch(CopyPart(copy: self, range: ByteRange(offset: next, length: length)))
        next += length
        running += 1
      }
      guard running > 0 else { break }
      let part = wait()
      running -= 1
      do throws(RangeCopyError) {
        if failure == nil { try part.forEachPiece(write) }
      } catch {
        failure = error
        cancellation.cancel()
      }
      part.release()
    }
    if let failure { throw failure }
  }

  private func launch(_ part: CopyPart) {
    var effects = PoolEffects()
    let ticket = DemandTicket(span: part.span) { [object] blocks in
      part.blocks = blocks
      object.scheduler.submit(part, .demand)
    }
    object.pool.enqueue(ticket, &effects)
    effects.perform()
  }

  private func wait() -> CopyPart {
    while true {
      if let part = ended.withLock({ $0.popLast() }) { return part }
      signal.wait()
    }
  }

  func end(_ part: CopyPart) {
    ended.withLock { $0.append(part) }
    signal.signal()
  }
}

/// One GET of a copy. It belongs to one thread at a time: the one that grants memory, then the store's, then the copier's.
final class CopyPart: ObjectSink, ScheduledGet, @unchecked Sendable {
  private let copy: RangeCopy
  private let range: ByteRange
  var blocks: [BlockHandle] = []
  private var place: ObjectPlace
  private var receiver = BodyReceiver()
  private var failure: ObjectStoreError?

  init(copy: RangeCopy, range: ByteRange) {
    self.copy = copy
    self.range = range
    place = copy.object.currentPlace
  }

  /// Blocks needed.
  var span: Int { Int((range.length + Granules.blockSize - 1) / Granules.blockSize) }

  func start(done: @escaping @Sendable () -> Void) {
    let object = copy.object
    place = object.currentPlace
    receiver = BodyReceiver(expecting: range)
    object.store.get(GetRequest(place.key, range: range, ifMatch: place.etag), into: self, copy.cancellation) {
      [self] result in
      failure = receiver.failure(after: result, object)
      done()
      if let failure, object.sendsElsewhere(self, after: failure, from: place) { return }
      copy.end(self)
    }
  }

  func begin(metadata: ObjectMetadata, range: ByteRange) {
    // A refused body is not worth its bytes, but the other parts tell by themselves: nothing to cancel here.
    _ = receiver.begin(metadata: metadata, range: range, etag: place.etag, size: copy.object.size)
  }

  func receive(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) {
    _ = receiver.receive(bytes, at: offset) { offset in
      let position = Int(offset - range.offset)
      let memory = copy.object.pool.memory(of: blocks[position / BlockGeometry.blockSize])
      return UnsafeMutableRawBufferPointer(rebasing: memory[(position % BlockGeometry.blockSize)...])
    }
  }

  func forEachPiece(
    _ write: (UnsafeRawBufferPointer, UInt64) throws(RangeCopyError) -> Void
  ) throws(RangeCopyError) {
    if let failure { throw .store(failure) }
    var offset = range.offset
    for block in blocks {
      let count = Int(min(range.end - offset, Granules.blockSize))
      try write(UnsafeRawBufferPointer(rebasing: copy.object.pool.memory(of: block)[..<count]), offset)
      offset += UInt64(count)
    }
  }

  func release() {
    var effects = PoolEffects()
    copy.object.pool.unpin(blocks, read: false, &effects)
    blocks = []
    effects.perform()
  }
}
