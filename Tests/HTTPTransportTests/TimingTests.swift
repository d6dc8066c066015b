import Testing

@testable import HTTPTransport

@Suite struct TimerQueueTests {
  @Test func workComesOutByTimeThenByArrival() {
    var queue = TimerQueue<Int>()
    let deadlines: [UInt64] = [50, 10, 30, 10, 20, 50, 0, 30]
    for (index, deadline) in deadlines.enumerated() { queue.add(deadline: deadline, index) }
    #expect(queue.nextDeadline == 0)
    var order: [Int] = []
    while let work = queue.take(dueAt: 30) { order.append(work) }
    #expect(order == [6, 1, 3, 4, 2, 7])
    #expect(queue.nextDeadline == 50)
    #expect(queue.take(dueAt: 49) == nil)
    #expect(queue.take(dueAt: 50) == 0)
    #expect(queue.take(dueAt: .max) == 5)
    #expect(queue.take(dueAt: .max) == nil)
    #expect(queue.nextDeadline == nil)
  }

  @Test func manyEntriesComeOutSorted() {
    var queue = TimerQueue<UInt64>()
    var state: UInt64 = 7
    for _ in 0..<2000 {
      state = state &* 6_364_136_223_846_793_005 &+ 1
      queue.add(deadline: state >> 54, state >> 54)
    }
    var taken: [UInt64] = []
    while let work = queue.take(dueAt: .max) { taken.append(work) }
    #expect(taken.count == 2000)
    #expect(taken == taken.sorted())
  }
}

@Suite struct StallDetectorTests {
  private let second: UInt64 = 1_000_000_000

  @Test func silenceIsAStallAfterTheLimitAndNotBefore() {
    var detector = StallDetector(limit: 2 * second, bytesPerSecond: 1, now: 10 * second)
    #expect(detector.isStalled(now: 10 * second, bytes: 0) == false)
    #expect(detector.isStalled(now: 12 * second - 1, bytes: 0) == false)
    #expect(detector.isStalled(now: 12 * second, bytes: 0) == true)
  }

  @Test func progressStartsTheClockAgain() {
    var detector = StallDetector(limit: 2 * second, bytesPerSecond: 1, now: 0)
    #expect(detector.isStalled(now: second, bytes: 1_000_000) == false)
    #expect(detector.isStalled(now: 3 * second - 1, bytes: 1_000_000) == false)
    #expect(detector.isStalled(now: 3 * second, bytes: 1_000_000) == true)
  }

  @Test func aTrickleBelowTheSpeedIsAStall() {
    var detector = StallDetector(limit: 2 * second, bytesPerSecond: 100, now: 0)
    #expect(detector.isStalled(now: second, bytes: 50) == false)
    #expect(detector.isStalled(now: 2 * second, bytes: 150) == true)
    var faster = StallDetector(limit: 2 * second, bytesPerSecond: 100, now: 0)
    for tick in 1...20 as ClosedRange<UInt64> {
      #expect(faster.isStalled(now: tick * second / 2, bytes: Int64(tick) * 50) == false)
    }
  }

  @Test func aSpeedOfZeroStillAsksForProgress() {
    var detector = StallDetector(limit: second, bytesPerSecond: 0, now: 0)
    #expect(detector.isStalled(now: second, bytes: 0) == true)
  }

  @Test func aCountThatFallsIsNoProgress() {
    var detector = StallDetector(limit: second, bytesPerSecond: 1, now: 0)
    #expect(detector.isStalled(now: 1, bytes: 100) == false)
    #expect(detector.isStalled(now: 1 + second, bytes: 50) == true)
  }
}

@Suite struct DurationTests {
  @Test func secondsAreClampedToWhatLibcurlTakes() {
    #expect(nanoseconds(1.5) == 1_500_000_000)
    for tiny in [0, -1, -.infinity, .nan, 1e-9] { #expect(nanoseconds(tiny) == 1_000_000) }
    for huge in [1e300, .infinity] { #expect(nanoseconds(huge) / 1_000_000 < 1 << 31) }
  }
}
