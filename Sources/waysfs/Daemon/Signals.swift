import Basics
import Glibc

/// The signals that the daemon takes one by one on a thread of its own.
enum Signals {
  /// Blocks SIGTERM, SIGINT and SIGHUP in this thread and all it will start, and ignores SIGPIPE. Call it before the
  /// first thread starts: a thread without the mask would take the signal and die of it.
  static func block() {
    var set = handled()
    pthread_sigmask(SIG_BLOCK, &set, nil)
    signal(SIGPIPE, SIG_IGN)
  }

  /// Starts the thread that waits for the blocked signals and hands each to `handler`, for as long as the process lives.
  static func startHandling(_ handler: @escaping @Sendable (Int32) -> Void) -> Bool {
    let thread = Thread.start(name: "signals") {
      var set = handled()
      while true {
        var number: Int32 = 0
        if sigwait(&set, &number) == 0 { handler(number) }
      }
    }
    thread?.detach()
    return thread != nil
  }

  /// Waits, on a thread that has blocked the signals and before `startHandling`; false when one of them ends the wait.
  static func sleep(seconds: Double) -> Bool {
    var set = handled()
    var time = timespec(tv_sec: Int(seconds), tv_nsec: Int((seconds - seconds.rounded(.down)) * 1e9))
    return sigtimedwait(&set, nil, &time) < 0
  }

  static func handled() -> sigset_t {
    var set = sigset_t()
    sigemptyset(&set)
    for number in [SIGTERM, SIGINT, SIGHUP] { sigaddset(&set, number) }
    return set
  }

  /// For the log: `SIGTERM`.
  static func name(_ number: Int32) -> String {
    switch number {
    case SIGTERM: "SIGTERM"
    case SIGINT: "SIGINT"
    case SIGHUP: "SIGHUP"
    default: "signal \(number)"
    }
  }
}
