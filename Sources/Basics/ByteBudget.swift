import Synchronization

/// A number of bytes that many share, by blocking: who asks first gets first, but nobody more than its share
/// (`SharedPlaces`). Thread-safe.
///
/// Not to be asked for more by somebody who already holds some: two of them could wait for each other.
public final class ByteBudget: Sendable {
  private struct State {
    var bytes: SharedPlaces<Int>
    var members = 1
    var queue: [(member: Int, bytes: Int, wake: Semaphore)] = []

    /// Takes those out of the queue whose turn it is.
    mutating func admit() -> [Semaphore] {
      var awake: [Semaphore] = []
      var index = 0
      while index < queue.count {
        let next = queue[index]
        guard bytes.allows(next.member, next.bytes) else {
          index += 1
          continue
        }
        // Nobody who wants less overtakes.
        guard bytes.hasRoom(for: next.bytes) else { break }
        bytes.take(next.member, next.bytes)
        awake.append(next.wake)
        queue.remove(at: index)
      }
      return awake
    }
  }

  private final class Core: Sendable {
    let state: Mutex<State>

    init(_ state: State) { self.state = Mutex(state) }
  }

  /// How many bytes there are in all.
  public let total: UInt64
  private let core: Core
  private let member: Int

  /// A budget of `total` bytes.
  /// - Parameter isShared: whether others get shares of it.
  public convenience init(total: UInt64, isShared: Bool = false) {
    let bytes = SharedPlaces<Int>(Int(clamping: total), isShared: isShared)
    self.init(Core(State(bytes: bytes)), total, member: 0)
  }

  private init(_ core: Core, _ total: UInt64, member: Int) {
    self.core = core
    self.total = total
    self.member = member
  }

  /// The same bytes for somebody else.
  public func share() -> ByteBudget {
    let member = core.state.withLock { state in
      defer { state.members += 1 }
      return state.members
    }
    return ByteBudget(core, total, member: member)
  }

  /// How many bytes are held, by all.
  public var used: UInt64 { core.state.withLock { UInt64($0.bytes.taken) } }

  /// Runs `body` while it holds `bytes`, at most the whole budget.
  public func holding<Value, Failure: Error>(
    _ bytes: UInt64, _ body: () throws(Failure) -> Value
  ) throws(Failure) -> Value {
    let bytes = Int(clamping: min(bytes, total))
    take(bytes)
    defer { give(bytes) }
    return try body()
  }

  private func take(_ bytes: Int) {
    let wake = Semaphore()
    let awake = core.state.withLock { state in
      state.queue.append((member, bytes, wake))
      return state.admit()
    }
    for semaphore in awake { semaphore.signal() }
    wake.wait()
  }

  private func give(_ bytes: Int) {
    let awake = core.state.withLock { state in
      state.bytes.giveBack(member, bytes)
      return state.admit()
    }
    for semaphore in awake { semaphore.signal() }
  }
}
