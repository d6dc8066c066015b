import DequeModule
import Synchronization

/// Threads that several share for jobs that block. Each has its own jobs run in the order in which they were submitted;
/// who has the fewest running goes first, and nobody takes more threads than its share (`SharedPlaces`). Thread-safe.
public final class SharedWorkers: Sendable {
  typealias Job = @Sendable () -> Void

  fileprivate struct State {
    var running: SharedPlaces<Int>
    /// What waits, by share.
    var queues: [Deque<Job>] = []
    /// The share that is looked at first.
    var turn = 0
    /// Who waits until a share has nothing to do.
    var waiters: [Int: [Semaphore]] = [:]

    /// The next job that may begin.
    mutating func take() -> (share: Int, job: Job)? {
      guard running.hasRoom() else { return nil }
      var next: Int?
      for step in queues.indices {
        let share = (turn + step) % queues.count
        guard !queues[share].isEmpty, running.allows(share) else { continue }
        if running[share] < next.map({ running[$0] }) ?? .max { next = share }
      }
      guard let next, let job = queues[next].popFirst() else { return nil }
      turn = next + 1
      running.take(next)
      return (next, job)
    }

    /// A job is over.
    mutating func end(_ share: Int) -> [Semaphore] {
      running.giveBack(share)
      return isIdle(share) ? waiters.removeValue(forKey: share) ?? [] : []
    }

    func isIdle(_ share: Int) -> Bool { queues[share].isEmpty && running[share] == 0 }
  }

  private let pool: WorkerPool
  private let state: Mutex<State>

  /// Threads of that name, started when there is work.
  /// - Parameters:
  ///   - each: how many jobs one share may have running.
  ///   - isShared: whether there may be several; then there are a third more, of which one alone gets `each`.
  public init(name: String, each: Int, isShared: Bool) {
    let limit = isShared ? each + (each + 2) / 3 : each
    pool = WorkerPool(name: name, limit: limit)
    state = Mutex(State(running: SharedPlaces(limit, isShared: isShared)))
  }

  /// A share in the threads.
  public func share() -> WorkerShare {
    let number = state.withLock { state in
      state.queues.append([])
      return state.queues.count - 1
    }
    return WorkerShare(self, number)
  }

  /// Runs what is queued, then ends the threads and waits for them; later jobs run on the caller's thread. Not to be
  /// called from a job.
  public func shutdown() {
    let shares = state.withLock { $0.queues.count }
    for share in 0..<shares { waitUntilIdle(share, nil) }
    pool.shutdown()
  }

  fileprivate func submit(_ share: Int, _ job: @escaping Job) {
    state.withLock { $0.queues[share].append(job) }
    startWaiting()
  }

  /// Gives a thread to each job that may begin.
  private func startWaiting() {
    while let next = state.withLock({ $0.take() }) { pool.submit { [self] in run(next) } }
  }

  private func run(_ first: (share: Int, job: Job)) {
    var next = first
    while true {
      next.job()
      let (awake, following) = state.withLock { ($0.end(next.share), $0.take()) }
      for waiter in awake { waiter.signal() }
      guard let following else { return }
      next = following
      // One that has ended may make room for two: its own share has one less, and the others have more left.
      startWaiting()
    }
  }

  fileprivate func waitUntilIdle(_ share: Int, _ cancellation: Cancellation?) {
    let wake = Semaphore()
    let waits = state.withLock { state in
      guard !state.isIdle(share) else { return false }
      state.waiters[share, default: []].append(wake)
      return true
    }
    if waits { wake.wait(cancellation) }
  }
}

/// One of those who share threads. Thread-safe.
public final class WorkerShare: Sendable {
  private let workers: SharedWorkers
  private let number: Int

  fileprivate init(_ workers: SharedWorkers, _ number: Int) {
    self.workers = workers
    self.number = number
  }

  /// Queues a job. It runs on the caller's thread after the threads were shut down, and when the system refuses the first.
  public func submit(_ job: @escaping @Sendable () -> Void) { workers.submit(number, job) }

  /// Blocks until no job of this share waits or runs, or the caller gives up. Not to be called from a job.
  public func waitUntilIdle(_ cancellation: Cancellation? = nil) { workers.waitUntilIdle(number, cancellation) }
}
