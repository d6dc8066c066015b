public import Basics
import BlockCache
import Metrics
public import ObjectStore
import Synchronization

/// One open handle on one version of an object. Thread-safe; reads from several threads go on in parallel.
public final class ObjectReader: Sendable {
  private let path: ReadPath
  let object: SharedObject
  private let id: UInt64
  private let planner: Mutex<ReadAheadPlanner>
  private let isClosed = Atomic(false)

  init(path: ReadPath, object: SharedObject, id: UInt64) {
    self.path = path
    self.object = object
    self.id = id
    planner = Mutex(ReadAheadPlanner(size: object.size, limits: path.configuration.readAhead))
  }

  deinit {
    close()
  }

  var copyParallelism: Int { path.configuration.copyParallelism }

  /// Length of the object in bytes.
  public var size: UInt64 { object.size }

  /// Reads up to `count` bytes from `offset`; fewer only at the end of the object, none at or past it.
  ///
  /// The completion is called exactly once: on this thread before the call returns when all bytes are at hand, otherwise
  /// on the store's thread as soon as the last of them has arrived. It must not block.
  /// - Parameters:
  ///   - count: at most `ReadPath.maximumReadLength`, else the read fails with `invalidRequest`.
  ///   - cancellation: when fired, the read reports `cancelled`.
  /// - Note: errors are those of `ObjectStore.get`; `preconditionFailed` and `notFound` mean that this version is gone
  ///   from the server (its cached bytes can still be read).
  public func read(
    offset: UInt64, count: Int, _ cancellation: Cancellation?,
    _ completion: @escaping Completion<ReadSlices, ObjectStoreError>
  ) {
    guard offset < object.size, count > 0 else { return completion(.success(ReadSlices([]))) }
    let range = ByteRange(offset: offset, length: min(UInt64(count), object.size - offset))
    guard range.length <= UInt64(path.maximumReadLength) else {
      return completion(.failure(object.error(.invalidRequest, "A read of \(count) bytes is more than fits.")))
    }
    path.noteUse()
    let memory = UInt64(path.pool.headroom)
    let plan = planner.withLock { $0.plan(offset: offset, count: range.length, memory: memory) }

    var ahead = plan.ahead
    if let pins = object.hit(range) {
      path.counters.add(to: ReadCounter.hits.rawValue)
      completion(.success(ReadSlices(object.slices(range) { pins[$0] })))
      var effects = PoolEffects()
      let (use, last) = object.uses(range, isStreaming: plan.isStreaming)
      path.pool.unpin(pins, use, last: last, &effects)
      effects.perform()
      if plan.extends { ahead.insert(plan.demand, at: 0) }
    } else if cancellation?.isCancelled == true {
      return completion(.failure(object.error(.cancelled, "The caller gave up.")))
    } else {
      path.counters.add(to: ReadCounter.misses.rawValue)
      let read = PendingRead(
        range: range, demand: plan.demand, reader: id, isStreaming: plan.isStreaming, cancellation: cancellation,
        completion: completion)
      let start = object.start(read)
      note(dropped: start.dropped)
      if plan.isStreaming, !plan.extends, start.hasAsked {
        let memory = UInt64(path.pool.headroom)
        ahead += planner.withLock { $0.aheadLost(at: offset, memory: memory) }
      }
    }
    if !ahead.isEmpty { note(dropped: object.fetchAhead(ahead, reader: id)) }
  }

  /// Reads up to `count` bytes from `offset` and blocks until they are there. Never call it on the store's thread.
  public func read(
    offset: UInt64, count: Int, _ cancellation: Cancellation? = nil
  ) throws(ObjectStoreError) -> [UInt8] {
    guard offset < size, count > 0 else { return [] }
    let total = Int(clamping: min(UInt64(count), size - offset))
    var bytes: [UInt8] = []
    bytes.reserveCapacity(total)
    while bytes.count < total {
      let piece = min(total - bytes.count, BlockGeometry.blockSize)
      let start = offset + UInt64(bytes.count)
      let part: [UInt8] = try waitFor { (completion: @escaping Completion<[UInt8], ObjectStoreError>) in
        read(offset: start, count: piece, cancellation) { result in
          completion(result.map { Array($0.buffers.joined()) })
        }
      }
      guard !part.isEmpty else { break }
      bytes += part
    }
    return bytes
  }

  /// Ends the handle: what was fetched ahead for it alone is cancelled. Reads under way are still answered. What is
  /// cached stays until its memory is needed. Further calls do nothing.
  public func close() {
    guard !isClosed.exchange(true, ordering: .sequentiallyConsistent) else { return }
    object.remove(reader: id)
  }

  /// Announces that the object is about to be renamed: GETs that do not find it are held until `relocate` or
  /// `cancelRelocation`, one of which must follow.
  public func prepareToRelocate() {
    object.beginMove()
  }

  /// The same bytes now live under another key and tag: GETs go there from now on, and those that fail because of the
  /// move are repeated there. Holds for all readers of this version.
  public func relocate(to key: ObjectKey, etag: ETag) {
    path.relocate(object, to: ObjectPlace(key: key, etag: etag))
  }

  /// The rename that was announced did not take place.
  public func cancelRelocation() {
    object.endMove(to: nil)
  }

  private func note(dropped offset: UInt64?) {
    guard let offset else { return }
    planner.withLock { $0.aheadDropped(from: offset) }
  }
}
