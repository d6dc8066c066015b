import Synchronization

/// Blocks of memory with a hard budget, given first to those who wait and then to guesses.
///
/// A block is either free, or belongs to an owner under an index. While it is pinned it stays; otherwise it is clean
/// (its bytes can be fetched again) and may be reclaimed in order of use. Thread-safe.
///
/// Lock order: an owner's lock, then the lock of this pool. The pool calls nobody while it holds its lock; what must be
/// told to others is gathered in `PoolEffects`, which the caller performs once it holds no lock.
public final class BlockPool: Sendable {
  /// Bytes that may be in use at once.
  public let budget: Int
  private let memory: BlockMemory
  private let state: Mutex<PoolState>
  /// `PoolState.headroom` after the last change: every read asks for it, and need not wait for the lock.
  private let blocksAhead: Atomic<Int>

  /// A pool that takes no memory before it is used.
  /// - Parameters:
  ///   - budget: bytes that may be in use at once; rounded down to whole blocks of 1 MiB, at least two of them.
  ///   - reserve: bytes that fetching ahead leaves for what somebody waits for; an eighth of the budget where nil.
  /// - Throws: `BlockPoolError` when the address space cannot be had.
  public init(budget: Int, reserve: Int? = nil) throws(BlockPoolError) {
    // Two blocks are the least with which a read that crosses a block boundary can be answered.
    let capacity = max(2, budget / BlockGeometry.blockSize)
    let reserved = reserve.map { max(0, $0) / BlockGeometry.blockSize } ?? max(2, capacity / 8)
    memory = try BlockMemory(blocks: capacity)
    self.budget = capacity * BlockGeometry.blockSize
    let initial = PoolState(capacity: capacity, reserve: min(reserved, capacity))
    blocksAhead = Atomic(initial.headroom)
    state = Mutex(initial)
  }

  /// Number of blocks in the budget.
  public var capacity: Int { budget / BlockGeometry.blockSize }

  /// Bytes that may be fetched ahead at the moment.
  public var headroom: Int { blocksAhead.load(ordering: .relaxed) * BlockGeometry.blockSize }

  /// The memory of a block that the caller has pinned. No lock is taken.
  public func memory(of handle: BlockHandle) -> UnsafeMutableRawBufferPointer { memory[handle.slot] }

  private func change<Value>(_ body: (inout PoolState) -> Value) -> Value {
    state.withLock { state in
      defer { blocksAhead.store(state.headroom, ordering: .relaxed) }
      return body(&state)
    }
  }

  // MARK: Pins

  /// Pins a block. False when it was reclaimed.
  public func pin(_ handle: BlockHandle) -> Bool {
    change { $0.pin(handle) }
  }

  /// Pins all of `blocks`, or none and answers false when one of them was reclaimed.
  public func pin(_ blocks: PinnedBlocks) -> Bool {
    change { state in
      for position in 0..<blocks.count {
        guard let handle = blocks[position], state.table.slot(of: handle) != nil else { return false }
      }
      for position in 0..<blocks.count {
        if let handle = blocks[position] { _ = state.pin(handle) }
      }
      return true
    }
  }

  /// Lets go of one pin of each block; `last` is the use of the last of them, `use` that of the others.
  public func unpin(_ blocks: PinnedBlocks, _ use: BlockUse, last: BlockUse, _ effects: inout PoolEffects) {
    change { state in
      for position in 0..<blocks.count {
        if let handle = blocks[position] {
          state.unpin(handle, position == blocks.count - 1 ? last : use, &effects)
        }
      }
    }
  }

  /// Lets go of one pin of each block. A block without an owner becomes free.
  public func unpin(_ handles: some Sequence<BlockHandle>, _ use: BlockUse, _ effects: inout PoolEffects) {
    change { state in
      for handle in handles { state.unpin(handle, use, &effects) }
    }
  }

  // MARK: Allocation

