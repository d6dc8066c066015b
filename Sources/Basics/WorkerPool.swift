import DequeModule
import Synchronization

/// Threads that run blocking jobs in the order they were submitted.
///
/// Threads are started when there is work and none is idle, up to the limit, and end when there was none for a while:
/// a mount of many buckets has many pools. Thread-safe.
public final class WorkerPool: Sendable {
  private struct State {
    var jobs: Deque<@Sendable () -> Void> = []
    var idle = 0
    var threads: [Thread] = []
    var stopping = false
  }

  private let name: String
  private let limit: Int
  private let idleSeconds: Double
  private let startThread: @Sendable (String, @escaping @Sendable () -> Void) -> Thread?
  private let state = Mutex(State())
  private let available = Semaphore()

  /// A pool that runs at most `limit` jobs at once.
  /// - Parameter idleSeconds: how long a thread waits for work before it ends.
  public convenience init(name: String, limit: Int, idleSeconds: Double = 10) {
    self.init(name: name, limit: limit, idleSeconds: idleSeconds) { name, body in Thread.start(name: name, body) }
  }

  /// A pool for tests of a system that has no more threads to give.
  init(
    name: String, limit: Int, idleSeconds: Double = 10,
    startThread: @escaping @Sendable (String, @escaping @Sendable () -> Void) -> Thread?
  ) {
    self.name = name
    self.limit = max(1, limit)
    self.idleSeconds = idleSeconds
    self.startThread = startThread
  }

  /// Queues a job. It runs on the caller's thread after `shutdown`, and when the system refuses the first thread, so
  /// that nobody waits for it for ever.
  public func submit(_ job: @escaping @Sendable () -> Void) {
    let isQueued = state.withLock { state in
      if state.stopping { return false }
      if state.jobs.count >= state.idle, state.threads.count < limit {
        // Started with the mutex held, which its first step waits for: the limit is exact, and `shutdown` misses none.
        if let thread = startThread(name, { self.work() }) { state.threads.append(thread) }
      }
      guard !state.threads.isEmpty else { return false }
      state.jobs.append(job)
      return true
    }
    if isQueued { available.signal() } else { job() }
  }

  /// Runs what is queued, then ends the threads and waits for them. Not to be called from a job.
  public func shutdown() {
    let threads = state.withLock { state in
      state.stopping = true
      defer { state.threads = [] }
      return state.threads
    }
    for _ in threads { available.signal() }
    for thread in threads { thread.join() }
  }

  /// How many threads there are.
  var threadCount: Int { state.withLock { $0.threads.count } }

  private func work() {
    while true {
      state.withLock { $0.idle += 1 }
      available.wait(seconds: idleSeconds)
      let (job, ended): ((@Sendable () -> Void)?, Thread?) = state.withLock { state in
        state.idle -= 1
        // Looked for in any case: whoever queued it may have counted on this thread.
        if let job = state.jobs.popFirst() { return (job, nil) }
        // When the pool is stopping its threads are waited for, and are not in the list.
        guard let own = state.threads.firstIndex(where: \.isCurrent) else { return (nil, nil) }
        return (nil, state.threads.remove(at: own))
      }
      guard let job else {
        ended?.detach()
        return
      }
      job()
    }
  }
}
