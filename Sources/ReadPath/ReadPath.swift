public import BlockCache
public import Logging
import Metrics
public import ObjectStore
import Synchronization

/// How reads were answered.
public struct ReadStatistics: Hashable, Sendable {
  /// Reads whose bytes were all in memory.
  public var hits: UInt64
  /// Reads that had to wait for the disk cache or the network.
  public var misses: UInt64
}

/// The places of what is counted.
enum ReadCounter: Int, CaseIterable {
  case hits, misses
}

/// Reads objects through the block cache: reads ahead, coalesces, and never mixes versions.
///
/// Thread-safe. Locks, in order: the lock of a `SharedObject`, then the pool's. The registry's, a reader's planner's and
/// the scheduler's are leaves: nothing is called while they are held.
public final class ReadPath: Sendable {
  private struct Identity: Hashable {
    let version: ObjectVersion
    let size: UInt64
  }

  private struct WeakObject {
    // Blocks in the pool, GETs and readers keep an object alive; the registry does not.
    weak var object: SharedObject?
  }

  private struct Registry {
    var objects: [Identity: WeakObject] = [:]
    var sweepAt = 64
    var nextReader: UInt64 = 1
  }

  let store: any ObjectStore
  let pool: BlockPool
  let configuration: ReadPathConfiguration
  let scheduler: GetScheduler
  let log: Logger
  private let share: ReadShare
  private let registry = Mutex(Registry())
  let counters = CounterBlock(count: ReadCounter.allCases.count)

  var disk: DiskStage? { share.disk }

  /// A read path over one bucket. Starts no thread and takes no memory before the first read.
  /// - Parameter share: what it has in common with those of other buckets; the caller shuts it down.
  public init(store: any ObjectStore, share: ReadShare, configuration: ReadPathConfiguration, log: Logger) {
    self.store = store
    self.share = share
    pool = share.pool
    self.configuration = configuration
    self.log = log
    scheduler = GetScheduler(share.turns)
  }

  /// One that shares nothing.
  /// - Parameter cache: asked before the network, and given what comes from there; nil: there is no disk cache.
  public convenience init(
    store: any ObjectStore, pool: BlockPool, cache: DiskCache? = nil, configuration: ReadPathConfiguration, log: Logger
  ) {
    self.init(
      store: store, share: ReadShare(pool: pool, cache: cache, configuration: configuration),
      configuration: configuration, log: log)
  }

  /// Ends what goes on at the disk cache, and waits for it; that of all who share it. What is read afterwards comes from
  /// the network.
  public func shutDown() { share.shutDown() }

  /// How reads were answered since the start. Does not block.
  public var statistics: ReadStatistics {
    ReadStatistics(hits: counters[ReadCounter.hits.rawValue], misses: counters[ReadCounter.misses.rawValue])
  }

  /// The longest read that is answered at once, in bytes: with any alignment it fits into the pool.
  public var maximumReadLength: Int { (pool.capacity - 1) * BlockGeometry.blockSize }

  /// Opens one version of an object. Sends no request. Readers of the same version share what is fetched, also with
  /// earlier readers while the memory was not needed for anything else.
  /// - Parameter size: length of the object in bytes; the server must agree, or reads fail with `preconditionFailed`.
  public func open(key: ObjectKey, etag: ETag, size: UInt64) -> ObjectReader {
    // Far beyond what S3 stores, and far from where rounding up would overflow.
    let size = min(size, 1 << 60)
    let identity = Identity(version: ObjectVersion(bucket: store.bucket, key: key, etag: etag), size: size)
    let (object, reader) = registry.withLock { registry in
      defer { registry.nextReader += 1 }
      if let object = registry.objects[identity]?.object { return (object, registry.nextReader) }
      let object = SharedObject(
        place: ObjectPlace(key: key, etag: etag), size: size, store: store, pool: pool, scheduler: scheduler,
        maximumGet: configuration.readAhead.maximumGet, disk: disk, log: log)
      Self.insert(object, as: identity, &registry)
      return (object, registry.nextReader)
    }
    object.add(reader: reader)
    return ObjectReader(path: self, object: object, id: reader)
  }

  /// Gives memory back to the system that was not used since the last call. For owners without a timer.
  public func trim() {
    pool.trim()
  }

  /// The bytes of `object` are found under `place` from now on.
  func relocate(_ object: SharedObject, to place: ObjectPlace) {
    let old = object.currentPlace
    object.endMove(to: place)
    registry.withLock { registry in
      let before = identity(old, object.size)
      if registry.objects[before]?.object === object { registry.objects[before] = nil }
      // Whoever opened the new name already goes on with an object of their own: the same bytes, cached twice.
      let after = identity(place, object.size)
      if registry.objects[after]?.object == nil { Self.insert(object, as: after, &registry) }
    }
  }

  private func identity(_ place: ObjectPlace, _ size: UInt64) -> Identity {
    Identity(version: ObjectVersion(bucket: store.bucket, key: place.key, etag: place.etag), size: size)
  }

  private static func insert(_ object: SharedObject, as identity: Identity, _ registry: inout Registry) {
    registry.objects[identity] = WeakObject(object: object)
    guard registry.objects.count >= registry.sweepAt else { return }
    registry.objects = registry.objects.filter { $0.value.object != nil }
    registry.sweepAt = max(64, registry.objects.count * 2)
  }

  // MARK: What is at hand

  /// How many bytes of a version are in memory or in the disk cache. May block for local I/O.
  public func cachedBytes(key: ObjectKey, etag: ETag, size: UInt64) -> UInt64 {
    guard size > 0 else { return 0 }
    let place = ObjectPlace(key: key, etag: etag)
    let known = registry.withLock { $0.objects[identity(place, size)]?.object }
    var masks = known?.readyGranules ?? [:]
    if let disk, !disk.cache.isOff {
      let version = ObjectVersion(bucket: store.bucket, key: key, etag: etag)
      for run in disk.cache.granules(of: disk.cache.identity(of: version, size: size)) {
        for index in Granules.blocks(run) { masks[index, default: .none].insert(Granules.mask(run, in: index)) }
      }
    }
    // Only the last granule may be shorter than the others.
    return min(size, masks.values.reduce(0) { $0 + UInt64($1.count) } * Granules.size)
  }

  /// Memory is in use.
  func noteUse() { share.noteUse() }
}
