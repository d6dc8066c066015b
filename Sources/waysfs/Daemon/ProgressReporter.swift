import Basics
import Synchronization

/// Keeps the runtime record up to date with what is not in the bucket yet, for those who wait. Thread-safe.
final class ProgressReporter: Sendable {
  /// Seconds between two looks: what a person calls at once.
  private static let interval = 0.5

  private let engine: any MountEngine
  private let record: RuntimeRecord
  /// Held while the engine is asked.
  private let looking = AccessGate()
  private let isStopped = Atomic<Bool>(false)

  init(_ engine: any MountEngine, _ record: RuntimeRecord) {
    self.engine = engine
    self.record = record
  }

  /// Looks now, unless stopped. A record that says the same already is left alone.
  func report() {
    looking.exclusive {
      guard !isStopped.load(ordering: .relaxed) else { return }
      record.update(pending: engine.pending)
      engine.sampleRates()
    }
  }

  /// Looks again and again from now on; false when the system has no thread for it.
  func start() -> Bool {
    let thread = Thread.start(name: "waysfs-progress") { [self] in
      while !isStopped.load(ordering: .relaxed) {
        report()
        sleepInterval(seconds: Self.interval)
      }
    }
    thread?.detach()
    return thread != nil
  }

  /// Ends that. When this returns the engine is not asked any more.
  func stop() {
    looking.exclusive { isStopped.store(true, ordering: .relaxed) }
  }
}
