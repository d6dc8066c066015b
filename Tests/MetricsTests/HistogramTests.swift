import Testing

@testable import Metrics

struct LatencyScaleTests {
  @Test func everyDurationIsInTheBucketWhoseBoundsHoldIt() {
    var durations: [UInt64] = [0, 1, 127, 128, 129, 1023, 1024, 1025, 1_000_000, 1_000_000_000]
    for shift in 0..<40 {
      let power = UInt64(1) << shift
      durations += [power - 1, power, power + 1, power + power / 3]
    }
    for duration in durations {
      let bucket = LatencyScale.bucket(of: duration)
      #expect(max(1, duration) > LatencyScale.lowerBound(of: bucket), "\(duration)")
      #expect(duration <= LatencyScale.upperBound(of: bucket), "\(duration)")
    }
  }

  @Test func bucketsFollowOneAnotherAndGrowSlowly() {
    for bucket in 1..<LatencyScale.count {
      let (low, high) = (LatencyScale.lowerBound(of: bucket), LatencyScale.upperBound(of: bucket))
      #expect(low < high && low == LatencyScale.upperBound(of: bucket - 1))
      if bucket >= 8 { #expect(Double(high - low) <= Double(low) / 8) }
    }
    #expect(LatencyScale.upperBound(of: 7) == 1024)
    #expect(LatencyScale.upperBound(of: 15) == 2048)
    #expect(LatencyScale.upperBound(of: LatencyScale.count - 1) == 1 << 40)
  }

  @Test func whatIsTooLongIsInTheLastBucket() {
    #expect(LatencyScale.bucket(of: 1 << 40) == LatencyScale.count - 1)
    #expect(LatencyScale.bucket(of: .max) == LatencyScale.count - 1)
  }
}

struct LatencyHistogramTests {
  @Test func nothingHasNoQuantiles() {
    let histogram = LatencyHistogram()
    #expect(histogram.count == 0 && histogram.sum == 0)
    #expect(histogram.quantile(0.5) == nil)
  }

  @Test func quantilesAreRightToOnePartInSixteen() throws {
    var histogram = LatencyHistogram()
    for microseconds in 1...1000 { histogram.record(UInt64(microseconds) * 1000) }
    #expect(histogram.count == 1000)
    #expect(histogram.sum == 500_500_000)
    for part in [0.001, 0.1, 0.5, 0.9, 0.99, 0.999, 1] {
      let exact = part * 1_000_000
      let found = Double(try #require(histogram.quantile(part)))
      #expect(abs(found - exact) <= exact / 16 + 128, "\(part): \(found)")
    }
    #expect(histogram.quantile(-1) == histogram.quantile(0))
    #expect(histogram.quantile(2) == histogram.quantile(1))
  }

  @Test func oneOutlierIsTheHighestQuantileOnly() throws {
    var histogram = LatencyHistogram()
    for _ in 0..<99 { histogram.record(1_000_000) }
    histogram.record(10_000_000_000)
    #expect(try #require(histogram.quantile(0.99)) < 1_100_000)
    #expect(try #require(histogram.quantile(1)) > 9_000_000_000)
  }

  @Test func countsUpToABoundOfABucketAreExact() {
    var histogram = LatencyHistogram()
    for duration: UInt64 in [1, 1024, 1025, 2048, 2049, 1 << 20, (1 << 20) + 1, 1 << 50] { histogram.record(duration) }
    #expect(histogram.count(upTo: 1024) == 2)
    #expect(histogram.count(upTo: 2048) == 4)
    #expect(histogram.count(upTo: 1 << 20) == 6)
    #expect(histogram.count(upTo: .max) == 8)
  }

  @Test func histogramsAddUp() {
    var (left, right, both) = (LatencyHistogram(), LatencyHistogram(), LatencyHistogram())
    for duration in stride(from: UInt64(1), to: 1 << 34, by: 77_777_777) {
      if duration % 2 == 0 { left.record(duration) } else { right.record(duration) }
      both.record(duration)
    }
    left.add(right)
    #expect(left == both)
  }
}

struct RateWindowTests {
  private let second: UInt64 = 1_000_000_000

  @Test func aRateTakesTwoSamples() {
    var window = RateWindow(seconds: 10)
    #expect(window.rate == 0)
    window.add(total: 500, at: 5 * second)
    #expect(window.rate == 0)
    window.add(total: 700, at: 7 * second)
    #expect(window.rate == 100)
  }

  @Test func whatIsOlderThanTheWindowDoesNotCount() {
    var window = RateWindow(seconds: 10)
    window.add(total: 0, at: 0)
    window.add(total: 1_000_000, at: second)
    for time in 2...30 { window.add(total: 1_000_000 + UInt64(time) * 10, at: UInt64(time) * second) }
    #expect(window.rate == 10)
    for time in 31...60 { window.add(total: 1_000_300, at: UInt64(time) * second) }
    #expect(window.rate == 0)
  }

  @Test func aClockThatStandsStillIsNoSample() {
    var window = RateWindow(seconds: 10)
    window.add(total: 0, at: second)
    window.add(total: 100, at: second)
    #expect(window.rate == 0)
    // Two threads may sample at once, and the later time have the smaller number.
    window = RateWindow(seconds: 10)
    window.add(total: 100, at: 0)
    window.add(total: 90, at: second)
    #expect(window.rate == 0)
  }

  @Test func longPausesBetweenSamplesAreNoReasonForTwo() {
    var window = RateWindow(seconds: 10)
    window.add(total: 0, at: 0)
    window.add(total: 600, at: 60 * second)
    #expect(window.rate == 10)
  }
}
