import Glibc
import Testing

@testable import Metrics

struct CounterTests {
  @Test func countersAreApart() {
    let counters = CounterBlock(count: 3)
    counters.add(to: 0)
    counters.add(5, to: 2)
    #expect(counters.all == [1, 0, 5] && counters[2] == 5)
    counters.add(.max, to: 2)
    #expect(counters[2] == 4)
  }

  @Test func noneIsLostAmongManyThreads() async {
    let (counters, recorder) = (CounterBlock(count: 2), LatencyRecorder())
    await withTaskGroup(of: Void.self) { group in
      for thread in 0..<8 {
        group.addTask {
          for number in 0..<5000 {
            counters.add(to: thread % 2)
            recorder.record(UInt64(number))
          }
        }
      }
    }
    #expect(counters.all == [20_000, 20_000])
    let histogram = recorder.histogram
    #expect(histogram.count == 40_000)
    #expect(histogram.sum == 8 * 5000 * 4999 / 2)
  }
}
