import Basics
import Synchronization

/// Runs uploads in the background, each a while after it was asked for, some at once. Thread-safe.
///
/// Knows nothing of files: an entry is a closure. Its mutex is held for moments only.
final class UploadQueue: Sendable {
  /// Calls something after that many seconds, on a thread where it must not block.
  typealias Schedule = @Sendable (_ seconds: Double, _ body: @escaping @Sendable () -> Void) -> Void

  private let workers: WorkerShare
  private let schedule: Schedule
  private let isClosed = Mutex(false)

  init(_ workers: WorkerShare, schedule: @escaping Schedule) {
    self.workers = workers
    self.schedule = schedule
  }

  /// Runs `job` in about that many seconds, unless the queue is closed by then.
  func add(after seconds: Double, _ job: @escaping @Sendable () -> Void) {
    schedule(seconds) { [weak self] in self?.start(job) }
  }

  private func start(_ job: @escaping @Sendable () -> Void) {
    guard !isClosed.withLock({ $0 }) else { return }
    workers.submit { [weak self] in
      guard let self, !isClosed.withLock({ $0 }) else { return }
      job()
    }
  }

  /// Starts nothing any more, and waits for what is under way.
  func close() {
    isClosed.withLock { $0 = true }
    workers.waitUntilIdle()
  }
}
