import Glibc

/// The signals that the main thread waits for instead of being interrupted by them.
struct Signals {
  private var set = sigset_t()

  /// Blocks them. Call it before the first thread is made, which inherits this.
  init() {
    sigemptyset(&set)
    for signal in [SIGINT, SIGTERM, SIGHUP, SIGCHLD] { sigaddset(&set, signal) }
    pthread_sigmask(SIG_BLOCK, &set, nil)
    signal(SIGPIPE, SIG_IGN)
  }

  /// Waits for one of them; nil when none came within `milliseconds`.
  mutating func wait(milliseconds: Int) -> Int32? {
    var limit = timespec(tv_sec: milliseconds / 1000, tv_nsec: milliseconds % 1000 * 1_000_000)
    let signal = sigtimedwait(&set, nil, &limit)
    return signal > 0 ? signal : nil
  }
}
