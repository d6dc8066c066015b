import Basics
import Synchronization

/// Where a scripted operation waits until the test opens the gate. Open gates let everything through. Thread-safe.
public final class Gate: Sendable {
  private struct State {
    var open = false
    var next = 0
    var waiting: [Int: @Sendable (Bool) -> Void] = [:]
  }

  private let state = Mutex(State())
  private let arrivals: Semaphore = Semaphore()

  /// A closed gate.
  public init() {}

  /// How many operations wait now.
  public var waitingCount: Int { state.withLock { $0.waiting.count } }

  /// Blocks until one more operation has arrived than earlier calls have seen; those that went through an open gate
  /// or were cancelled count too.
  public func waitForArrival() { arrivals.wait() }

  /// Opens the gate for good: everything that waits goes on, on this thread, in order of arrival.
  public func open() {
    let waiting = state.withLock { state in
      state.open = true
      defer { state.waiting = [:] }
      return state.waiting.sorted { $0.key < $1.key }.map(\.value)
    }
    for proceed in waiting { proceed(true) }
  }

  /// Calls `proceed` exactly once: with true when the gate is open, with false when cancelled before.
  func pass(_ cancellation: Cancellation?, _ proceed: @escaping @Sendable (Bool) -> Void) {
    let token: Int? = state.withLock { state in
      guard !state.open else { return nil }
      state.next += 1
      state.waiting[state.next] = proceed
      return state.next
    }
    arrivals.signal()
    guard let token else { return proceed(true) }
    cancellation?.addHandler {
      self.state.withLock { $0.waiting.removeValue(forKey: token) }?(false)
    }
  }
}
