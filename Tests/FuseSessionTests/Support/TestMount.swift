import Basics
import CFuse
import FuseSession
import Glibc
import Logging
import Synchronization
import SystemPackage
import Testing

/// A mount in a temporary directory whose session runs on a thread of its own.
final class TestMount: Sendable {
  let path: String
  let session: FuseSession
  let ended = Signal()
  let result = Mutex<FuseSessionError?>(nil)

  init(
    _ filesystem: FakeFilesystem, metrics: OperationMetrics? = nil, asks: Bool = false,
    _ adjust: (inout MountOptions) -> Void = { _ in }
  ) throws {
    guard access("/dev/fuse", F_OK) == 0 else {
      throw TestFailure("these tests need /dev/fuse, and it is missing: modprobe fuse, or --device /dev/fuse")
    }
    path = try makeTemporaryDirectory()
    var options = MountOptions(mountpoint: path, source: "waysfs:test")
    adjust(&options)
    let asker = asks ? AskingProcess(mountpoint: options.mountpoint) : nil
    session = try FuseSession(options: options, operations: filesystem, metrics: metrics, asker: asker, log: quietLog)
    try session.mount()
    let ready = Signal()
    try onThread { [self] in
      do throws(FuseSessionError) { try session.run { ready.set() } } catch { result.withLock { $0 = error } }
      ready.set()
      ended.set()
    }
    guard ready.wait() else { throw TestFailure("the mount did not become ready") }
  }

  /// The path of something in the mount.
  func at(_ name: String) -> String { "\(path)/\(name)" }

  /// Unmounts and waits for the end of the session.
  func finish() {
    do throws(FuseSessionError) { try session.unmount(lazy: true) } catch {
      if error.code != .notMounted { Issue.record("unmount: \(error)") }
    }
    if !ended.wait() {
      Issue.record("the session did not end after the unmount")
      abort()
    }
    rmdir(path)
  }

  /// Breaks the connection to the kernel: calls that hang fail.
  func abort() {
    umount2(path, Int32(MNT_FORCE | MNT_DETACH))
    session.stop()
  }
}

/// Runs `body` on a mount and always unmounts. A body that takes longer than the deadline has its calls broken off.
func withMount(
  _ filesystem: FakeFilesystem, metrics: OperationMetrics? = nil, _ body: (TestMount) throws -> Void
) throws {
  try withMount(filesystem, metrics: metrics, adjusting: { _ in }, body)
}

/// With other options than the defaults.
func withMount(
  _ filesystem: FakeFilesystem, metrics: OperationMetrics? = nil, seconds: Int = 2 * patience, asks: Bool = false,
  adjusting adjust: (inout MountOptions) -> Void,
  _ body: (TestMount) throws -> Void
) throws {
  let mount = try TestMount(filesystem, metrics: metrics, asks: asks, adjust)
  let done = Signal()
  let watched = Signal()
  try onThread {
    if !done.wait(seconds: seconds) {
      mount.abort()
      filesystem.openAllGates()
    }
    watched.set()
  }
  let finished = Result { try body(mount) }
  filesystem.openAllGates()
  done.set()
  #expect(watched.wait())
  mount.finish()
  try finished.get()
}

/// A failed precondition of a test.
struct TestFailure: Error, CustomStringConvertible {
  var description: String
  init(_ description: String) { self.description = description }
}

let quietLog = Logger(label: "test") { _ in Logging.SwiftLogNoOpLogHandler() }

/// Runs a closure on a new thread.
func onThread(_ body: @escaping @Sendable () -> Void) throws {
  _ = try startThread(body)
}

/// Runs a closure on a new thread that is to be joined.
func startThread(_ body: @escaping @Sendable () -> Void) throws -> pthread_t {
  var thread = pthread_t()
  let box = Unmanaged.passRetained(ThreadBody(body))
  guard waysfs_thread_start(&thread, "test-client", threadMain, box.toOpaque()) == 0 else {
    box.release()
    throw TestFailure("cannot start a thread")
  }
  return thread
}

/// Runs a closure on several threads at the same time and waits for all.
func inParallel(_ count: Int, _ body: @escaping @Sendable (Int) -> Void) throws {
  let threads = try (0..<count).map { index in try startThread { body(index) } }
  for thread in threads { pthread_join(thread, nil) }
}

private final class ThreadBody: Sendable {
  let body: @Sendable () -> Void
  init(_ body: @escaping @Sendable () -> Void) { self.body = body }
}

private func threadMain(_ argument: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? {
  guard let argument else { return nil }
  Unmanaged<ThreadBody>.fromOpaque(argument).takeRetainedValue().body()
  return nil
}

func makeTemporaryDirectory() throws -> String {
  var template = Array("/tmp/waysfs-fuse-test.XXXXXX".utf8CString)
  guard let path = mkdtemp(&template) else { throw Errno(rawValue: errno) }
  return String(cString: path)
}
