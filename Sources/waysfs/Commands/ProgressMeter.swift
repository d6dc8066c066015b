/// How fast uploads go, from how much was left at which time. A plain value; the caller has the clock.
///
/// What is left may grow meanwhile, as programs go on writing: only what went away counts for the rate.
struct ProgressMeter: Hashable, Sendable {
  private struct Sample: Hashable {
    var time: Double
    var bytes: UInt64
    /// Bytes that went away since the sample before.
    var done: UInt64
  }

  /// The rate is that of the last so many seconds: long enough for one part on a slow line.
  static let window = 10.0
  /// After fewer seconds a rate would be a guess.
  static let minimumSpan = 1.0

  private var samples: [Sample] = []

  /// Takes note of the bytes that are left, at a time in seconds that never goes back.
  mutating func add(bytes: UInt64, at time: Double) {
    let done = samples.last.map { $0.bytes > bytes ? $0.bytes - bytes : 0 } ?? 0
    samples.append(Sample(time: time, bytes: bytes, done: done))
    // One sample at or before the beginning of the window stays, to measure from.
    while samples.count > 2, samples[1].time <= time - Self.window { samples.removeFirst() }
  }

  /// Bytes per second, over the last seconds; nil as long as too little was seen.
  var rate: Double? {
    guard let first = samples.first, let last = samples.last, last.time - first.time >= Self.minimumSpan else {
      return nil
    }
    return Double(samples.dropFirst().reduce(0) { $0 + $1.done }) / (last.time - first.time)
  }

  /// Seconds until nothing is left at that rate; nil when there is no rate, or so little moves that the time would be a
  /// guess of more than a day.
  var secondsLeft: Double? {
    guard let rate, rate > 0, let last = samples.last else { return nil }
    let seconds = Double(last.bytes) / rate
    return seconds <= 86_400 ? seconds : nil
  }
}

/// Times for people.
enum DurationText {
  /// `8 s`, `2 min 10 s`, `3 h 5 min`.
  static func text(seconds: Double) -> String {
    let whole = Int(min(max(0, seconds), 1e9).rounded(.up))
    switch whole {
    case ..<60: return "\(whole) s"
    case ..<3600: return whole % 60 == 0 ? "\(whole / 60) min" : "\(whole / 60) min \(whole % 60) s"
    default: return whole % 3600 < 60 ? "\(whole / 3600) h" : "\(whole / 3600) h \(whole % 3600 / 60) min"
    }
  }
}
