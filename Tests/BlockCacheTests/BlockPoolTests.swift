import BlockCache
import Testing

@Suite struct BlockPoolTests {
  private let owner = TestOwner()

  @Test func budgetIsRoundedDownToBlocksButNotBelowTwo() throws {
    #expect(try BlockPool(budget: (5 << 20) + 4000).capacity == 5)
    #expect(try BlockPool(budget: 0).capacity == 2)
    #expect(try BlockPool(budget: -1).capacity == 2)
    #expect(throws: BlockPoolError.self) { try BlockPool(budget: .max) }
  }

  @Test func demandReclaimsInOrderOfUse() throws {
    let pool = try BlockPool(budget: 3 << 20)
    let blocks = try (0..<3).map { try #require(pool.demand(owner, $0)) }
    for block in blocks { pool.release(block) }
    // Block 0 is used again, so 1 is the oldest.
    #expect(pool.pin(blocks[0]))
    pool.release(blocks[0])
    let fourth = try #require(pool.demand(owner, 3))
    #expect(owner.lost == [1])
    #expect(!pool.pin(blocks[1]), "a reclaimed block must not be pinned by its old handle")
    #expect(pool.pin(blocks[0]) && pool.pin(blocks[2]) && pool.pin(fourth))
    #expect(pool.statistics.pinned == 3)
    #expect(pool.demand(owner, 4) == nil)
  }

  @Test func fetchingAheadLeavesTheReserve() throws {
    let pool = try BlockPool(budget: 8 << 20, reserve: 3 << 20)
    #expect(pool.headroom == 5 << 20)
    for index in 0..<5 { #expect(pool.ahead(owner, UInt64(index)) != nil) }
    #expect(pool.headroom == 0)
    #expect(pool.ahead(owner, 5) == nil)
    for index in 6..<9 { #expect(pool.demand(owner, UInt64(index)) != nil) }
    #expect(pool.demand(owner, 9) == nil)
    #expect(pool.statistics.peakInUse == 8)
  }

  @Test func fetchingAheadReclaimsWhatWasReadButNoOtherGuess() throws {
    let pool = try BlockPool(budget: 4 << 20, reserve: 1 << 20)
    let guesses = try (0..<3).map { try #require(pool.ahead(owner, $0)) }
    for block in guesses { pool.release(block, read: false) }
    #expect(pool.ahead(owner, 3) == nil, "the reserve and three guesses leave nothing")
    #expect(pool.pin(guesses[1]))
    pool.release(guesses[1])
    #expect(pool.ahead(owner, 4) != nil, "the reserve is still free once a guess was read")
    #expect(owner.lost.isEmpty)
    #expect(pool.demand(owner, 5) != nil)
    #expect(owner.lost == [1], "what was read goes before what is expected to be read")
    #expect(pool.demand(owner, 6) != nil)
    #expect(owner.lost == [1, 0])
  }

  @Test func abandonedGuessesGoFirst() throws {
    let pool = try BlockPool(budget: 4 << 20, reserve: 0)
    let read = try #require(pool.demand(owner, 0))
    pool.release(read)
    let guess = try #require(pool.ahead(owner, 1))
    pool.release(guess, read: false)
    pool.abandon([guess])
    _ = pool.demand(owner, 2)
    _ = pool.demand(owner, 3)
    _ = pool.demand(owner, 4)
    #expect(owner.lost == [1])
  }

  @Test func guessesNobodyReadBecomeStale() throws {
    let pool = try BlockPool(budget: 4 << 20, reserve: 1 << 20)
    for index in 0..<3 { pool.release(try #require(pool.ahead(owner, UInt64(index))), read: false) }
    for index in 10..<16 { pool.release(try #require(pool.demand(owner, UInt64(index)))) }
    #expect(pool.ahead(owner, 20) != nil)
  }

  @Test func waitersAreServedInOrderAndNobodyOvertakes() throws {
    let pool = try BlockPool(budget: 3 << 20)
    let grants = Grants()
    let blocks = try (0..<3).map { try #require(pool.demand(owner, $0)) }
    pool.queue(grants.ticket(1, span: 2))
    pool.queue(grants.ticket(2, span: 1))
    pool.release(blocks[0])
    #expect(grants.order.isEmpty, "the first needs two blocks, and the second must not overtake it")
    #expect(pool.demand(owner, 9) == nil)
    #expect(pool.ahead(owner, 9) == nil)
    pool.release(blocks[1])
    #expect(grants.order == [1])
    pool.release(blocks[2])
    #expect(grants.order == [1, 2])
    #expect(grants.blocks.map(\.count) == [2, 1])
    #expect(pool.statistics.inUse == 3 && pool.statistics.waiting == 0)
    for block in grants.blocks.joined() { pool.release(block, read: false) }
    #expect(pool.statistics.inUse == 0)
  }

  @Test func withdrawnTicketPassesItsBlocksOn() throws {
    let pool = try BlockPool(budget: 2 << 20)
    let grants = Grants()
    let blocks = try (0..<2).map { try #require(pool.demand(owner, $0)) }
    let first = grants.ticket(1, span: 2)
    pool.queue(first)
    pool.queue(grants.ticket(2, span: 1))
    pool.release(blocks[0])
    #expect(grants.order.isEmpty)
    var effects = PoolEffects()
    #expect(pool.withdraw(first, &effects))
    #expect(!pool.withdraw(first, &effects))
    effects.perform()
    #expect(grants.order == [2])
    #expect(pool.statistics.inUse == 2)
  }

  @Test func acquireIsAllOrNothing() throws {
    let pool = try BlockPool(budget: 2 << 20)
    let grants = Grants()
    let kept = try #require(pool.demand(owner, 0))
    let pinned = try #require(pool.demand(owner, 1))
    pool.release(kept)
    // Needs block 0, which is there, and one more, which cannot be had while block 1 is pinned.
    var claims = [BlockClaim(index: 0, handle: kept), BlockClaim(index: 2, handle: nil)]
    var effects = PoolEffects()
    #expect(!pool.acquire(&claims, owner: owner, &effects) { grants.ticket(1, span: 2) })
    effects.perform()
    #expect(grants.order.isEmpty)
    #expect(owner.lost == [0], "who waits collects what is free, and holds nothing else")
    pool.release(pinned)
    #expect(grants.order == [1])
    effects = PoolEffects()
    claims = [BlockClaim(index: 0, handle: kept), BlockClaim(index: 2, handle: nil)]
    pool.settle(&claims, granted: grants.blocks[0], owner: owner, &effects)
    effects.perform()
    #expect(claims.allSatisfy { $0.isNew && $0.handle != nil })
    #expect(pool.statistics.pinned == 2)
  }

  @Test func settleGivesBackWhatItDoesNotNeed() throws {
    let pool = try BlockPool(budget: 3 << 20)
    let grants = Grants()
    let there = try #require(pool.demand(owner, 0))
    pool.release(there)
    pool.queue(grants.ticket(1, span: 2))
    var claims = [BlockClaim(index: 0, handle: there), BlockClaim(index: 1, handle: nil)]
    var effects = PoolEffects()
    pool.settle(&claims, granted: grants.blocks[0], owner: owner, &effects)
    effects.perform()
    #expect(claims.map(\.isNew) == [false, true])
    #expect(pool.statistics.pinned == 2 && pool.statistics.inUse == 2)
  }

  @Test func discardFreesABlockAtOnce() throws {
    let pool = try BlockPool(budget: 2 << 20)
    let block = try #require(pool.demand(owner, 0))
    var effects = PoolEffects()
    #expect(!pool.discard(block, &effects))
    pool.release(block, read: false)
    #expect(pool.discard(block, &effects))
    #expect(!pool.discard(block, &effects) && !pool.pin(block))
    effects.perform()
    #expect(owner.lost.isEmpty && pool.statistics.inUse == 0)
  }

  @Test func pinningManyIsAllOrNothing() throws {
    let pool = try BlockPool(budget: 4 << 20)
    var pins = PinnedBlocks()
    for index in 0..<4 {
      let block = try #require(pool.demand(owner, UInt64(index)))
      pins.append(block)
      pool.release(block)
    }
    #expect(pins.count == 4)
    #expect(pool.pin(pins))
    #expect(pool.statistics.pinned == 4)
    var effects = PoolEffects()
    pool.unpin(pins, read: true, &effects)
    effects.perform()
    _ = pool.demand(owner, 9)
    #expect(!pool.pin(pins))
    #expect(pool.statistics.pinned == 1)
  }

  @Test func idleMemoryGoesBackToTheSystem() throws {
    let pool = try BlockPool(budget: 4 << 20)
    let blocks = try (0..<3).map { try #require(pool.demand(owner, $0)) }
    for block in blocks {
      pool.memory(of: block).initializeMemory(as: UInt8.self, repeating: 7)
      pool.release(block)
    }
    #expect(pool.statistics.resident == 3)
    #expect(pool.trim(), "the first call keeps what was used since")
    #expect(owner.lost.isEmpty)
    #expect(pool.pin(blocks[1]))
    #expect(pool.memory(of: blocks[1]).allSatisfy { $0 == 7 })
    #expect(pool.trim())
    #expect(owner.lost.sorted() == [0, 2])
    #expect(pool.statistics.resident == 1)
    pool.release(blocks[1])
    pool.trim()
    #expect(!pool.trim())
    #expect(pool.statistics.resident == 0 && pool.statistics.inUse == 0)
    let fresh = try #require(pool.demand(owner, 9))
    #expect(pool.memory(of: fresh).allSatisfy { $0 == 0 }, "pages that went back read as zeros")
  }

  @Test func trimFeedsWhoWaits() throws {
    let pool = try BlockPool(budget: 2 << 20)
    let grants = Grants()
    let blocks = try (0..<2).map { try #require(pool.demand(owner, $0)) }
    pool.queue(grants.ticket(1, span: 1))
    pool.trim()
    #expect(grants.order.isEmpty)
    pool.release(blocks[0])
    #expect(grants.order == [1])
  }
}
