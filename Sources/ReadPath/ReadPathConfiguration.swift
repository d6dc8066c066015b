public import Basics

/// What bounds the read path. Lengths are in bytes.
public struct ReadPathConfiguration: Sendable {
  /// GETs that may be under way at once, at least 1. Those that somebody waits for go first, and a quarter is kept from
  /// fetching ahead.
  public var maximumGets = 32
  /// Whether several buckets share these: then none has more than three quarters of what the others leave.
  public var isShared = false
  /// How far ahead of a reader, and in which pieces, is fetched.
  public var readAhead = ReadAheadPlanner.Limits()
  /// Ranges that `ObjectReader.copy` fetches at once, at least 1.
  public var copyParallelism = 4
  /// Seconds after which memory that nobody reads is given back to the system (at most twice that).
  public var idleSeconds = 10.0
  /// Runs work once, after some seconds, on a thread that may be used for a few milliseconds. Where nil, somebody calls
  /// `ReadPath.trim` every few seconds.
  public var schedule: (@Sendable (_ seconds: Double, _ work: @escaping @Sendable () -> Void) -> Void)?
  /// The clock by which a timer that fires too early (at shutdown) is recognised.
  public var time = TimeSource.system

  /// The defaults.
  public init() {}
}
