import Basics
import Synchronization

/// Does something when a time is over, unless it was ended before. Thread-safe.
final class TimeLimit: Sendable {
  private let isEnded = Atomic(false)
  private let hasPassed = Atomic(false)
  private let wake = Semaphore()

  /// Begins to count. A system without a thread left has no limit.
  /// - Parameters:
  ///   - seconds: on a clock that nobody sets.
  ///   - perform: on a thread of its own, once at most.
  init(seconds: Double, perform: @escaping @Sendable () -> Void) {
    let thread = Thread.start(name: "time-limit") { [self] in
      wake.wait(seconds: seconds)
      guard !isEnded.load(ordering: .acquiring) else { return }
      hasPassed.store(true, ordering: .releasing)
      perform()
    }
    thread?.detach()
  }

  /// Whether the time was over before the end.
  var isOver: Bool { hasPassed.load(ordering: .acquiring) }

  /// Ends it.
  func end() {
    isEnded.store(true, ordering: .releasing)
    wake.signal()
  }
}
