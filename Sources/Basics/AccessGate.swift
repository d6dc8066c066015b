import Synchronization

/// Lets many pass together or one alone, by blocking; for sections that contain I/O, where a Mutex must not be held.
///
/// One who wants to be alone goes before those who come later, so neither side can be kept out for ever. Not
/// recursive. Thread-safe.
public final class AccessGate: Sendable {
  private struct State {
    var sharing = 0
    var alone = false
    var queue: [(exclusive: Bool, wake: Semaphore)] = []

    /// Lets in those who are next.
    mutating func admitWaiting() -> [Semaphore] {
      var awake: [Semaphore] = []
      while let first = queue.first, admit(first.exclusive) {
        awake.append(first.wake)
        queue.removeFirst()
      }
      return awake
    }

    mutating func admit(_ exclusive: Bool) -> Bool {
      if alone || (exclusive && sharing > 0) { return false }
      if exclusive { alone = true } else { sharing += 1 }
      return true
    }
  }

  private let state = Mutex(State())

  /// An open gate.
  public init() {}

  /// Runs `body` together with other sharers.
  public func shared<Value, Failure: Error>(_ body: () throws(Failure) -> Value) throws(Failure) -> Value {
    enter(exclusive: false)
    defer { leave(exclusive: false) }
    return try body()
  }

  /// Runs `body` alone.
  public func exclusive<Value, Failure: Error>(_ body: () throws(Failure) -> Value) throws(Failure) -> Value {
    enter(exclusive: true)
    defer { leave(exclusive: true) }
    return try body()
  }

  /// The same for a caller who may give up.
  /// - Parameters:
  ///   - cancellation: ends the wait; what has begun goes on.
  ///   - interrupted: what is thrown then.
  public func exclusive<Value, Failure: Error>(
    _ cancellation: Cancellation?, orThrow interrupted: Failure, _ body: () throws(Failure) -> Value
  ) throws(Failure) -> Value {
    if let wake = queue(exclusive: true) {
      wake.wait(cancellation)
      if givesUp(wake) { throw interrupted }
    }
    defer { leave(exclusive: true) }
    return try body()
  }

  private func enter(exclusive: Bool) { queue(exclusive: exclusive)?.wait() }

  /// - Returns: what to wait for; nil when the way is free.
  private func queue(exclusive: Bool) -> Semaphore? {
    state.withLock { state in
      if state.queue.isEmpty, state.admit(exclusive) { return nil }
      let wake = Semaphore()
      state.queue.append((exclusive, wake))
      return wake
    }
  }

  /// Whether who waited was not let in; then it is not in anybody's way any more.
  private func givesUp(_ wake: Semaphore) -> Bool {
    let awake: [Semaphore]? = state.withLock { state in
      guard let index = state.queue.firstIndex(where: { $0.wake === wake }) else { return nil }
      state.queue.remove(at: index)
      return state.admitWaiting()
    }
    guard let awake else { return false }
    for semaphore in awake { semaphore.signal() }
    return true
  }

  private func leave(exclusive: Bool) {
    let awake: [Semaphore] = state.withLock { state in
      if exclusive { state.alone = false } else { state.sharing -= 1 }
      return state.admitWaiting()
    }
    for semaphore in awake { semaphore.signal() }
  }
}
