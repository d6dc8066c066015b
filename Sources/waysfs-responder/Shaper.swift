import Basics
import Glibc
import Synchronization

/// What a network between client and server would add: a delay of each answer, and a limit for the bytes in each
/// direction that all connections share. Thread-safe; may be changed at any time.
final class Shaper: Sendable {
  private let delay = Atomic<UInt64>(0)
  private let isLimited = Atomic<Bool>(false)
  private let inbound = Mutex(Pacer())
  private let outbound = Mutex(Pacer())

  enum Direction { case inbound, outbound }

  /// - Parameters:
  ///   - delay: nanoseconds before each answer.
  ///   - bandwidth: bytes a second in each direction; 0 for no limit.
  func set(delay nanoseconds: UInt64? = nil, bandwidth: UInt64? = nil) {
    if let nanoseconds { delay.store(nanoseconds, ordering: .relaxed) }
    if let bandwidth {
      inbound.withLock { $0 = Pacer(bytesPerSecond: bandwidth) }
      outbound.withLock { $0 = Pacer(bytesPerSecond: bandwidth) }
      isLimited.store(bandwidth > 0, ordering: .relaxed)
    }
  }

  var settings: (delay: UInt64, bandwidth: UInt64) {
    (delay.load(ordering: .relaxed), inbound.withLock { $0.bytesPerSecond })
  }

  /// How many bytes to move at a time, so that connections take turns; nil when it does not matter.
  var piece: Int? { isLimited.load(ordering: .relaxed) ? 64 << 10 : nil }

  /// Waits as long as a request and the first byte of its answer are under way.
  func pause() {
    let nanoseconds = delay.load(ordering: .relaxed)
    if nanoseconds > 0 { Self.sleep(until: TimeSource.system.monotonic + nanoseconds) }
  }

  /// Waits until bytes that were moved would have been.
  func wait(_ direction: Direction, bytes: Int) {
    guard isLimited.load(ordering: .relaxed) else { return }
    let now = TimeSource.system.monotonic
    let end =
      switch direction {
      case .inbound: inbound.withLock { $0.reserve(bytes: bytes, now: now) }
      case .outbound: outbound.withLock { $0.reserve(bytes: bytes, now: now) }
      }
    if end > now { Self.sleep(until: end) }
  }

  private static func sleep(until time: UInt64) {
    var time = timespec(tv_sec: Int(time / 1_000_000_000), tv_nsec: Int(time % 1_000_000_000))
    while clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &time, nil) == EINTR {}
  }
}

/// A line that takes a time for each byte: tells when bytes that want through now are through.
struct Pacer: Sendable {
  /// 0 for no limit.
  var bytesPerSecond: UInt64 = 0
  /// When the line is free again, on the monotonic clock.
  private var freeAt: UInt64 = 0

  /// Who is woken a little late may catch up on this much time.
  private static var slack: UInt64 { 5_000_000 }

  init(bytesPerSecond: UInt64 = 0) {
    self.bytesPerSecond = bytesPerSecond
  }

  /// When the last of these bytes is through, in nanoseconds on the clock of `now`.
  mutating func reserve(bytes: Int, now: UInt64) -> UInt64 {
    guard bytesPerSecond > 0 else { return now }
    let begin = max(freeAt, now - min(now, Self.slack))
    freeAt = begin + UInt64(Double(bytes) / Double(bytesPerSecond) * 1e9)
    return freeAt
  }
}

/// How settings are written: on the command line, and in the query of a request that changes them.
enum SettingText {
  /// `20ms`, `1.5s`, `250us`, or `0`; in nanoseconds.
  static func duration(_ text: String) -> UInt64? {
    scaled(text, [("ms", 1e6), ("us", 1e3), ("s", 1e9), ("", 0)])
  }

  /// `1Gbit/s`, `200Mbit/s`, or `0` for no limit; in bytes a second.
  static func bandwidth(_ text: String) -> UInt64? {
    scaled(text, [("Gbit/s", 125e6), ("Mbit/s", 125e3), ("kbit/s", 125), ("", 0)])
  }

  /// `4G` or `512M`; in bytes.
  static func size(_ text: String) -> UInt64? {
    scaled(text, [("G", 0x1p30), ("M", 0x1p20), ("", 0)])
  }

  /// A number without a unit must be 0, so that nobody has to know what it would mean.
  private static func scaled(_ text: String, _ units: [(suffix: String, factor: Double)]) -> UInt64? {
    guard let unit = units.first(where: { text.hasSuffix($0.suffix) }),
      let number = Double(text.dropLast(unit.suffix.count)), number >= 0, number <= 1e6
    else { return nil }
    if unit.suffix.isEmpty { return number == 0 ? 0 : nil }
    return UInt64(number * unit.factor)
  }
}
