import Basics
import Synchronization
public import SystemPackage

/// The room on a disk that the journals of one mount have together: see `JournalSpace`. Thread-safe; its mutex is a
/// leaf.
public final class JournalRoom: Sendable {
  fileprivate struct Member {
    /// Bytes that it has reserved.
    var used: UInt64 = 0
    /// How many of its uploads are under way that will give some back.
    var freeing = 0
  }

  fileprivate struct State {
    var members: [Member] = []
    /// The sum of what they have reserved.
    var used: UInt64 = 0
    /// What may be reserved before the disk is asked again.
    var allowance: UInt64 = 0
    /// The sum of the members'.
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
      state.members.append(Member())
      return state.members.count - 1
    }
  }

  /// The most that all may reserve together; nil where only the disk's room counts.
  var limit: UInt64? { bounds.limit }

  func used(by member: Int) -> UInt64 { state.withLock { $0.members[member].used } }

  func reserve(
    _ bytes: UInt64, for member: Int, waits: Bool, _ cancellation: Cancellation? = nil
  ) throws(Errno) {
    var look: Look?
    while true {
      switch state.withLock({ answer(&$0, bytes, member, look, waits: waits) }) {
      case .granted: return
      case .refused: throw .noSpace
      case .askDisk:
        let wakes = state.withLock { $0.wakes }
        look = Look(room: roomOnDisk(), wakes: wakes)
      case .wait(let waiter):
        let token = cancellation?.addHandler { waiter.signal() }
        waiter.wait()
        cancellation?.removeHandler(token)
        guard cancellation?.isCancelled != true else {
          // It may have been woken by room that it does not take: the others look for themselves.
          state.withLock { state in state.waiters.removeAll { $0 === waiter } }
          throw .interrupted
        }
        look = nil
      }
    }
  }

  func release(_ bytes: UInt64, of member: Int) {
    guard bytes > 0 else { return }
    wakeWaiters { state in
      let bytes = min(bytes, state.members[member].used)
      state.members[member].used -= bytes
      state.used -= min(state.used, bytes)
    }
  }

  func changeFreeing(by difference: Int, of member: Int) {
    wakeWaiters { state in
      let change = max(-state.members[member].freeing, difference)
      state.members[member].freeing += change
      state.freeing += change
    }
  }

  func adopt(_ bytes: UInt64, for member: Int) { state.withLock { $0.add(bytes, member) } }

  func isTight(for member: Int) -> Bool {
    state.withLock { state in
      let half = bounds.limit.map { $0 / 2 } ?? .max
      let isMuch = isShared && state.members[member].used > half / 2
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
    let mine = state.members[member].used
    let needed = needed(bytes, mine)
    if let limit = bounds.limit {
      guard self.needed(bytes, 0) <= limit else { return .refused }
      if state.used.clampedSum(needed) > limit {
        return wait(&state, member, waits, othersCanHelp: mine.clampedSum(needed) <= limit)
      }
    }
    if let look {
      guard look.room >= needed else {
        guard state.wakes == look.wakes else { return .askDisk }
        let others = state.used - min(state.used, mine)
        return wait(&state, member, waits, othersCanHelp: look.room.clampedSum(others) >= needed)
      }
      state.allowance = min(Self.askAgainAfter, look.room - bytes)
    } else {
      guard state.allowance >= bytes else { return .askDisk }
      state.allowance -= bytes
    }
    state.add(bytes, member)
    return .granted
  }

  /// - Parameter othersCanHelp: whether there would be room if the others had none of it. Else only what the member
  ///   itself gives back can help, and other buckets that are busy are no reason to wait.
  private func wait(_ state: inout State, _ member: Int, _ waits: Bool, othersCanHelp: Bool) -> Answer {
    let freeing = othersCanHelp ? state.freeing : state.members[member].freeing
    guard waits, freeing > 0 else { return .refused }
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
    members[member].used = members[member].used.clampedSum(bytes)
    used = used.clampedSum(bytes)
  }
}
