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

  private func enter(exclusive: Bool) {
    let wake: Semaphore? = state.withLock { state in
      if state.queue.isEmpty, admit(&state, exclusive) { return nil }
      let wake = Semaphore()
      state.queue.append((exclusive, wake))
      return wake
    }
    wake?.wait()
  }

  private func leave(exclusive: Bool) {
    let awake: [Semaphore] = state.withLock { state in
      if exclusive { state.alone = false } else { state.sharing -= 1 }
      var awake: [Semaphore] = []
      while let first = state.queue.first, admit(&state, first.exclusive) {
        awake.append(first.wake)
        state.queue.removeFirst()
      }
      return awake
    }
    for semaphore in awake { semaphore.signal() }
  }

  private func admit(_ state: inout State, _ exclusive: Bool) -> Bool {
    if state.alone || (exclusive && state.sharing > 0) { return false }
    if exclusive { state.alone = true } else { state.sharing += 1 }
    return true
  }
}
