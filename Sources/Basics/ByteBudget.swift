import Synchronization

/// A number of bytes that many share, by blocking: who asks first gets first. Thread-safe.
///
/// Not to be asked for more by somebody who already holds some: two of them could wait for each other.
public final class ByteBudget: Sendable {
  private struct State {
    var free: UInt64
    var queue: [(bytes: UInt64, wake: Semaphore)] = []
  }

  /// How many bytes there are in all.
  public let total: UInt64
  private let state: Mutex<State>

  /// A budget of `total` bytes.
  public init(total: UInt64) {
    self.total = total
    state = Mutex(State(free: total))
  }

  /// How many bytes are held.
  public var used: UInt64 { state.withLock { total - $0.free } }

  /// Runs `body` while it holds `bytes`, at most the whole budget.
  public func holding<Value, Failure: Error>(
    _ bytes: UInt64, _ body: () throws(Failure) -> Value
  ) throws(Failure) -> Value {
    let bytes = min(bytes, total)
    take(bytes)
    defer { give(bytes) }
    return try body()
  }

  private func take(_ bytes: UInt64) {
    let wake: Semaphore? = state.withLock { state in
      if state.queue.isEmpty, state.free >= bytes {
        state.free -= bytes
        return nil
      }
      let wake = Semaphore()
      state.queue.append((bytes, wake))
      return wake
    }
    wake?.wait()
  }

  private func give(_ bytes: UInt64) {
    let awake: [Semaphore] = state.withLock { state in
      state.free += bytes
      var awake: [Semaphore] = []
      while let first = state.queue.first, state.free >= first.bytes {
        state.free -= first.bytes
        awake.append(first.wake)
        state.queue.removeFirst()
      }
      return awake
    }
    for semaphore in awake { semaphore.signal() }
  }
}
