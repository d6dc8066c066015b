import Synchronization

/// Tells work under way that nobody waits for it any more.
///
/// One side calls `cancel()`; the other asks `isCancelled` or registers a handler. Thread-safe. Handlers run on the
/// thread that cancels, outside any lock of this type, at most once, and at once when it was cancelled before.
public final class Cancellation: Sendable {
  private struct State {
    var cancelled = false
    var nextToken = 0
    var handlers: [Int: @Sendable () -> Void] = [:]
  }

  private let state = Mutex(State())

  /// A cancellation that has not happened yet.
  public init() {}

  /// Whether `cancel()` was called.
  public var isCancelled: Bool { state.withLock { $0.cancelled } }

  /// Cancels, and runs the handlers. Further calls do nothing.
  public func cancel() {
    let handlers = state.withLock { state in
      state.cancelled = true
      defer { state.handlers = [:] }
      return Array(state.handlers.values)
    }
    for handler in handlers { handler() }
  }

  /// Runs `handler` when cancelled; returns a token for `removeHandler`, or nil when it already ran.
  @discardableResult
  public func addHandler(_ handler: @escaping @Sendable () -> Void) -> Int? {
    let token: Int? = state.withLock { state in
      guard !state.cancelled else { return nil }
      state.nextToken += 1
      state.handlers[state.nextToken] = handler
      return state.nextToken
    }
    if token == nil { handler() }
    return token
  }

  /// Forgets a handler. It may still be running when this returns, if `cancel()` is under way.
  public func removeHandler(_ token: Int?) {
    guard let token else { return }
    _ = state.withLock { $0.handlers.removeValue(forKey: token) }
  }
}

extension Semaphore {
  /// Blocks until a signal is left, and takes it, or until the cancellation, which may leave a signal behind: for one
  /// waiter, who then looks at what it waits for.
  public func wait(_ cancellation: Cancellation?) {
    let token = cancellation?.addHandler { self.signal() }
    wait()
    cancellation?.removeHandler(token)
  }
}
