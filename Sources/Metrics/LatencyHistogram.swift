/// How often which durations were measured. A plain value.
public struct LatencyHistogram: Hashable, Sendable {
  /// By bucket of `LatencyScale`.
  public private(set) var counts: [UInt64]
  /// Sum of all durations in nanoseconds; wraps at 2^64, after 584 years.
  public private(set) var sum: UInt64

  /// Nothing was measured.
  public init() {
    counts = Array(repeating: 0, count: LatencyScale.count)
    sum = 0
  }

  init(counts: [UInt64], sum: UInt64) {
    self.counts = counts
    self.sum = sum
  }

  /// Counts a duration in nanoseconds.
  public mutating func record(_ nanoseconds: UInt64) {
    counts[LatencyScale.bucket(of: nanoseconds)] += 1
    sum &+= nanoseconds
  }

  /// Adds what another one has counted.
  public mutating func add(_ other: LatencyHistogram) {
    for bucket in counts.indices { counts[bucket] += other.counts[bucket] }
    sum &+= other.sum
  }

  /// How many durations were measured.
  public var count: UInt64 { counts.reduce(0, +) }

  /// How many were not longer than a bound in nanoseconds; exact for the bounds of buckets.
  public func count(upTo bound: UInt64) -> UInt64 {
    counts.indices.reduce(0) { LatencyScale.upperBound(of: $1) <= bound ? $0 + counts[$1] : $0 }
  }

  /// The duration in nanoseconds that the given part of all were not longer than, to one part in sixteen; nil when
  /// nothing was measured.
  /// - Parameter part: 0...1, such as 0.99.
  public func quantile(_ part: Double) -> UInt64? {
    let total = count
    guard total > 0 else { return nil }
    let rank = max(1, min(total, UInt64((Double(total) * min(max(part, 0), 1)).rounded(.up))))
    var seen: UInt64 = 0
    for bucket in counts.indices {
      seen += counts[bucket]
      guard seen >= rank else { continue }
      return LatencyScale.lowerBound(of: bucket) / 2 + LatencyScale.upperBound(of: bucket) / 2
    }
    return nil
  }
}

/// A histogram that many threads count into without a lock. Thread-safe.
public final class LatencyRecorder: Sendable {
  /// The buckets, and behind them the sum.
  private let counters = CounterBlock(count: LatencyScale.count + 1)

  /// Nothing was measured.
  public init() {}

  /// Counts a duration in nanoseconds.
  public func record(_ nanoseconds: UInt64) {
    counters.add(to: LatencyScale.bucket(of: nanoseconds))
    counters.add(nanoseconds, to: LatencyScale.count)
  }

  /// What was counted until now.
  public var histogram: LatencyHistogram {
    let all = counters.all
    return LatencyHistogram(counts: Array(all.dropLast()), sum: all[LatencyScale.count])
  }
}
