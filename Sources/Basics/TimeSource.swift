import Glibc
import Synchronization

/// The two clocks a component may read, injected so that tests can set them.
public struct TimeSource: Sendable {
  private let readMonotonic: @Sendable () -> UInt64
  private let readWall: @Sendable () -> Timestamp

  /// Builds a time source from two closures; both are called from any thread.
  public init(monotonic: @escaping @Sendable () -> UInt64, wall: @escaping @Sendable () -> Timestamp) {
    readMonotonic = monotonic
    readWall = wall
  }

  /// Nanoseconds on a clock that never goes back. Only differences mean something.
  public var monotonic: UInt64 { readMonotonic() }

  /// The time of day.
  public var wall: Timestamp { readWall() }

  /// The kernel's clocks.
  public static let system = TimeSource(
    monotonic: {
      let now = read(CLOCK_MONOTONIC)
      return UInt64(now.tv_sec) * 1_000_000_000 + UInt64(now.tv_nsec)
    },
    wall: {
      let now = read(CLOCK_REALTIME)
      return Timestamp(seconds: Int64(now.tv_sec), nanoseconds: UInt32(now.tv_nsec))
    })

  private static func read(_ clock: clockid_t) -> timespec {
    var now = timespec()
    clock_gettime(clock, &now)
    return now
  }
}

/// A clock that stands still until it is moved, but for one nanosecond at each monotonic reading: as on a real clock,
/// what came later has a later time. Thread-safe.
public final class ManualClock: Sendable {
  private let nanoseconds: Atomic<UInt64>

  /// Starts at `seconds` on both clocks.
  public init(seconds: UInt64 = 1_000_000_000) {
    nanoseconds = Atomic(seconds * 1_000_000_000)
  }

  /// Moves both clocks forward.
  public func advance(seconds: Double) {
    nanoseconds.add(UInt64(seconds * 1e9), ordering: .relaxed)
  }

  /// The time source that reads this clock; its wall clock shows whole seconds.
  public var timeSource: TimeSource {
    TimeSource(
      monotonic: { self.nanoseconds.add(1, ordering: .relaxed).newValue },
      wall: {
        Timestamp(seconds: Int64(self.nanoseconds.load(ordering: .relaxed) / 1_000_000_000))
      })
  }
}
