import Basics
import CLinux
import FuseSession
import Glibc

/// Starts this program again in the background and waits until the mount answers there.
struct BackgroundStart {
  let mountPoint: String
  /// Where the child keeps its record.
  let recordDirectories: [String]
  /// Seconds.
  let timeout: Double
  var time = TimeSource.system
  /// What is run; the program itself.
  var executable = "/proc/self/exe"

  /// - Parameter arguments: the arguments of this process, its name included.
  func run(arguments: [String], environment: [String: String]) throws(Failure) {
    let before = topMount?.mountID
    var ends: [Int32] = [-1, -1]
    let code = clinux_pipe(&ends)
    guard code == 0 else { throw Failure("cannot make a pipe: \(describe(errno: code))") }
    defer { close(ends[0]) }
    var spawn = SpawnRequest()
    spawn.connectToNull(STDIN_FILENO)
    spawn.duplicate(ends[1], to: Readiness.descriptor)
    let lines =
      environment.filter { $0.key != Readiness.marker }.map { "\($0.key)=\($0.value)" }
      + ["\(Readiness.marker)=\(Readiness.descriptor)"]
    let result = spawn.start(executable, arguments: arguments, environment: lines)
    // Ours must be closed: the end of the pipe is how the death of the child shows.
    close(ends[1])
    try wait(for: try result.get(), on: ends[0], before: before)
  }

  private func wait(for child: pid_t, on pipe: Int32, before: UInt64?) throws(Failure) {
    let deadline = time.monotonic + UInt64(timeout * 1e9)
    var reader = MessageReader()
    while true {
      let now = time.monotonic
      guard now < deadline else {
        stop(child, before: before)
        throw Failure(
          "the mount did not answer within \(Int(timeout)) s\(reader.lastProgress.map { " (\($0))" } ?? "")",
          remedy: "Look into the log, run it with --foreground, or give it more time with --mount-timeout")
      }
      var request = pollfd(fd: pipe, events: Int16(POLLIN), revents: 0)
      let milliseconds = Int32(clamping: (deadline - now) / 1_000_000 + 1)
      guard poll(&request, 1, milliseconds) > 0 else { continue }
      switch reader.take(from: pipe) {
      case .ready: return
      case .failed(let line, let code):
        _ = waitForExit(child)
        throw Failure(line, exitCode: ExitStatus(rawValue: code) ?? .failed)
      case .progress: continue
      case nil where reader.atEnd: throw died(child, before: before)
      case nil: continue
      }
    }
  }

  private func died(_ child: pid_t, before: UInt64?) -> Failure {
    let status = waitForExit(child)
    clearMount(before: before)
    let how = status > 128 ? "ended by signal \(status - 128)" : "ended with status \(status)"
    return Failure(
      "the background process \(how) without a message",
      remedy: "Look into the log, or run it with --foreground")
  }

  /// Asks the child to stop, then makes it, and takes away what it may have mounted.
  private func stop(_ child: pid_t, before: UInt64?) {
    kill(child, SIGTERM)
    for _ in 0..<100 {
      var status: Int32 = 0
      if waitpid(child, &status, WNOHANG) == child { return clearMount(before: before) }
      sleepInterval(seconds: 0.05)
    }
    kill(child, SIGKILL)
    _ = waitForExit(child)
    clearMount(before: before)
  }

  /// Only what the child has mounted: what was there before the start is somebody else's, and may be in use.
  private func clearMount(before: UInt64?) {
    let record = ForeignRecord(mountPoint: mountPoint, directories: recordDirectories)
    // The child is gone: a process that it has waited for may have mounted meanwhile.
    guard record?.isHeld != true else { return }
    record?.removeIfAbandoned()
    guard let mount = topMount, mount.isWaysfs, mount.mountID != before else { return }
    try? mount.unmount(lazy: true)
  }

  private var topMount: MountTableEntry? { (try? MountTable.current())?.top(at: mountPoint) }
}

/// Cuts what comes out of the pipe into messages.
struct MessageReader {
  private var buffer: [UInt8] = []
  private(set) var atEnd = false
  private(set) var lastProgress: String?

  /// Reads once; the last word if it has come, else nil.
  mutating func take(from descriptor: Int32) -> ReadinessMessage? {
    var bytes = [UInt8](repeating: 0, count: 4096)
    let count = read(descriptor, &bytes, bytes.count)
    if count < 0 && errno == EINTR { return nil }
    guard count > 0 else {
      atEnd = true
      return nil
    }
    return take(bytes[..<count])
  }

  /// The last word if it has come, else nil.
  mutating func take(_ bytes: some Sequence<UInt8>) -> ReadinessMessage? {
    buffer.append(contentsOf: bytes)
    while let end = buffer.firstIndex(of: UInt8(ascii: "\n")) {
      let message = ReadinessMessage(parsing: Array(buffer[..<end]))
      buffer.removeSubrange(...end)
      switch message {
      case .progress(let text): lastProgress = text
      case .ready, .failed: return message
      case nil: continue
      }
    }
    return nil
  }
}
