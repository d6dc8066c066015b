import Glibc

/// A thread of the operating system, for work that blocks.
public struct Thread: @unchecked Sendable {
  // pthread_t is an opaque number that any thread may use to join.
  private let handle: pthread_t

  /// Starts a thread with all signals blocked, so that the one thread that waits for them gets them.
  /// - Parameters:
  ///   - name: shown by `top -H`; the kernel keeps 15 bytes.
  ///   - body: what it runs.
  /// - Returns: nil when the system has no more threads to give.
  public static func start(name: String, _ body: @escaping @Sendable () -> Void) -> Thread? {
    let box = Unmanaged.passRetained(ThreadBody(name: name, body: body))
    var everything = sigset_t()
    var before = sigset_t()
    sigfillset(&everything)
    pthread_sigmask(SIG_SETMASK, &everything, &before)
    defer { pthread_sigmask(SIG_SETMASK, &before, nil) }
    var handle = pthread_t()
    guard pthread_create(&handle, nil, runThread, box.toOpaque()) == 0 else {
      box.release()
      return nil
    }
    return Thread(handle: handle)
  }

  /// Blocks until the thread has ended. Call it once, or `detach`.
  public func join() { pthread_join(handle, nil) }

  /// Whether it is the one that asks.
  var isCurrent: Bool { pthread_equal(handle, pthread_self()) != 0 }

  /// Lets the thread clean up after itself.
  public func detach() { pthread_detach(handle) }
}

private final class ThreadBody: Sendable {
  let name: String
  let body: @Sendable () -> Void

  init(name: String, body: @escaping @Sendable () -> Void) {
    self.name = name
    self.body = body
  }
}

private func runThread(_ argument: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? {
  guard let argument else { return nil }
  let box = Unmanaged<ThreadBody>.fromOpaque(argument).takeRetainedValue()
  nameThisThread(box.name)
  box.body()
  return nil
}

/// glibc's call for this is hidden behind _GNU_SOURCE, and prctl(2) is variadic; the kernel's file does the same.
private func nameThisThread(_ name: String) {
  let file = open("/proc/thread-self/comm", O_WRONLY | O_CLOEXEC)
  guard file >= 0 else { return }
  var text = String(decoding: name.utf8.prefix(15), as: UTF8.self)
  text.withUTF8 { _ = write(file, $0.baseAddress, $0.count) }
  close(file)
}
