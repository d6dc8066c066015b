import CLinux
import Glibc

/// Starts a detached thread; false when the system has none left.
@discardableResult
func startThread(named name: String, _ body: @escaping @Sendable () -> Void) -> Bool {
  var attributes = pthread_attr_t()
  pthread_attr_init(&attributes)
  defer { pthread_attr_destroy(&attributes) }
  pthread_attr_setdetachstate(&attributes, Int32(PTHREAD_CREATE_DETACHED))
  let start = Unmanaged.passRetained(ThreadStart(name: name, body: body))
  var thread = pthread_t()
  let code = pthread_create(&thread, &attributes, runThread, start.toOpaque())
  if code != 0 { start.release() }
  return code == 0
}

private final class ThreadStart: Sendable {
  let name: String
  let body: @Sendable () -> Void

  init(name: String, body: @escaping @Sendable () -> Void) {
    self.name = name
    self.body = body
  }
}

private func runThread(_ argument: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? {
  guard let argument else { return nil }
  let start = Unmanaged<ThreadStart>.fromOpaque(argument).takeRetainedValue()
  // A longer name would be refused. A thread without a name works as well.
  _ = clinux_name_thread(String(start.name.prefix(15)))
  start.body()
  return nil
}

/// Blocks the calling thread, whatever signals arrive.
func sleepInterval(seconds: Double) {
  let whole = seconds.rounded(.down)
  var remaining = timespec(tv_sec: Int(whole), tv_nsec: Int((seconds - whole) * 1e9))
  var left = timespec()
  while nanosleep(&remaining, &left) != 0 && errno == EINTR { remaining = left }
}
