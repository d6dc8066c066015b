import Synchronization

/// A GET that waits for its turn.
protocol ScheduledGet: AnyObject, Sendable {
  /// Starts it. Called once per `submit`, with no lock held; `done` is to be called exactly once when it has ended.
  func start(done: @escaping @Sendable () -> Void)
}

/// Bounds the GETs under way. What somebody waits for goes before what is guessed. Thread-safe; its lock is a leaf.
final class GetScheduler: Sendable {
  enum Priority {
    case demand
    case ahead
  }

  private struct State {
    var demand: [any ScheduledGet] = []
    var ahead: [any ScheduledGet] = []
    var running = 0
    var runningAhead = 0
    /// Whether some thread is starting GETs. A store may report before `get` returns; that must not recurse.
    var isStarting = false
  }

  private let limit: Int
  private let aheadLimit: Int
  private let state = Mutex(State())

  init(limit: Int) {
    self.limit = max(1, limit)
    aheadLimit = max(1, self.limit - self.limit / 4)
  }

  /// Queues a GET and starts what may start.
  func submit(_ get: any ScheduledGet, _ priority: Priority) {
    state.withLock { state in
      switch priority {
      case .demand: state.demand.append(get)
      case .ahead: state.ahead.append(get)
      }
    }
    startWaiting()
  }

  /// Somebody waits for it now: if it has not started, it goes before all guesses.
  func promote(_ get: any ScheduledGet) {
    let moved = state.withLock { state in
      guard let position = state.ahead.firstIndex(where: { $0 === get }) else { return false }
      state.demand.append(state.ahead.remove(at: position))
      return true
    }
    if moved { startWaiting() }
  }

  /// Takes a GET out of the queue. False when it has started.
  func withdraw(_ get: any ScheduledGet) -> Bool {
    state.withLock { state in
      if let position = state.ahead.firstIndex(where: { $0 === get }) {
        state.ahead.remove(at: position)
        return true
      }
      if let position = state.demand.firstIndex(where: { $0 === get }) {
        state.demand.remove(at: position)
        return true
      }
      return false
    }
  }

  private func startWaiting() {
    var first = true
    while let (get, priority) = next(entering: first) {
      first = false
      get.start { [self] in
        state.withLock { state in
          state.running -= 1
          if priority == .ahead { state.runningAhead -= 1 }
        }
        startWaiting()
      }
    }
  }

  /// The next to start. Nil when none may, or another thread (or a caller further up this stack) is at it.
  private func next(entering: Bool) -> (any ScheduledGet, Priority)? {
    state.withLock { state in
      if entering {
        guard !state.isStarting else { return nil }
        state.isStarting = true
      }
      if state.running < limit {
        if !state.demand.isEmpty {
          state.running += 1
          return (state.demand.removeFirst(), .demand)
        }
        if !state.ahead.isEmpty, state.runningAhead < aheadLimit {
          state.running += 1
          state.runningAhead += 1
          return (state.ahead.removeFirst(), .ahead)
        }
      }
      state.isStarting = false
      return nil
    }
  }
}
