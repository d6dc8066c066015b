public import BlockCache
import Synchronization

/// What the read paths of several buckets share: the memory, the turns at the network, the disk cache with its threads,
/// and the timer that gives back memory which nobody reads. Thread-safe; takes no lock but those of its parts.
public final class ReadShare: Sendable {
  let pool: BlockPool
  let turns: GetTurns
  let disk: DiskStage?
  private let configuration: ReadPathConfiguration
  private let isTimerSet = Atomic(false)

  /// Starts no thread and takes no memory before the first read.
  /// - Parameters:
  ///   - cache: asked before the network, and given what comes from there; nil: there is no disk cache.
  ///   - configuration: the one that the read paths have, too.
  public init(pool: BlockPool, cache: DiskCache? = nil, configuration: ReadPathConfiguration) {
    self.pool = pool
    self.configuration = configuration
    turns = GetTurns(limit: configuration.maximumGets, isShared: configuration.isShared)
    disk = cache.map { DiskStage(cache: $0, pool: pool) }
  }

  /// Ends what goes on at the disk cache, and waits for it. What is read afterwards comes from the network.
  public func shutDown() { disk?.shutDown() }

  deinit {
    // The pool keeps the objects that own its blocks, and they the pool: without readers nothing is worth keeping.
    pool.trim()
    pool.trim()
  }

  /// Memory is in use: sees to it that it is given back when that ends.
  func noteUse() {
    guard configuration.schedule != nil, !isTimerSet.load(ordering: .relaxed) else { return }
    setTimer()
  }

  private func setTimer() {
    guard let schedule = configuration.schedule else { return }
    guard !isTimerSet.exchange(true, ordering: .sequentiallyConsistent) else { return }
    let start = configuration.time.monotonic
    schedule(configuration.idleSeconds) { [weak self] in
      guard let self else { return }
      isTimerSet.store(false, ordering: .sequentiallyConsistent)
      let elapsed = Double(configuration.time.monotonic - start) / 1e9
      // At shutdown timers fire at once; setting another would never end.
      if pool.trim(), elapsed >= configuration.idleSeconds / 2 { setTimer() }
    }
  }
}
