import Basics
import Synchronization

/// A thread that anyone may wait for. It takes no signals, and neither do those libcurl starts from it: writing to a
/// closed TLS connection must not end the process.
///
/// Locks: `handle` alone; nothing is called while it is held.
final class EventThread: Sendable {
  private let handle: Mutex<Thread?>
  // Signalled at the end, and by each who waited for it to the next.
  private let finished: Semaphore

  /// Starts the thread; nil when the system refuses.
  init?(_ body: @escaping @Sendable () -> Void) {
    let finished = Semaphore()
    let thread = Thread.start(name: "waysfs-http") {
      body()
      finished.signal()
    }
    guard let thread else { return nil }
    self.finished = finished
    handle = Mutex(thread)
  }

  /// Waits for the end of the thread, unless it is the caller.
  func join(isSelf: Bool) {
    let own = handle.withLock { handle in
      defer { handle = nil }
      return handle
    }
    if isSelf {
      own?.detach()
      return
    }
    finished.wait()
    finished.signal()
    own?.join()
  }
}
