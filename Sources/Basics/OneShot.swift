import CLinux
import Glibc
import Synchronization

/// A value that one thread delivers and another waits for, by blocking.
///
/// Metadata calls may block their worker (design: about 15 us of CPU for a handover, half of what a Task costs).
/// Thread-safe. The first `fulfil` wins; later ones are ignored. `wait` is called by one thread at most once.
public final class OneShot<Value: Sendable>: Sendable {
  private let value = Mutex<Value?>(nil)
  private let semaphore: Semaphore = Semaphore()

  /// An empty one-shot.
  public init() {}

  /// Delivers the value.
  public func fulfil(_ newValue: Value) {
    let first = value.withLock { value in
      guard value == nil else { return false }
      value = newValue
      return true
    }
    if first { semaphore.signal() }
  }

  /// Blocks until the value is there.
  public func wait() -> Value {
    while true {
      if let value = value.withLock({ $0 }) { return value }
      semaphore.wait()
    }
  }
}

/// A counting semaphore. Thread-safe.
public final class Semaphore: @unchecked Sendable {
  // The allocation is owned by this object, and sem_t is made for use from many threads.
  private let raw: UnsafeMutablePointer<sem_t>

  /// A semaphore that lets `value` waiters through before it blocks.
  public init(value: UInt32 = 0) {
    raw = .allocate(capacity: 1)
    sem_init(raw, 0, value)
  }

  deinit {
    sem_destroy(raw)
    raw.deallocate()
  }

  /// Lets one waiter through.
  public func signal() { sem_post(raw) }

  /// Blocks until a signal is left, and takes it.
  public func wait() {
    while sem_wait(raw) != 0 && errno == EINTR {}
  }

  /// Blocks until a signal is left, and takes it, or the time is over, which no change of the clock moves.
  public func wait(seconds: Double) {
    _ = clinux_wait(raw, Int64(max(0, min(seconds, 1e6)) * 1e9))
  }
}

/// The form in which asynchronous operations of this project report: called exactly once, from any thread.
/// What it does must not block.
public typealias Completion<Value, Failure: Error> = @Sendable (Result<Value, Failure>) -> Void

/// Starts an operation that reports to a completion and blocks until it did. Never call it on an event thread.
public func waitFor<Value: Sendable, Failure: Error>(
  _ start: (@escaping Completion<Value, Failure>) -> Void
) throws(Failure) -> Value {
  let result = OneShot<Result<Value, Failure>>()
  start { result.fulfil($0) }
  return try result.wait().get()
}
