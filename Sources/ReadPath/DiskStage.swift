import Basics
import BlockCache
import ObjectStore
import Synchronization

/// The disk between the memory and the network: its threads read what is kept there into the blocks of the pool, and put
/// in what came from the network.
///
/// Thread-safe. It takes no lock but those of its schedulers, which are leaves.
final class DiskStage: Sendable {
  let cache: DiskCache
  /// Bounds the reads, and lets those that somebody waits for go first.
  let scheduler: GetScheduler
  private let pool: BlockPool
  private let readers: WorkerPool
  private let writers: WorkerPool
  /// Blocks that may still be taken to be put in.
  private let room: Atomic<Int>
  /// Bytes of whole objects that may still wait to be put in.
  private let sourceRoom = Atomic(DiskStage.mostOfSources)
  private let isClosed = Atomic(false)

  /// Blocks that are read at a time: a disk behind a network or a virtual machine needs that many to be busy.
  private static let parallelReads = 16
  private static let parallelWrites = 2
  /// Their files stay on the disk as long as they wait. One that is longer waits alone.
  private static let mostOfSources = 256 << 20

  init(cache: DiskCache, pool: BlockPool) {
    self.cache = cache
    self.pool = pool
    scheduler = GetScheduler(limit: Self.parallelReads)
    readers = WorkerPool(name: "waysfs-cache", limit: Self.parallelReads)
    writers = WorkerPool(name: "waysfs-store", limit: Self.parallelWrites)
    // They are pinned while they wait, and memory is for readers first.
    room = Atomic(max(1, pool.capacity / 8))
  }

  /// Waits for what is under way, and ends the threads.
  func shutDown() {
    isClosed.store(true, ordering: .sequentiallyConsistent)
    readers.shutdown()
    writers.shutdown()
  }

  /// Runs work that blocks for the disk.
  func read(_ work: @escaping @Sendable () -> Void) { readers.submit(work) }

  /// Something to be put in: granules of one block, in memory that is pinned for it.
  struct Kept: Sendable {
    let identity: CacheIdentity
    let granules: Range<UInt64>
    let block: BlockHandle
  }

  /// Puts granules in, behind the reader's back, and lets go of their block. When the disk does not keep up with the
  /// network they are left out.
  func keep(_ kept: Kept) {
    guard !isClosed.load(ordering: .sequentiallyConsistent), Self.take(1, of: room) else {
      cache.noteSkipped(bytes: length(kept))
      return release(kept)
    }
    writers.submit { [self] in
      let start = Int(kept.granules.lowerBound % Granules.perBlock * Granules.size)
      let memory = pool.memory(of: kept.block)
      let bytes = UnsafeRawBufferPointer(rebasing: memory[start..<start + Int(length(kept))])
      cache.write(kept.granules, of: kept.identity, bytes)
      room.add(1, ordering: .relaxed)
      release(kept)
    }
  }

  /// Puts a whole object in from a file; see `DiskCache.write(whole:read:isUnchanged:)`.
  func keep(_ source: any WholeObjectSource, as identity: CacheIdentity) {
    let bytes = Int(min(identity.size, UInt64(Self.mostOfSources)))
    guard !isClosed.load(ordering: .sequentiallyConsistent), Self.take(bytes, of: sourceRoom) else {
      return cache.noteSkipped(bytes: identity.size)
    }
    writers.submit { [self] in
      // It may be large, and the end of a mount does not wait for it.
      let read = { (buffer: UnsafeMutableRawBufferPointer, offset: UInt64) in
        !self.isClosed.load(ordering: .relaxed) && source.read(into: buffer, at: offset)
      }
      cache.write(whole: identity, read: read, isUnchanged: { source.isUnchanged() })
      sourceRoom.add(bytes, ordering: .relaxed)
    }
  }

  private func length(_ kept: Kept) -> UInt64 {
    min(kept.granules.upperBound * Granules.size, kept.identity.size) - kept.granules.lowerBound * Granules.size
  }

  private static func take(_ amount: Int, of room: borrowing Atomic<Int>) -> Bool {
    if room.subtract(amount, ordering: .relaxed).oldValue >= amount { return true }
    room.add(amount, ordering: .relaxed)
    return false
  }

  private func release(_ kept: Kept) {
    var effects = PoolEffects()
    pool.unpin(CollectionOfOne(kept.block), .none, &effects)
    effects.perform()
  }
}

/// Where all bytes of an object are on this machine, for a while. Thread-safe; its methods may block for local I/O.
public protocol WholeObjectSource: Sendable {
  /// Fills a buffer with the bytes from an offset on; false when that fails.
  func read(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) -> Bool
  /// Whether everything that was read before this call was the object.
  func isUnchanged() -> Bool
}
