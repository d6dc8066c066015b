import Testing

@testable import HTTPTransport

@Suite struct AdmissionQueueTests {
  @Test func firstComeFirstServedUpToTheLimit() {
    var queue = AdmissionQueue(perHost: 2, total: 10)
    for id in 1...4 as ClosedRange<UInt64> { queue.enqueue(id, host: "a") }
    #expect(queue.admit() == 1)
    #expect(queue.admit() == 2)
    #expect(queue.admit() == nil)
    queue.finish(host: "a")
    #expect(queue.admit() == 3)
    #expect(queue.admit() == nil)
  }

  @Test func aFullHostDoesNotHoldUpAnother() {
    var queue = AdmissionQueue(perHost: 1, total: 10)
    queue.enqueue(1, host: "a")
    queue.enqueue(2, host: "a")
    queue.enqueue(3, host: "b")
    #expect(queue.admit() == 1)
    #expect(queue.admit() == 3)
    #expect(queue.admit() == nil)
    queue.finish(host: "b")
    #expect(queue.admit() == nil)
    queue.finish(host: "a")
    #expect(queue.admit() == 2)
  }

  @Test func theTotalLimitHoldsAcrossHosts() {
    var queue = AdmissionQueue(perHost: 5, total: 2)
    for (id, host) in [(1, "a"), (2, "b"), (3, "c")] as [(UInt64, String)] { queue.enqueue(id, host: host) }
    #expect(queue.admit() == 1)
    #expect(queue.admit() == 2)
    #expect(queue.admit() == nil)
    queue.finish(host: "b")
    #expect(queue.admit() == 3)
  }

  @Test func onlyWaitingTransfersAreRemoved() {
    var queue = AdmissionQueue(perHost: 1, total: 10)
    for id in 1...5 as ClosedRange<UInt64> { queue.enqueue(id, host: "a") }
    #expect(queue.admit() == 1)
    #expect(queue.remove(1, host: "a") == false)
    #expect(queue.remove(3, host: "a") == true)
    #expect(queue.remove(3, host: "a") == false)
    #expect(queue.remove(4, host: "b") == false)
    #expect(queue.remove(5, host: "a") == true)
    var rest: [UInt64] = []
    for _ in 0..<4 {
      queue.finish(host: "a")
      if let id = queue.admit() { rest.append(id) }
    }
    #expect(rest == [2, 4])
  }

  @Test func surplusFinishesAndLowLimitsAreHarmless() {
    var queue = AdmissionQueue(perHost: 0, total: -1)
    queue.finish(host: "a")
    queue.enqueue(1, host: "a")
    queue.enqueue(2, host: "a")
    #expect(queue.admit() == 1)
    #expect(queue.admit() == nil)
    queue.finish(host: "a")
    queue.finish(host: "a")
    #expect(queue.admit() == 2)
    #expect(queue.admit() == nil)
  }

  @Test func longQueuesKeepTheirOrder() {
    var queue = AdmissionQueue(perHost: 1, total: 1)
    for id in 0..<2000 as Range<UInt64> { queue.enqueue(id, host: "a") }
    for id in 500..<600 as Range<UInt64> {
      let removed = queue.remove(id, host: "a")
      #expect(removed)
    }
    var order: [UInt64] = []
    while let id = queue.admit() {
      order.append(id)
      queue.finish(host: "a")
    }
    #expect(order == Array(0..<500) + Array(600..<2000))
  }
}
