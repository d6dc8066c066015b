import Basics
import Synchronization

/// Lets any number of threads wait until something has happened once. Thread-safe.
final class Gateway: Sendable {
  private struct State {
    var isOpen = false
    var waiters: [Semaphore] = []
  }

  private let state = Mutex(State())

  /// Lets everybody through, now and later.
  func open() {
    let waiters = state.withLock { state in
      state.isOpen = true
      defer { state.waiters = [] }
      return state.waiters
    }
    for waiter in waiters { waiter.signal() }
  }

  /// Whether `open` was called.
  var isOpen: Bool { state.withLock { $0.isOpen } }

  /// Blocks until `open` was called.
  func waitUntilOpen() {
    let semaphore: Semaphore? = state.withLock { state in
      guard !state.isOpen else { return nil }
      let semaphore = Semaphore()
      state.waiters.append(semaphore)
      return semaphore
    }
    semaphore?.wait()
  }
}
