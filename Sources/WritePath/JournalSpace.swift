import Basics
import Glibc
import Synchronization
public import SystemPackage

/// How much room the journal may take.
public struct JournalBounds: Hashable, Sendable {
  /// Bytes that may be in use at once; nil: what the disk has.
  public var limit: UInt64?
  /// The part of its size that the disk keeps free, 0...1.
  public var freeFraction: Double

  /// Makes bounds; without a limit, 5% of the disk stay free.
  public init(limit: UInt64? = nil, freeFraction: Double = 0.05) {
    self.limit = limit
    self.freeFraction = freeFraction
  }
}

/// A disk's size and what this user may still write to it, in bytes.
struct DiskRoom: Hashable, Sendable {
  var size: UInt64
  var free: UInt64

  /// What statvfs(3) says; nil when it fails.
  static func at(_ path: FilePath) -> DiskRoom? {
    var info = statvfs()
    guard path.withPlatformString({ statvfs($0, &info) }) == 0 else { return nil }
    let block = UInt64(info.f_frsize)
    return DiskRoom(
      size: UInt64(info.f_blocks).multipliedClamped(by: block), free: UInt64(info.f_bavail).multipliedClamped(by: block)
    )
  }
}

/// The account of the journal's staging space.
///
/// Who writes reserves first. When there is no room, the writer waits as long as somebody is freeing: an upload is under
/// way whose end gives space back. Recovered and quarantined files are not counted, but for what they take of the disk.
///
/// Thread-safe; the mutex is held for a few memory accesses only.
public final class JournalSpace: Sendable {
  private struct State {
    var used: UInt64 = 0
    /// What may be reserved before the disk is asked again.
    var allowance: UInt64 = 0
    var freeing = 0
    var waiters: [Basics.Semaphore] = []
    /// Grows whenever waiters are woken.
    var wakes: UInt64 = 0
  }

  /// What the disk had, and the value of `wakes` before it was asked: what was given back later is not in it.
  private struct Look {
    var room: UInt64
    var wakes: UInt64
  }

  private enum Answer {
    case granted, refused
    case askDisk
    case wait(Basics.Semaphore)
  }

  /// The disk is asked again after that many bytes: rarely, and before much can have changed.
  private static let askAgainAfter: UInt64 = 16 << 20

  private let bounds: JournalBounds
  private let disk: @Sendable () -> DiskRoom?
  private let state = Mutex(State())

  init(bounds: JournalBounds, disk: @escaping @Sendable () -> DiskRoom?) {
    self.bounds = bounds
    self.disk = disk
  }

  /// The most that may be reserved; nil where only the disk's room counts.
  public var limit: UInt64? { bounds.limit }

  /// Bytes that are reserved.
  public var used: UInt64 { state.withLock { $0.used } }

  /// Adds to the bytes in use; blocks while there is no room and somebody is freeing. The caller must hold nothing that
  /// an upload needs to come to its end.
  /// - Throws: ENOSPC when there is no room and nobody is freeing, or when there can never be enough.
  public func reserve(_ bytes: UInt64) throws(Errno) { try reserve(bytes, waits: true) }

  /// `reserve`, that with `waits` false is refused where it would block.
  func reserve(_ bytes: UInt64, waits: Bool) throws(Errno) {
    var look: Look?
    while true {
      switch state.withLock({ answer(&$0, bytes, look, waits: waits) }) {
      case .granted: return
      case .refused: throw .noSpace
      case .askDisk:
        let wakes = state.withLock { $0.wakes }
        look = Look(room: roomOnDisk(), wakes: wakes)
      case .wait(let waiter):
        waiter.wait()
        look = nil
      }
    }
  }

  /// Gives bytes back.
  public func release(_ bytes: UInt64) {
    guard bytes > 0 else { return }
    wakeWaiters { $0.used -= min($0.used, bytes) }
  }

  /// Somebody has begun what will give space back: writers may wait for it.
  public func beginFreeing() { wakeWaiters { $0.freeing += 1 } }

  /// It has ended, in success or not.
  public func endFreeing() { wakeWaiters { $0.freeing = max(0, $0.freeing - 1) } }

  /// Counts bytes that an earlier mount wrote.
  func adopt(_ bytes: UInt64) { state.withLock { $0.used = $0.used.clampedSum(bytes) } }

  /// Whether a writer waits for room, or one may soon.
  public var isTight: Bool {
    state.withLock { state in
      let half = bounds.limit.map { $0 / 2 } ?? .max
      return !state.waiters.isEmpty || state.used > half
    }
  }

  /// How many callers wait.
  var waitingCount: Int { state.withLock { $0.waiters.count } }

  private func answer(
    _ state: inout State, _ bytes: UInt64, _ look: Look?, waits: Bool
  ) -> Answer {
    if let limit = bounds.limit {
      guard bytes <= limit else { return .refused }
      if state.used > limit - bytes { return wait(&state, waits) }
    }
    if let look {
      guard look.room >= bytes else { return state.wakes == look.wakes ? wait(&state, waits) : .askDisk }
      state.allowance = min(Self.askAgainAfter, look.room - bytes)
    } else {
      guard state.allowance >= bytes else { return .askDisk }
      state.allowance -= bytes
    }
    state.used = state.used.clampedSum(bytes)
    return .granted
  }

  private func wait(_ state: inout State, _ waits: Bool) -> Answer {
    guard waits, state.freeing > 0 else { return .refused }
    let waiter = Basics.Semaphore()
    state.waiters.append(waiter)
    return .wait(waiter)
  }

  /// What the disk has beyond what it is to keep free. A disk that does not say is taken to have room: the write itself
  /// will tell.
  private func roomOnDisk() -> UInt64 {
    guard let disk = disk() else { return .max }
    let fraction = min(max(0, bounds.freeFraction), 1)
    let keep = UInt64(exactly: (Double(disk.size) * fraction).rounded(.down)) ?? disk.size
    return disk.free > keep ? disk.free - keep : 0
  }

  private func wakeWaiters(_ change: (inout State) -> Void) {
    let waiters = state.withLock { state in
      change(&state)
      state.wakes += 1
      defer { state.waiters = [] }
      return state.waiters
    }
    for waiter in waiters { waiter.signal() }
  }
}

extension UInt64 {
  fileprivate func multipliedClamped(by other: UInt64) -> UInt64 {
    let (product, overflow) = multipliedReportingOverflow(by: other)
    return overflow ? .max : product
  }
}
