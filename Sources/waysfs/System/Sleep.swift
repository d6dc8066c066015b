import Glibc

/// Blocks the calling thread, whatever signals arrive.
func sleepInterval(seconds: Double) {
  let whole = seconds.rounded(.down)
  var remaining = timespec(tv_sec: Int(whole), tv_nsec: Int((seconds - whole) * 1e9))
  var left = timespec()
  while nanosleep(&remaining, &left) != 0 && errno == EINTR { remaining = left }
}
