import Basics
import Synchronization

/// A listing that is made because names of the directory are asked for one after the other. Thread-safe.
final class ListingAhead: Sendable {
  private struct State {
    var pages = 0
    var isOver = false
    var waiters: [Semaphore] = []
  }

  /// Pages after which it is given up: then asking for the names that are wanted costs less.
  static let mostPages = 10
  /// Pages for which those who want a name wait; with more to come they ask by themselves.
  private static let patience = 2

  private let state = Mutex(State())

  /// Blocks until the listing is complete, given up, or longer than one waits for, or until cancelled.
  func wait(_ cancellation: Cancellation?) {
    let wake = Semaphore()
    let waits = state.withLock { state in
      guard !state.isOver, state.pages < Self.patience else { return false }
      state.waiters.append(wake)
      return true
    }
    if waits { wake.wait(cancellation) }
  }

  /// One more page is here, and it was not the last.
  func noteContinued() {
    release { state in
      state.pages += 1
      return state.pages >= Self.patience
    }
  }

  /// No more pages come.
  func end() {
    release { state in
      state.isOver = true
      return true
    }
  }

  private func release(_ body: (inout State) -> Bool) {
    let awake: [Semaphore] = state.withLock { state in
      guard body(&state) else { return [] }
      defer { state.waiters = [] }
      return state.waiters
    }
    for waiter in awake { waiter.signal() }
  }
}

/// Threads that list what nobody has asked for yet: a few at a time. Thread-safe.
final class ListingThreads: Sendable {
  private struct State {
    var running = 0
    var isClosed = false
    var waiters: [Semaphore] = []
  }

  private static let most = 4

  private let state = Mutex(State())
  /// Fires when the filesystem ends.
  let cancellation = Cancellation()

  /// Runs `body` on a thread of its own; false when there are enough already.
  func start(_ body: @escaping @Sendable () -> Void) -> Bool {
    let mayStart = state.withLock { state in
      guard !state.isClosed, state.running < Self.most else { return false }
      state.running += 1
      return true
    }
    guard mayStart else { return false }
    let thread = Thread.start(name: "waysfs-list") { [self] in
      body()
      end()
    }
    guard let thread else {
      end()
      return false
    }
    thread.detach()
    return true
  }

  private func end() {
    let awake: [Semaphore] = state.withLock { state in
      state.running -= 1
      guard state.running == 0 else { return [] }
      defer { state.waiters = [] }
      return state.waiters
    }
    for waiter in awake { waiter.signal() }
  }

  /// Blocks until none is running.
  func wait() {
    let wake = Semaphore()
    let waits = state.withLock { state in
      guard state.running > 0 else { return false }
      state.waiters.append(wake)
      return true
    }
    if waits { wake.wait() }
  }

  /// Ends them, and waits for that.
  func close() {
    state.withLock { $0.isClosed = true }
    cancellation.cancel()
    wait()
  }
}
