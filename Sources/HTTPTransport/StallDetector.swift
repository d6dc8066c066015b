/// Says when a transfer has been too slow for too long. A pure value.
///
/// libcurl's own low-speed check has a resolution of a second, averages over five (so that it reports a stall after a
/// fast start five seconds late), and its error cannot be told from that of the other deadlines.
struct StallDetector {
  private let limit: UInt64
  private let bytesPerSecond: Double
  private var mark: UInt64
  private var markBytes: Int64 = 0

  /// - Parameters:
  ///   - limit: how long a transfer may be too slow, in nanoseconds.
  ///   - bytesPerSecond: the speed below which it is; at least 1.
  ///   - now: when the check begins, in nanoseconds of the monotonic clock.
  init(limit: UInt64, bytesPerSecond: Int, now: UInt64) {
    self.limit = limit
    self.bytesPerSecond = Double(max(1, bytesPerSecond))
    mark = now
  }

  /// Tells how many bytes have moved by `now`, both directions together; returns whether the transfer has stalled.
  mutating func isStalled(now: UInt64, bytes: Int64) -> Bool {
    let elapsed = now > mark ? now - mark : 0
    // A piece that is large enough for the whole time since the mark makes up for a pause before it.
    if Double(bytes - markBytes) >= max(1, bytesPerSecond * Double(elapsed) / 1e9) {
      mark = now
      markBytes = bytes
      return false
    }
    return elapsed >= limit
  }
}
