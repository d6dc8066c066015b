/// How fast a total has grown over the last seconds, from samples that somebody takes now and then. A plain value.
public struct RateWindow: Hashable, Sendable {
  private struct Sample: Hashable {
    var time: UInt64
    var total: UInt64
  }

  /// How far back it looks, in seconds.
  public let seconds: Double
  private var samples: [Sample] = []

  /// Without samples, which is a rate of 0.
  public init(seconds: Double = 10) { self.seconds = seconds }

  /// Takes a sample.
  /// - Parameters:
  ///   - total: what has been counted since the beginning.
  ///   - time: of a monotonic clock, in nanoseconds.
  public mutating func add(total: UInt64, at time: UInt64) {
    guard samples.last.map({ $0.time < time }) ?? true else { return }
    samples.append(Sample(time: time, total: total))
    let span = UInt64(seconds * 1e9)
    // The oldest is at least as old as the window is long, once there is one.
    while samples.count > 2, time - samples[1].time >= span { samples.removeFirst() }
  }

  /// Growth per second between the oldest sample of the window and the newest.
  public var rate: Double {
    guard let first = samples.first, let last = samples.last, last.time > first.time, last.total >= first.total
    else { return 0 }
    return Double(last.total - first.total) / (Double(last.time - first.time) / 1e9)
  }
}