  /// Pins what is there of `claims` and gives out new blocks for the rest, all or nothing. What has not been read for
  /// longest is reclaimed for it.
  /// - Returns: false when not enough blocks can be had now: then nothing is pinned, and the ticket that `orQueue` made
  ///   waits for its turn. No ticket may span more than `capacity` blocks. `orQueue` is called under the pool's lock.
  public func acquire(
    _ claims: inout [BlockClaim], owner: any BlockOwner, _ effects: inout PoolEffects,
    orQueue ticket: () -> DemandTicket?
  ) -> Bool {
    change { $0.acquire(&claims, owner: owner, orQueue: ticket, &effects) }
  }

  /// Pins what is there of `claims` and spends the blocks of a granted ticket on the rest; leftovers become free.
  public func settle(
    _ claims: inout [BlockClaim], granted: [BlockHandle], owner: any BlockOwner, _ effects: inout PoolEffects
  ) {
    change { $0.settle(&claims, granted: granted, owner: owner, &effects) }
  }

  /// A new block, pinned once, for bytes that are only guessed to be wanted; nil when that would leave less than the
  /// reserve, or while somebody waits for memory.
  public func allocateAhead(owner: any BlockOwner, index: UInt64, _ effects: inout PoolEffects) -> BlockHandle? {
    change { $0.allocateAhead(owner: owner, index: index, &effects) }
  }

  /// Queues a ticket for blocks without an owner; they are given back with `unpin`.
  public func enqueue(_ ticket: DemandTicket, _ effects: inout PoolEffects) {
    change { $0.enqueue(ticket, &effects) }
  }

  /// Takes a ticket out of the queue. False when it was granted already: its `onGrant` has been or will be called.
  public func withdraw(_ ticket: DemandTicket, _ effects: inout PoolEffects) -> Bool {
    change { $0.withdraw(ticket, &effects) }
  }

  /// Gives up a block that holds nothing worth keeping; its owner is not told. False when it is pinned or was reclaimed.
  public func discard(_ handle: BlockHandle, _ effects: inout PoolEffects) -> Bool {
    change { $0.discard(handle, &effects) }
  }

  /// Tells that what was fetched ahead into these blocks will not be read: they are the first to be reclaimed.
  public func abandon(_ handles: [BlockHandle]) {
    change { $0.abandon(handles) }
  }

  // MARK: Memory of the process

  /// Gives back to the system what was not used since the last call, and all memory that nobody owns.
  ///
  /// Called every few seconds by whoever has a timer: what is read over and over stays, an idle pool is empty after the
  /// second call. No lock is held during the system calls. Do not call it with a lock held.
  /// - Returns: whether anything is left that a later call could give back.
  @discardableResult
  public func trim() -> Bool {
    var effects = PoolEffects()
    let taken = change { $0.beginTrim(&effects) }
    memory.release(taken.map(\.slot))
    let left = change { state in
      state.returnCold(taken, &effects)
      return state.inUse + state.table.count(.free) > 0
    }
    effects.perform()
    return left
  }

  /// What the pool holds, in blocks.
  public struct Statistics: Hashable, Sendable {
    /// Blocks in the budget.
    public var capacity: Int
    /// Blocks that belong to somebody.
    public var inUse: Int
    /// Blocks of those that may not be reclaimed now.
    public var pinned: Int
    /// Blocks whose memory the system has not back.
    public var resident: Int
    /// The most that ever was in use.
    public var peakInUse: Int
    /// Tickets in the queue.
    public var waiting: Int
    /// Blocks reclaimed so far.
    public var reclaims: UInt64
  }

  /// A snapshot.
  public var statistics: Statistics {
    state.withLock { state in
      Statistics(
        capacity: state.capacity, inUse: state.inUse, pinned: state.pinned,
        resident: state.capacity - state.table.count(.cold), peakInUse: state.peakInUse, waiting: state.waiting,
        reclaims: state.reclaims)
    }
  }
}
