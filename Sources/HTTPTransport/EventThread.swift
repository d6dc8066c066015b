import Basics
import CCurl
import Glibc
import Synchronization

/// A thread that takes no signals and that anyone may wait for.
///
/// Locks: `handle` alone; nothing is called while it is held.
final class EventThread: Sendable {
  private final class Start: Sendable {
    let body: @Sendable () -> Void
    let finished: Basics.Semaphore

    init(_ body: @escaping @Sendable () -> Void, _ finished: Basics.Semaphore) {
      self.body = body
      self.finished = finished
    }
  }

  private let handle: Mutex<pthread_t?>
  // Signalled at the end, and by each who waited for it to the next.
  private let finished = Basics.Semaphore()

  /// Starts the thread; nil when the system refuses.
  init?(_ body: @escaping @Sendable () -> Void) {
    let start = Unmanaged.passRetained(Start(body, finished))
    var all = sigset_t()
    var before = sigset_t()
    sigfillset(&all)
    // The new thread, and those libcurl starts from it, inherit the mask: signals are for the thread that waits for
    // them, and writing to a closed TLS connection must not end the process.
    pthread_sigmask(SIG_SETMASK, &all, &before)
    defer { pthread_sigmask(SIG_SETMASK, &before, nil) }
    var thread = pthread_t()
    guard pthread_create(&thread, nil, Self.main, start.toOpaque()) == 0 else {
      start.release()
      return nil
    }
    handle = Mutex(thread)
  }

  private static let main: @convention(c) (UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? = { context in
    guard let context else { return nil }
    let start = Unmanaged<Start>.fromOpaque(context).takeRetainedValue()
    ccurl_name_thread("waysfs-http")
    start.body()
    start.finished.signal()
    return nil
  }

  /// Waits for the end of the thread, unless it is the caller.
  func join(isSelf: Bool) {
    let own = handle.withLock { handle in
      defer { handle = nil }
      return handle
    }
    if isSelf {
      if let own { pthread_detach(own) }
      return
    }
    finished.wait()
    finished.signal()
    if let own { pthread_join(own, nil) }
  }
}
