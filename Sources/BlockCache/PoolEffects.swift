/// What a change to the pool brought about for others, to be told to them once no lock is held.
public struct PoolEffects: Sendable {
  struct Reclaimed: Sendable {
    // Holding the owner also keeps its last reference from going away under a lock.
    let owner: any BlockOwner
    let handle: BlockHandle
    let index: UInt64
  }

  var reclaimed: [Reclaimed] = []
  var granted: [DemandTicket] = []

  /// Nothing to tell.
  public init() {}

  /// Tells owners what they lost and waiting readers that their memory is there. Call it with no lock held, exactly
  /// once, after the last pool call that was given this value.
  public consuming func perform() {
    for entry in reclaimed {
      entry.owner.blockWasReclaimed(entry.handle, index: entry.index)
    }
    for ticket in granted {
      ticket.deliver()
    }
  }
}

/// A place in the queue for memory. Made by whoever may have to wait, served in order of arrival.
public final class DemandTicket: @unchecked Sendable {
  /// Blocks needed at once.
  let span: Int
  // Guarded by the pool's lock until the ticket is granted; untouched by the pool afterwards.
  var collected: [BlockHandle] = []
  private let onGrant: @Sendable ([BlockHandle]) -> Void

  /// A ticket for `span` blocks; `onGrant` is called at most once, with no lock held, and receives the blocks: pinned
  /// once, without an owner. It passes them to `BlockPool.settle` or `BlockPool.discard`.
  public init(span: Int, onGrant: @escaping @Sendable ([BlockHandle]) -> Void) {
    self.span = span
    self.onGrant = onGrant
  }

  func deliver() {
    onGrant(collected)
  }
}
