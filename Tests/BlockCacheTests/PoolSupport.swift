import BlockCache
import Synchronization

/// Owns blocks and remembers which it lost.
final class TestOwner: BlockOwner {
  private let state = Mutex<[UInt64]>([])

  /// The indices of lost blocks, in order.
  var lost: [UInt64] { state.withLock { $0 } }

  func blockWasReclaimed(_ block: BlockHandle, index: UInt64) {
    state.withLock { $0.append(index) }
  }
}

/// Blocks that tickets brought.
final class Grants: Sendable {
  private let state = Mutex<[(Int, [BlockHandle])]>([])

  var order: [Int] { state.withLock { $0.map(\.0) } }
  var blocks: [[BlockHandle]] { state.withLock { $0.map(\.1) } }

  func ticket(_ number: Int, span: Int) -> DemandTicket {
    DemandTicket(span: span) { blocks in self.state.withLock { $0.append((number, blocks)) } }
  }
}

extension BlockPool {
  /// A block for `index` as a waiting reader would get it; nil when it would have to wait.
  func demand(_ owner: TestOwner, _ index: UInt64) -> BlockHandle? {
    var claims = [BlockClaim(index: index, handle: nil)]
    var effects = PoolEffects()
    let isPinned = acquire(&claims, owner: owner, &effects) { nil }
    effects.perform()
    return isPinned ? claims[0].handle : nil
  }

  func ahead(_ owner: TestOwner, _ index: UInt64) -> BlockHandle? {
    var effects = PoolEffects()
    defer { effects.perform() }
    return allocateAhead(owner: owner, index: index, &effects)
  }

  func release(_ handle: BlockHandle, read: Bool = true) {
    var effects = PoolEffects()
    unpin(CollectionOfOne(handle), read: read, &effects)
    effects.perform()
  }

  func queue(_ ticket: DemandTicket) {
    var effects = PoolEffects()
    enqueue(ticket, &effects)
    effects.perform()
  }
}
