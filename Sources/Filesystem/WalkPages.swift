import Basics
import Synchronization

/// The pages of a walk, for those who wait for the next. Thread-safe; its mutex is a leaf.
final class WalkPages: Sendable {
  private struct State {
    var taken = 0
    var isOver = false
    var waiters: [Semaphore] = []
  }

  /// Seconds after which somebody asks by himself.
  private static let patience = 0.5

  private let state = Mutex(State())

  /// How many were taken in so far.
  var taken: Int { state.withLock { $0.taken } }

  /// Blocks until more than so many were taken in, none come any more, or it takes too long.
  func wait(after seen: Int) {
    let wake = Semaphore()
    let waits = state.withLock { state in
      guard !state.isOver, state.taken <= seen else { return false }
      state.waiters.append(wake)
      return true
    }
    if waits { wake.wait(seconds: Self.patience) }
  }

  /// One more was taken in.
  func noteTaken() { release { $0.taken += 1 } }

  /// No more come.
  func end() { release { $0.isOver = true } }

  private func release(_ change: (inout State) -> Void) {
    let awake = state.withLock { state in
      change(&state)
      defer { state.waiters = [] }
      return state.waiters
    }
    for waiter in awake { waiter.signal() }
  }
}
