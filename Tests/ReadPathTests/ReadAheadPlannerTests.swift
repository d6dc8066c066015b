import ObjectStore
import Testing

@testable import ReadPath

/// Feeds a planner and keeps account of what it would have fetched, at a resolution of 64 KiB.
private struct Account {
  var planner: ReadAheadPlanner
  let size: UInt64
  var there: [Bool]
  var asked: UInt64 = 0
  var demandGets = 0
  var longestWindow: UInt64 = 0

  init(size: UInt64) {
    self.size = size
    planner = ReadAheadPlanner(size: size)
    there = Array(repeating: false, count: Int((size + 64 * kib - 1) / (64 * kib)))
  }

  var fetched: UInt64 { UInt64(there.count(where: \.self)) * 64 * kib }

  @discardableResult
  mutating func read(_ offset: UInt64, _ count: UInt64, memory: UInt64 = 1 << 30) -> ReadAheadPlanner.Plan {
    let plan = planner.plan(offset: offset, count: count, memory: memory)
    let end = min(offset + count, size)
    asked += end - offset
    #expect(plan.demand.offset <= offset && plan.demand.end >= end, "the demand must cover what was asked")
    #expect(plan.demand.end <= size)
    #expect(plan.ahead.allSatisfy { $0.length > 0 && $0.length <= 8 * mib && $0.end <= size })
    #expect(plan.ahead.reduce(0) { $0 + $1.length } <= memory)
    #expect(zip(plan.ahead, plan.ahead.dropFirst()).allSatisfy { $0.end == $1.offset })
    let isHit = Granules.covering(ByteRange(offset: offset, length: end - offset)).allSatisfy { there[Int($0)] }
    if !isHit { demandGets += 1 }
    if !isHit || plan.extends { mark(plan.demand) }
    for range in plan.ahead {
      longestWindow = max(longestWindow, range.end - end)
      mark(range)
    }
    return plan
  }

  private mutating func mark(_ range: ByteRange) {
    for granule in Granules.covering(range) { there[Int(granule)] = true }
  }
}

@Suite struct ReadAheadPlannerTests {
  @Test(arguments: [4 * kib, 128 * kib, 1 * mib])
  func sequentialReadsNeverWaitOnceTheWindowIsOpen(piece: UInt64) {
    var account = Account(size: 512 * mib)
    var offset: UInt64 = 0
    while offset < account.size {
      account.read(offset, piece)
      offset += piece
    }
    // The first read, and those of the first window that arrive before anything is ahead of them.
    #expect(account.demandGets <= 2)
    #expect(account.fetched == account.size)
    #expect(account.longestWindow >= 56 * mib && account.longestWindow <= 64 * mib)
  }

  @Test func fetchedStaysInProportionToWhatWasRead() {
    var account = Account(size: 1 << 30)
    var offset: UInt64 = 0
    while offset < 20 * mib {
      account.read(offset, 128 * kib)
      offset += 128 * kib
      #expect(account.fetched <= 3 * offset + (offset < mib ? 2 : 8) * mib, "after \(offset) bytes")
    }
  }

  @Test func aFullWindowIsEightGets() {
    var account = Account(size: 2 << 30)
    var offset: UInt64 = 0
    var lengths: Set<UInt64> = []
    while offset < 512 * mib {
      let plan = account.read(offset, mib)
      if offset > 256 * mib { lengths.formUnion(plan.ahead.map(\.length)) }
      offset += mib
    }
    #expect(lengths == [8 * mib])
  }

  @Test func startInTheMiddleNeedsTwoReads() {
    var account = Account(size: 1 << 30)
    let start = 100 * mib
    #expect(account.read(start, 128 * kib).demand == ByteRange(offset: start, length: 128 * kib))
    let second = account.read(start + 128 * kib, 128 * kib)
    #expect(second.demand == ByteRange(offset: start + 128 * kib, length: mib))
    for step in 2..<800 { account.read(start + UInt64(step) * 128 * kib, 128 * kib) }
    #expect(account.demandGets <= 3)
  }

  @Test(arguments: [UInt64(1), 2, 3, 4, 5])
  func randomReadsFetchAtMostFourTimesWhatWasAsked(seed: UInt64) {
    var account = Account(size: 1 << 30)
    var random = SplitMix(seed)
    for _ in 0..<300 {
      account.read(UInt64.random(in: 0..<(1 << 30) - 64 * kib, using: &random), 64 * kib)
    }
    #expect(account.fetched <= 4 * account.asked, "\(account.fetched) for \(account.asked)")
  }

