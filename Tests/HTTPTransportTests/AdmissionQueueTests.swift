import Testing

@testable import HTTPTransport

@Suite struct AdmissionQueueTests {
  private typealias Lane = AdmissionQueue.Lane
  private let a = Lane(host: "a")
  private let b = Lane(host: "b")

  @Test func firstComeFirstServedUpToTheLimit() {
    var queue = AdmissionQueue(perHost: 2, total: 10)
    for id in 1...4 as ClosedRange<UInt64> { queue.enqueue(id, a) }
    #expect(queue.admit() == 1)
    #expect(queue.admit() == 2)
    #expect(queue.admit() == nil)
    queue.finish(a)
    #expect(queue.admit() == 3)
    #expect(queue.admit() == nil)
  }

  @Test func aFullHostDoesNotHoldUpAnother() {
    var queue = AdmissionQueue(perHost: 1, total: 10)
    queue.enqueue(1, a)
    queue.enqueue(2, a)
    queue.enqueue(3, b)
    #expect(queue.admit() == 1)
    #expect(queue.admit() == 3)
    #expect(queue.admit() == nil)
    queue.finish(b)
    #expect(queue.admit() == nil)
    queue.finish(a)
    #expect(queue.admit() == 2)
  }

  @Test func theTotalLimitHoldsAcrossHosts() {
    var queue = AdmissionQueue(perHost: 5, total: 2)
    for (id, host) in [(1, "a"), (2, "b"), (3, "c")] as [(UInt64, String)] { queue.enqueue(id, Lane(host: host)) }
    #expect(queue.admit() == 1)
    #expect(queue.admit() == 2)
    #expect(queue.admit() == nil)
    queue.finish(b)
    #expect(queue.admit() == 3)
  }

  @Test func onlyWaitingTransfersAreRemoved() {
    var queue = AdmissionQueue(perHost: 1, total: 10)
    for id in 1...5 as ClosedRange<UInt64> { queue.enqueue(id, a) }
    #expect(queue.admit() == 1)
    #expect(queue.remove(1, a) == false)
    #expect(queue.remove(3, a) == true)
    #expect(queue.remove(3, a) == false)
    #expect(queue.remove(4, b) == false)
    #expect(queue.remove(5, a) == true)
    var rest: [UInt64] = []
    for _ in 0..<4 {
      queue.finish(a)
      if let id = queue.admit() { rest.append(id) }
    }
    #expect(rest == [2, 4])
  }

  @Test func surplusFinishesAndLowLimitsAreHarmless() {
    var queue = AdmissionQueue(perHost: 0, total: -1)
    queue.finish(a)
    queue.enqueue(1, a)
    queue.enqueue(2, a)
    #expect(queue.admit() == 1)
    #expect(queue.admit() == nil)
    queue.finish(a)
    queue.finish(a)
    #expect(queue.admit() == 2)
    #expect(queue.admit() == nil)
  }

  @Test func longQueuesKeepTheirOrder() {
    var queue = AdmissionQueue(perHost: 1, total: 1)
    for id in 0..<2000 as Range<UInt64> { queue.enqueue(id, a) }
    for id in 500..<600 as Range<UInt64> {
      let removed = queue.remove(id, a)
      #expect(removed)
    }
    var order: [UInt64] = []
    while let id = queue.admit() {
      order.append(id)
      queue.finish(a)
    }
    #expect(order == Array(0..<500) + Array(600..<2000))
  }

  @Test func theGroupWithTheFewestUnderWayGoesFirst() {
    var queue = AdmissionQueue(perHost: 8, total: 8, isShared: true)
    let (busy, calm) = (Lane(host: "a", group: "busy"), Lane(host: "a", group: "calm"))
    for id in 1...100 as ClosedRange<UInt64> { queue.enqueue(id, busy) }
    for id in 1...6 as ClosedRange<UInt64> { #expect(queue.admit() == id) }
    // A quarter of what the others leave stays free.
    #expect(queue.admit() == nil)
    for id in 101...103 as ClosedRange<UInt64> { queue.enqueue(id, calm) }
    #expect(queue.admit() == 101)
    #expect(queue.admit() == nil)
    queue.finish(busy)
    #expect(queue.admit() == 102)
    queue.finish(calm)
    queue.finish(calm)
    #expect(queue.admit() == 103)
    #expect(queue.admit() == nil)
    queue.finish(calm)
    #expect(queue.admit() == 7)
  }

  @Test func groupsThatNeverEndLeaveRoomForOthers() {
    var queue = AdmissionQueue(perHost: 32, total: 32, isShared: true)
    var id: UInt64 = 0
    for group in ["first", "second", "third", "fourth"] {
      for _ in 0..<100 {
        id += 1
        queue.enqueue(id, Lane(host: "a", group: group))
      }
      let first = id - 99
      #expect(queue.admit() == first)
      while queue.admit() != nil {}
    }
  }
}
