import DequeModule
import Synchronization

/// Threads that run blocking jobs in the order they were submitted.
///
/// Threads are started when there is work and none is idle, up to the limit, and stay until `shutdown`. Thread-safe.
public final class WorkerPool: Sendable {
  private struct State {
    var jobs: Deque<@Sendable () -> Void> = []
    var idle = 0
    var threads: [Thread] = []
    var stopping = false
  }

  private let name: String
  private let limit: Int
  private let state = Mutex(State())
  private let available = Semaphore()

  /// A pool that runs at most `limit` jobs at once.
  public init(name: String, limit: Int) {
    self.name = name
    self.limit = max(1, limit)
  }

  /// Queues a job. After `shutdown` it runs on the caller's thread, so that nobody waits for it for ever.
  public func submit(_ job: @escaping @Sendable () -> Void) {
    enum Action { case signal, grow, runHere }
    let action: Action = state.withLock { state in
      if state.stopping { return .runHere }
      state.jobs.append(job)
      return state.jobs.count > state.idle && state.threads.count < limit ? .grow : .signal
    }
    switch action {
    case .signal: available.signal()
    case .grow:
      addThread()
      available.signal()
    case .runHere: job()
    }
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
    while let job = take() { job() }
  }

  private func addThread() {
    guard let thread = Thread.start(name: name, { self.work() }) else { return }
    let kept = state.withLock { state in
      guard !state.stopping else { return false }
      state.threads.append(thread)
      return true
    }
    if !kept {
      available.signal()
      thread.detach()
    }
  }

  private func work() {
    while true {
      state.withLock { $0.idle += 1 }
      available.wait()
      state.withLock { $0.idle -= 1 }
      if let job = take() {
        job()
      } else if state.withLock({ $0.stopping }) {
        return
      }
    }
  }

  private func take() -> (@Sendable () -> Void)? {
    state.withLock { $0.jobs.popFirst() }
  }
}
