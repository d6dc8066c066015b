import Basics
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
  convenience init(limit: Int) { self.init(GetTurns(limit: limit, isShared: false)) }

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

/// Bounds the GETs under way. What somebody waits for goes before what is guessed; of several buckets the one with the
/// fewest under way goes first, and none takes more than its share (`SharedPlaces`). Thread-safe; its lock is a leaf.
final class GetTurns: Sendable {
  struct Queue {
    var demand: [any ScheduledGet] = []
    var ahead: [any ScheduledGet] = []
  }

  fileprivate struct State {
    var queues: [Queue] = []
    /// The queue that is looked at first.
    var turn = 0
    /// GETs under way, by queue.
    var running: SharedPlaces<Int>
    /// Those of them that are guesses: of these, too, a queue whose GETs do not end must leave some to the others.
    var runningAhead: SharedPlaces<Int>
    /// Whether some thread is starting GETs. A store may report before `get` returns; that must not recurse.
    var isStarting = false
  }

  private let state: Mutex<State>

  /// - Parameter isShared: whether there may be several queues; one alone may have all.
  init(limit: Int, isShared: Bool) {
    let running = SharedPlaces<Int>(limit, isShared: isShared)
    let ahead = SharedPlaces<Int>(running.limit - running.limit / 4, isShared: isShared)
    state = Mutex(State(running: running, runningAhead: ahead))
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
    while let (queue, get, priority) = next(entering: first) {
      first = false
      get.start { [self] in
        state.withLock { state in
          state.running.giveBack(queue)
          if priority == .ahead { state.runningAhead.giveBack(queue) }
        }
        startWaiting()
      }
    }
  }

  /// The next to start. Nil when none may, or another thread (or a caller further up this stack) is at it.
  private func next(entering: Bool) -> (queue: Int, get: any ScheduledGet, priority: GetScheduler.Priority)? {
    state.withLock { state in
      if entering {
        guard !state.isStarting else { return nil }
        state.isStarting = true
      }
      if let (queue, get) = state.take(.demand) { return (queue, get, .demand) }
      if let (queue, get) = state.take(.ahead) { return (queue, get, .ahead) }
      state.isStarting = false
      return nil
    }
  }
}

extension GetTurns.State {
  /// The first GET of the queue whose turn it is.
  fileprivate mutating func take(_ priority: GetScheduler.Priority) -> (queue: Int, get: any ScheduledGet)? {
    let isAhead = priority == .ahead
    let kind = isAhead ? \GetTurns.Queue.ahead : \GetTurns.Queue.demand
    guard running.hasRoom(), !isAhead || runningAhead.hasRoom() else { return nil }
    var next: Int?
    for step in queues.indices {
      let queue = (turn + step) % queues.count
      guard !queues[queue][keyPath: kind].isEmpty, running.allows(queue) else { continue }
      guard !isAhead || runningAhead.allows(queue) else { continue }
      if running[queue] < next.map({ running[$0] }) ?? .max { next = queue }
    }
    guard let next else { return nil }
    turn = next + 1
    running.take(next)
    if isAhead { runningAhead.take(next) }
    return (next, queues[next][keyPath: kind].removeFirst())
  }
}
