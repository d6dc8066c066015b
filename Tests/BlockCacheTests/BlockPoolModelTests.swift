import BlockCache
import Synchronization
import Testing

/// Random operations against what must hold whatever happens.
@Suite struct BlockPoolModelTests {
  struct Random: RandomNumberGenerator {
    var state: UInt64
    mutating func next() -> UInt64 {
      state &+= 0x9E37_79B9_7F4A_7C15
      var z = state
      z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
      z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
      return z ^ (z >> 31)
    }
  }

  @Test(arguments: 1...20)
  func nothingIsLostOrGivenTwice(seed: Int) throws {
    var random = Random(state: UInt64(seed))
    let capacity = Int.random(in: 2...9, using: &random)
    let pool = try BlockPool(budget: capacity << 20)
    let owner = TestOwner()
    let grants = Grants()
    var taken = 0
    var ticketNumber = 0
    var waiting: [DemandTicket] = []
    var pinned: [BlockHandle] = []
    var idle: [BlockHandle] = []
    for step in 0..<2000 {
      switch Int.random(in: 0..<9, using: &random) {
      case 0, 1: if let block = pool.demand(owner, UInt64(step)) { pinned.append(block) }
      case 2, 3: if let block = pool.ahead(owner, UInt64(step)) { pinned.append(block) }
      case 4, 5, 6:
        guard let position = pinned.indices.randomElement(using: &random) else { break }
        let block = pinned.remove(at: position)
        pool.release(block, [.none, .read, .passed].randomElement(using: &random) ?? .none)
        idle.append(block)
      case 7:
        guard let block = idle.randomElement(using: &random), pool.pin(block) else { break }
        pinned.append(block)
      default:
        if Int.random(in: 0..<4, using: &random) == 0 { pool.trim() }
        ticketNumber += 1
        let ticket = grants.ticket(ticketNumber, span: Int.random(in: 1...capacity, using: &random))
        waiting.append(ticket)
        pool.queue(ticket)
        if Int.random(in: 0..<3, using: &random) == 0, let ticket = waiting.randomElement(using: &random) {
          var effects = PoolEffects()
          _ = pool.withdraw(ticket, &effects)
          effects.perform()
        }
      }
      let brought = grants.blocks
      for blocks in brought[taken...] { pinned += blocks }
      taken = brought.count
      let statistics = pool.statistics
      // A head of the queue may hold what it has collected so far.
      #expect(statistics.pinned >= Set(pinned).count && statistics.pinned <= statistics.inUse)
      #expect(statistics.waiting > 0 || statistics.pinned == Set(pinned).count)
      #expect(statistics.inUse <= capacity && statistics.peakInUse <= capacity)
      for block in Set(pinned) {
        #expect(pool.pin(block), "a pinned block must stay")
        pool.release(block, .none)
      }
    }
    #expect(grants.order == grants.order.sorted(), "first come, first served")
    while let block = pinned.popLast() {
      pool.release(block)
      let brought = grants.blocks
      for blocks in brought[taken...] { pinned += blocks }
      taken = brought.count
    }
    #expect(pool.statistics.waiting == 0 && pool.statistics.pinned == 0)
    pool.trim()
    #expect(!pool.trim())
    #expect(pool.statistics.resident == 0)
  }

  @Test func threadsNeverShareABlock() throws {
    let pool = try BlockPool(budget: 4 << 20)
    let owner = TestOwner()
    let wrong = Counter()
    onThreads(8) { thread in
      for step in 0..<2000 {
        guard let block = pool.demand(owner, UInt64(step)) else { continue }
        let memory = pool.memory(of: block)
        let mark = UInt64(thread) << 32 | UInt64(step)
        memory.storeBytes(of: mark, as: UInt64.self)
        if step % 100 == 0 { pool.trim() }
        if memory.load(as: UInt64.self) != mark { wrong.add() }
        pool.release(block)
      }
    }
    #expect(wrong.value == 0)
    #expect(pool.statistics.pinned == 0 && pool.statistics.peakInUse <= 4)
  }
}

final class Counter: Sendable {
  private let count = Atomic(0)
  var value: Int { count.load(ordering: .sequentiallyConsistent) }
  func add() { count.add(1, ordering: .sequentiallyConsistent) }
}
