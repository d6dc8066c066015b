import Basics
import Synchronization
public import SystemPackage

/// The room on a disk that the journals of one mount have together: see `JournalSpace`. Thread-safe; its mutex is a
/// leaf.
public final class JournalRoom: Sendable {
  fileprivate struct State {
    /// Bytes that each member has reserved.
    var members: [UInt64] = []
    /// The sum of these.
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
  private let isShared: Bool
  private let disk: @Sendable () -> DiskRoom?
  private let state = Mutex(State())

  /// Room on a disk.
  /// - Parameters:
  ///   - root: the directory the journals are in.
  ///   - isShared: whether there may be several of them, and each is to leave something to the others.
  public convenience init(root: FilePath, bounds: JournalBounds = JournalBounds(), isShared: Bool) {
    self.init(bounds: bounds, isShared: isShared, disk: { DiskRoom.at(root) })
  }

  init(bounds: JournalBounds, isShared: Bool, disk: @escaping @Sendable () -> DiskRoom?) {
    self.bounds = bounds
    self.isShared = isShared
    self.disk = disk
  }

  func addMember() -> Int {
    state.withLock { state in
      state.members.append(0)
      return state.members.count - 1
    }
  }

  /// The most that all may reserve together; nil where only the disk's room counts.
  var limit: UInt64? { bounds.limit }

  func used(by member: Int) -> UInt64 { state.withLock { $0.members[member] } }

  func reserve(_ bytes: UInt64, for member: Int, waits: Bool) throws(Errno) {
    var look: Look?
    while true {
      switch state.withLock({ answer(&$0, bytes, member, look, waits: waits) }) {
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

  func release(_ bytes: UInt64, of member: Int) {
    guard bytes > 0 else { return }
    wakeWaiters { state in
      let bytes = min(bytes, state.members[member])
      state.members[member] -= bytes
      state.used -= min(state.used, bytes)
    }
  }

  func changeFreeing(by difference: Int) { wakeWaiters { $0.freeing = max(0, $0.freeing + difference) } }

  func adopt(_ bytes: UInt64, for member: Int) { state.withLock { $0.add(bytes, member) } }

  func isTight(for member: Int) -> Bool {
    state.withLock { state in
      let half = bounds.limit.map { $0 / 2 } ?? .max
      let isMuch = isShared && state.members[member] > half / 2
      return !state.waiters.isEmpty || state.used > half || isMuch
    }
  }

  var waitingCount: Int { state.withLock { $0.waiters.count } }

  /// What must be free so that somebody who has `mine` already may have more: of a shared room the half of what the
  /// others leave is the most that one can have.
  private func needed(_ bytes: UInt64, _ mine: UInt64) -> UInt64 {
    isShared ? mine.clampedSum(bytes).clampedSum(bytes) : bytes
  }

  private func answer(
    _ state: inout State, _ bytes: UInt64, _ member: Int, _ look: Look?, waits: Bool
  ) -> Answer {
    let needed = needed(bytes, state.members[member])
    if let limit = bounds.limit {
      guard self.needed(bytes, 0) <= limit else { return .refused }
      if state.used.clampedSum(needed) > limit { return wait(&state, waits) }
    }
    if let look {
      guard look.room >= needed else { return state.wakes == look.wakes ? wait(&state, waits) : .askDisk }
      state.allowance = min(Self.askAgainAfter, look.room - bytes)
    } else {
      guard state.allowance >= bytes else { return .askDisk }
      state.allowance -= bytes
    }
    state.add(bytes, member)
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

extension JournalRoom.State {
  fileprivate mutating func add(_ bytes: UInt64, _ member: Int) {
    members[member] = members[member].clampedSum(bytes)
    used = used.clampedSum(bytes)
  }
}