  @Test func alignedRandomReadsFetchAtMostThreeTimesWhatWasAsked() {
    var account = Account(size: 1 << 30)
    var random = SplitMix(9)
    for _ in 0..<300 {
      account.read(UInt64.random(in: 0..<16384, using: &random) * 64 * kib, 64 * kib)
    }
    #expect(account.fetched <= 3 * account.asked, "\(account.fetched) for \(account.asked)")
  }

  @Test func stridedReadsDoNotFetchTheGaps() {
    var account = Account(size: 1 << 30)
    var offset = 7 * mib
    while offset + 64 * kib < account.size {
      account.read(offset, 64 * kib)
      offset += mib
    }
    #expect(account.fetched <= 3 * account.asked, "\(account.fetched) for \(account.asked)")
  }

  @Test func denselyStridedReadsAreReadThrough() {
    var account = Account(size: 256 * mib)
    var offset: UInt64 = 0
    while offset + 96 * kib < account.size {
      account.read(offset, 96 * kib)
      offset += 128 * kib
    }
    #expect(account.demandGets <= 2)
  }

  @Test func reverseReadsFetchWhatWasAsked() {
    var account = Account(size: 256 * mib)
    var offset = account.size
    while offset > 0 {
      offset -= 128 * kib
      account.read(offset, 128 * kib)
    }
    #expect(account.fetched == account.size)
    #expect(account.asked == account.size)
    var part = Account(size: 1 << 30)
    for step in 1...100 { part.read((1 << 30) - UInt64(step) * 128 * kib, 128 * kib) }
    #expect(part.fetched <= part.asked + 2 * mib)
  }

  @Test func interleavedStreamsAreToldApart() {
    var account = Account(size: 1 << 30)
    var random = SplitMix(3)
    var positions: [UInt64] = [0, 100 * mib, 300 * mib, 500 * mib, 900 * mib]
    for _ in 0..<2000 {
      let stream = Int.random(in: 0..<positions.count, using: &random)
      account.read(positions[stream], 128 * kib)
      positions[stream] += 128 * kib
    }
    #expect(account.demandGets <= 3 * positions.count)
  }

  @Test func randomReadsDoNotDisturbAStream() {
    var account = Account(size: 1 << 30)
    var random = SplitMix(4)
    var sequentialMisses = 0
    for step in 0..<1000 {
      let before = account.demandGets
      account.read(UInt64(step) * 256 * kib, 256 * kib)
      sequentialMisses += account.demandGets - before
      for _ in 0..<4 { account.read(UInt64.random(in: 300 * mib..<1000 * mib, using: &random), 16 * kib) }
    }
    #expect(sequentialMisses <= 3)
  }

  @Test(arguments: [UInt64(1), 2, 3])
  func piecesOutOfOrderAreOneStream(seed: UInt64) {
    var account = Account(size: 1 << 30)
    var random = SplitMix(seed)
    // As the kernel does it: 1 MiB of read-ahead in pieces of 128 KiB, which threads deliver in any order.
    var pending: [UInt64] = []
    var next: UInt64 = 0
    for _ in 0..<2000 {
      while pending.count < 8 {
        pending.append(next)
        next += 128 * kib
      }
      account.read(pending.remove(at: Int.random(in: 0..<pending.count, using: &random)), 128 * kib)
    }
    #expect(account.demandGets <= 6)
    #expect(account.fetched <= next + 72 * mib)
  }

  @Test func firstPieceNeedNotBeTheFirstToArrive() {
    var planner = ReadAheadPlanner(size: 1 << 30)
    let plan = planner.plan(offset: 384 * kib, count: 128 * kib, memory: 1 << 30)
    #expect(plan.demand.offset == 0 && plan.demand.end >= mib)
    #expect(planner.plan(offset: 10 * mib, count: 128 * kib, memory: 1 << 30).demand.length == 128 * kib)
  }

  @Test func secondPassFromTheStartIsSequentialAtOnce() {
    var planner = ReadAheadPlanner(size: 1 << 30)
    for step in 0..<8 { _ = planner.plan(offset: UInt64(step) * 128 * mib + 5 * mib, count: kib, memory: 1 << 30) }
    #expect(planner.plan(offset: 0, count: 4 * kib, memory: 1 << 30).demand == ByteRange(offset: 0, length: mib))
  }

