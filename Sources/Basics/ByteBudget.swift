import Synchronization

/// A number of bytes that many share, by blocking: who asks first gets first, but nobody more than its share
/// (`ByteQueue`). Thread-safe.
///
/// Not to be asked for more by somebody who already holds some: two of them could wait for each other.
public final class ByteBudget: Sendable {
  private struct State {
    var queue: ByteQueue<Semaphore>
    var members = 1
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
    let queue = ByteQueue<Semaphore>(total: Int(clamping: total), isShared: isShared)
    self.init(Core(State(queue: queue)), total, member: 0)
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
  public var used: UInt64 { core.state.withLock { UInt64($0.queue.used) } }

  /// Runs `body` while it holds `bytes`, at most the whole budget.
  public func holding<Value, Failure: Error>(
    _ bytes: UInt64, _ body: () throws(Failure) -> Value
  ) throws(Failure) -> Value {
    let bytes = Int(clamping: min(bytes, total))
    let wake = Semaphore()
    change { $0.ask(member, bytes, wake) }
    wake.wait()
    defer { change { $0.giveBack(member, bytes) } }
    return try body()
  }

  private func change(_ body: (inout ByteQueue<Semaphore>) -> [Semaphore]) {
    let awake = core.state.withLock { body(&$0.queue) }
    for semaphore in awake { semaphore.signal() }
  }
}
