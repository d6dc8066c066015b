import Synchronization

/// A GET that waits for its turn.
protocol ScheduledGet: AnyObject, Sendable {
  /// Starts it. Called once per `submit`, with no lock held; `done` is to be called exactly once when it has ended.
  func start(done: @escaping @Sendable () -> Void)
}

/// The GETs of one bucket that wait, among those of all that share the turns. Thread-safe.
final class GetScheduler: Sendable {
  enum Priority {
    case demand
    case ahead
  }

  private let turns: GetTurns
  private let queue: Int

  /// A scheduler that shares its turns with others.
  init(_ turns: GetTurns) {
    self.turns = turns
    queue = turns.addQueue()
  }

  /// One with turns of its own.
  convenience init(limit: Int) { self.init(GetTurns(limit: limit)) }

  /// Queues a GET and starts what may start.
  func submit(_ get: any ScheduledGet, _ priority: Priority) {
    turns.change(queue) { queue in
      switch priority {
      case .demand: queue.demand.append(get)
      case .ahead: queue.ahead.append(get)
      }
    }
    turns.startWaiting()
  }

  /// Somebody waits for it now: if it has not started, it goes before all guesses.
  func promote(_ get: any ScheduledGet) {
    let moved = turns.change(queue) { queue in
      guard let position = queue.ahead.firstIndex(where: { $0 === get }) else { return false }
      queue.demand.append(queue.ahead.remove(at: position))
      return true
    }
    if moved { turns.startWaiting() }
  }

  /// Takes a GET out of the queue. False when it has started.
  func withdraw(_ get: any ScheduledGet) -> Bool {
    turns.change(queue) { queue in
      if let position = queue.ahead.firstIndex(where: { $0 === get }) {
        queue.ahead.remove(at: position)
        return true
      }
      if let position = queue.demand.firstIndex(where: { $0 === get }) {
        queue.demand.remove(at: position)
        return true
      }
      return false
    }
  }
}

/// Bounds the GETs under way. What somebody waits for goes before what is guessed; of several buckets one GET of each
/// in turn, however many the others want. Thread-safe; its lock is a leaf.
final class GetTurns: Sendable {
  struct Queue {
    var demand: [any ScheduledGet] = []
    var ahead: [any ScheduledGet] = []
  }

  fileprivate struct State {
    var queues: [Queue] = []
    /// The queue that is looked at first.
    var turn = 0
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

  func addQueue() -> Int {
    state.withLock { state in
      state.queues.append(Queue())
      return state.queues.count - 1
    }
  }

  func change<Value: Sendable>(_ queue: Int, _ body: (inout Queue) -> Value) -> Value {
    state.withLock { body(&$0.queues[queue]) }
  }

  func startWaiting() {
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
  private func next(entering: Bool) -> (any ScheduledGet, GetScheduler.Priority)? {
    state.withLock { state in
      if entering {
        guard !state.isStarting else { return nil }
        state.isStarting = true
      }
      if state.running < limit {
        if let get = state.take(\.demand) {
          state.running += 1
          return (get, .demand)
        }
        if state.runningAhead < aheadLimit, let get = state.take(\.ahead) {
          state.running += 1
          state.runningAhead += 1
          return (get, .ahead)
        }
      }
      state.isStarting = false
      return nil
    }
  }
}

extension GetTurns.State {
  /// The first GET of the next queue that has one.
  fileprivate mutating func take(
    _ kind: WritableKeyPath<GetTurns.Queue, [any ScheduledGet]>
  ) -> (any ScheduledGet)? {
    for step in 0..<queues.count {
      let index = (turn + step) % queues.count
      guard !queues[index][keyPath: kind].isEmpty else { continue }
      turn = (index + 1) % queues.count
      return queues[index][keyPath: kind].removeFirst()
    }
    return nil
  }
}