  @Test func windowShrinksWithMemoryAndGrowsBack() {
    var account = Account(size: 4 << 30)
    var offset: UInt64 = 0
    func run(_ account: inout Account, _ count: Int, memory: UInt64) {
      for _ in 0..<count {
        account.read(offset, mib, memory: memory)
        offset += mib
      }
    }
    run(&account, 300, memory: 1 << 30)
    account.longestWindow = 0
    run(&account, 100, memory: 4 * mib)
    account.longestWindow = 0
    run(&account, 100, memory: 4 * mib)
    #expect(account.longestWindow <= 4 * mib)
    run(&account, 100, memory: 0)
    let before = account.fetched
    let start = offset
    run(&account, 50, memory: 0)
    #expect(account.fetched - before <= offset - start + mib)
    run(&account, 400, memory: 1 << 30)
    #expect(account.longestWindow >= 56 * mib)
  }

  @Test func droppedPrefetchIsPlannedAgain() {
    var planner = ReadAheadPlanner(size: 1 << 30)
    var offset: UInt64 = 0
    var last = ByteRange(offset: 0, length: 0)
    while offset < 32 * mib {
      if let range = planner.plan(offset: offset, count: mib, memory: 1 << 30).ahead.last { last = range }
      offset += mib
    }
    planner.aheadDropped(from: last.offset)
    var again: [ByteRange] = []
    for _ in 0..<32 {
      again += planner.plan(offset: offset, count: mib, memory: 1 << 30).ahead
      offset += mib
    }
    #expect(again.first?.offset == last.offset)
  }

  @Test func droppedPrefetchIsPlannedAgainAlsoWhenAnotherThreadReadOn() {
    var planner = ReadAheadPlanner(size: 1 << 30)
    for step in 0..<32 { _ = planner.plan(offset: UInt64(step) * mib, count: mib, memory: 1 << 30) }
    planner.aheadDropped(from: 31 * mib)
    let plan = planner.plan(offset: 32 * mib, count: mib, memory: 1 << 30)
    #expect(plan.extends && plan.demand.offset == 32 * mib)
    #expect(plan.ahead.first?.offset == 33 * mib && (plan.ahead.last?.end ?? 0) > 40 * mib)
  }

  @Test func whatWasTakenAwayIsFetchedAgainAtOnce() throws {
    var planner = ReadAheadPlanner(size: 1 << 30)
    for step in 0..<32 { _ = planner.plan(offset: UInt64(step) * mib, count: mib, memory: 1 << 30) }
    let plan = planner.plan(offset: 32 * mib, count: mib, memory: 1 << 30)
    #expect(!plan.extends)
    let again = planner.aheadLost(at: 32 * mib, memory: 1 << 30)
    let last = try #require(again.last)
    #expect(again.first?.offset == 33 * mib && last.end > 60 * mib)
    #expect(planner.aheadLost(at: 500 * mib, memory: 1 << 30).isEmpty)
    #expect(planner.plan(offset: 33 * mib, count: mib, memory: 1 << 30).ahead.allSatisfy { $0.offset >= last.end })
  }

  @Test func smallObjectsAreFetchedWhole() {
    var planner = ReadAheadPlanner(size: 200 * kib)
    let plan = planner.plan(offset: 150 * kib, count: 10, memory: 0)
    #expect(plan.demand == ByteRange(offset: 0, length: 200 * kib) && plan.ahead.isEmpty)
  }

  @Test func hostileArguments() {
    var planner = ReadAheadPlanner(size: 1 << 60)
    for offset in [0, 1, (1 << 60) - 1, 1 << 59, 1 << 60, .max] as [UInt64] {
      for count in [0, 1, 1 << 20, .max] as [UInt64] {
        for memory in [0, 1, .max] as [UInt64] {
          let plan = planner.plan(offset: offset, count: count, memory: memory)
          #expect(plan.demand.length == 0 || plan.demand.end <= 1 << 60)
        }
      }
    }
    var empty = ReadAheadPlanner(size: 0)
    #expect(empty.plan(offset: 0, count: 1, memory: 1).demand.length == 0)
    var limits = ReadAheadPlanner.Limits()
    limits.maximumStreams = 0
    limits.randomUnit = 0
    limits.maximumGet = 0
    var odd = ReadAheadPlanner(size: 1 << 30, limits: limits)
    for step in 0..<100 { _ = odd.plan(offset: UInt64(step) * mib, count: mib, memory: .max) }
  }
}
