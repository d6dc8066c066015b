import Basics
import BlockCache
import Logging
import ObjectStore
import Synchronization

/// One version of one object, as all its readers share it: which granules are there, which are asked for, who waits.
///
/// Lock order: the lock of this object, then the pool's. Neither is held while a store, a completion, a cancellation or
/// the scheduler is called: what is to be done is gathered in an `Outbox` and delivered afterwards.
final class SharedObject: BlockOwner, Sendable {
  struct Block {
    let handle: BlockHandle
    /// Granules whose bytes are all there.
    var ready = GranuleMask.none
    /// Granules that some `Fetch` in `fetches` is to bring.
    var requested = GranuleMask.none
    /// Reads that need granules of this block. They hold a pin on it.
    var waiters: [PendingRead] = []
  }

  struct State {
    var place: ObjectPlace
    /// What it is called in the disk cache; nil without one.
    var identity: CacheIdentity?
    /// Announced moves that have not been completed or given up.
    var moving = 0
    /// GETs that failed during a move and are repeated when it is over.
    var parked: [any ScheduledGet] = []
    var blocks: [UInt64: Block] = [:]
    /// GETs that wait or are under way.
    var fetches: [Fetch] = []
    var readers: Set<UInt64> = []
  }

  let size: UInt64
  let store: any ObjectStore
  let pool: BlockPool
  let scheduler: GetScheduler
  let maximumGet: UInt64
  /// The disk cache; nil without one.
  let disk: DiskStage?
  let log: Logger
  let state: Mutex<State>

  init(
    place: ObjectPlace, size: UInt64, store: any ObjectStore, pool: BlockPool, scheduler: GetScheduler,
    maximumGet: UInt64, disk: DiskStage?, log: Logger
  ) {
    self.size = size
    self.store = store
    self.pool = pool
    self.scheduler = scheduler
    self.maximumGet = maximumGet
    self.disk = disk
    self.log = log
    state = Mutex(State(place: place, identity: Self.identity(place, size, store, disk)))
  }

  private static func identity(
    _ place: ObjectPlace, _ size: UInt64, _ store: any ObjectStore, _ disk: DiskStage?
  ) -> CacheIdentity? {
    disk?.cache.identity(of: ObjectVersion(bucket: store.bucket, key: place.key, etag: place.etag), size: size)
  }

  // MARK: Bytes at hand

  /// Pins the blocks of `range` if all its bytes are there. The caller unpins them.
  func hit(_ range: ByteRange) -> PinnedBlocks? {
    let granules = Granules.covering(range)
    return state.withLock { state in
      var pins = PinnedBlocks()
      for index in Granules.blocks(range) {
        guard let block = state.blocks[index], block.ready.contains(Granules.mask(granules, in: index)) else {
          return nil
        }
        pins.append(block.handle)
      }
      return pool.pin(pins) ? pins : nil
    }
  }

  /// The granules that are in memory, by block.
  var readyGranules: [UInt64: GranuleMask] { state.withLock { $0.blocks.mapValues(\.ready) } }

  /// The memory of `range` in blocks that are pinned, in order.
  func slices(_ range: ByteRange, _ handle: (Int) -> BlockHandle?) -> [UnsafeRawBufferPointer] {
    let blocks = Granules.blocks(range)
    var slices: [UnsafeRawBufferPointer] = []
    slices.reserveCapacity(blocks.count)
    for index in blocks {
      guard let handle = handle(Int(index - blocks.lowerBound)) else { continue }
      let start = index * Granules.blockSize
      let low = Int(max(range.offset, start) - start)
      let high = Int(min(range.end, start + Granules.blockSize) - start)
      slices.append(UnsafeRawBufferPointer(rebasing: pool.memory(of: handle)[low..<high]))
    }
    return slices
  }

  /// What a finished read was to the blocks it touched: to all but the last, and to the last.
  func uses(_ range: ByteRange, isStreaming: Bool) -> (BlockUse, last: BlockUse) {
    guard isStreaming else { return (.read, .read) }
    return (.passed, range.end % Granules.blockSize == 0 || range.end == size ? .passed : .read)
  }

  // MARK: Readers

  func add(reader: UInt64) {
    state.withLock { _ = $0.readers.insert(reader) }
  }

  /// Cancels GETs that nobody else wants.
  func remove(reader: UInt64) {
    var orphans: [Fetch] = []
    var idle: [Fetch] = []
    state.withLock { state in
      guard state.readers.remove(reader) != nil else { return }
      for fetch in state.fetches {
        fetch.sponsors.removeAll { $0 == reader }
        if fetch.sponsors.isEmpty, !Self.isAwaited(fetch, state) { orphans.append(fetch) }
      }
      idle = orphans.filter { orphan in state.parked.contains { $0 === orphan } }
      state.parked.removeAll { parked in idle.contains { $0 === parked } }
      if state.readers.isEmpty { pool.abandon(state.blocks.values.map(\.handle)) }
    }
    for fetch in orphans {
      if idle.contains(where: { $0 === fetch }) { finish(fetch, unwanted) } else { cancel(fetch) }
    }
  }

  var unwanted: ObjectStoreError { error(.cancelled, "Nobody wants these bytes any more.") }

  static func isAwaited(_ fetch: Fetch, _ state: State) -> Bool {
    Granules.blocks(fetch.granules).contains { index in
      let mask = Granules.mask(fetch.granules, in: index)
      return state.blocks[index]?.waiters.contains { waiter in
        !Granules.mask(waiter.granules, in: index).intersection(mask).isEmpty
      } ?? false
    }
  }

  /// Cancels a GET that waits or is under way. Its end is reported to `finish` as for any other.
  func cancel(_ fetch: Fetch) {
    if scheduler.withdraw(fetch) || disk?.scheduler.withdraw(fetch) ?? false {
      finish(fetch, unwanted)
    } else {
      state.withLock { _ in fetch.cancellation }.cancel()
    }
  }

  // MARK: Moves

  func beginMove() {
    state.withLock { $0.moving += 1 }
  }

  /// Ends a move; `place` is nil when it did not take place. GETs that failed meanwhile are repeated.
  func endMove(to place: ObjectPlace?) {
    var outbox = Outbox()
    let identity = place.flatMap { Self.identity($0, size, store, disk) }
    state.withLock { state in
      state.moving = max(0, state.moving - 1)
      if let place {
        state.place = place
        state.identity = identity
      }
      guard state.moving == 0 || place != nil else { return }
      for get in state.parked { outbox.resubmit(get) }
      state.parked = []
    }
    deliver(outbox)
  }

  /// For GETs that are not among `fetches`: whether it failed only because of a move, and is repeated after it.
  func sendsElsewhere(_ get: any ScheduledGet, after error: ObjectStoreError, from place: ObjectPlace) -> Bool {
    var outbox = Outbox()
    let isRepeated = state.withLock { repeats(get, after: error, from: place, &$0, &outbox) }
    deliver(outbox)
    return isRepeated
  }

  func place(of fetch: Fetch) -> ObjectPlace {
    state.withLock { _ in fetch.place }
  }

  var currentPlace: ObjectPlace { state.withLock { $0.place } }

  func error(_ code: ObjectStoreError.Code, _ message: String) -> ObjectStoreError {
    ObjectStoreError(code, message, bucket: store.bucket, key: currentPlace.key)
  }

  // MARK: BlockOwner

  func blockWasReclaimed(_ block: BlockHandle, index: UInt64) {
    state.withLock { state in
      if state.blocks[index]?.handle == block { state.blocks[index] = nil }
    }
  }
}
