/// A point in wall-clock time: seconds since 1970-01-01T00:00:00Z and the nanoseconds (0..<1e9) within that second.
public struct Timestamp: Hashable, Comparable, Sendable {
  /// Whole seconds since the Unix epoch; negative before it.
  public var seconds: Int64
  /// Nanoseconds after `seconds`, 0..<1_000_000_000.
  public var nanoseconds: UInt32

  /// Makes a timestamp from its two parts; `nanoseconds` is clamped to its range.
  public init(seconds: Int64, nanoseconds: UInt32 = 0) {
    self.seconds = seconds
    self.nanoseconds = min(nanoseconds, 999_999_999)
  }

  /// Orders timestamps by time.
  public static func < (left: Self, right: Self) -> Bool {
    (left.seconds, left.nanoseconds) < (right.seconds, right.nanoseconds)
  }
}
