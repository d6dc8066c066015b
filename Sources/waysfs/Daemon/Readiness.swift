import Basics
import Glibc
import Synchronization

/// What the background process tells the process that started it, over a pipe, one line each.
///
///     P <what is being done>
///     R                           the mount answers
///     E <exit code> <line>        it could not be mounted; the line is for the user
enum ReadinessMessage: Hashable, Sendable {
  case progress(String)
  case ready
  case failed(line: String, exitCode: Int32)

  var bytes: [UInt8] {
    switch self {
    case .progress(let text): Array("P \(LineFormat.escaped(text))\n".utf8)
    case .ready: Array("R\n".utf8)
    case .failed(let line, let code): Array("E \(code) \(LineFormat.escaped(line))\n".utf8)
    }
  }

  /// Reads one line, without its line break.
  init?(parsing line: [UInt8]) {
    let text = String(decoding: line, as: UTF8.self)
    let kind = text.prefix { $0 != " " }
    let rest = text.dropFirst(kind.count + 1)
    switch kind {
    case "R" where rest.isEmpty: self = .ready
    case "P": self = .progress(String(rest))
    case "E":
      let parts = rest.split(separator: " ", maxSplits: 1, omittingEmptySubsequences: false)
      guard parts.count == 2, let code = Int32(parts[0]), code > 0 else { return nil }
      self = .failed(line: String(parts[1]), exitCode: code)
    default: return nil
    }
  }
}

/// Tells whoever waits for the mount how it goes. Thread-safe.
final class Readiness: Sendable {
  /// The descriptor on which the background process finds the pipe.
  static let descriptor: Int32 = 3
  /// The environment variable that marks the background process.
  static let marker = "WAYSFS_BACKGROUND"

  /// The writing end of the pipe; nil when nobody waits, or when the last word was said.
  private let pipe: Mutex<Int32?>
  /// Whether this is the process in the background.
  let isBackground: Bool

  private init(pipe: Int32?) {
    self.pipe = Mutex(pipe)
    isBackground = pipe != nil
  }

  /// In the foreground: there is nobody to tell.
  static func nobody() -> Readiness { Readiness(pipe: nil) }

  /// In the background process; nil when this process was not started by `BackgroundStart`.
  static func inherited(environment: [String: String]) -> Readiness? {
    guard environment[marker] == "\(descriptor)" else { return nil }
    var information = stat()
    // Somebody may have set the variable by hand.
    guard fstat(descriptor, &information) == 0, information.st_mode & S_IFMT == S_IFIFO else { return nil }
    _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC)
    unsetenv(marker)
    return Readiness(pipe: descriptor)
  }

  /// Says what is being done.
  func progress(_ text: String) {
    // Written under the lock, against the rule: the pipe's buffer takes these few lines without blocking, and the
    // descriptor must not be closed by the last word meanwhile.
    pipe.withLock { pipe in
      if let pipe { writeAll(pipe, ReadinessMessage.progress(text).bytes) }
    }
  }

  /// Says the last word; false when whoever waited is gone.
  @discardableResult
  func finish(_ message: ReadinessMessage) -> Bool {
    let descriptor = pipe.withLock { pipe in
      defer { pipe = nil }
      return pipe
    }
    guard let descriptor else { return true }
    defer { close(descriptor) }
    return writeAll(descriptor, message.bytes)
  }

  /// Runs `handler` on a thread of its own if whoever waits goes away before the last word.
  func watch(_ handler: @escaping @Sendable () -> Void) {
    guard let descriptor = pipe.withLock({ $0 }) else { return }
    let thread = Thread.start(name: "starter") {
      // No event is asked for: poll(2) reports only that the reading end was closed.
      var request = pollfd(fd: descriptor, events: 0, revents: 0)
      while poll(&request, 1, -1) < 0 && errno == EINTR {}
      if self.pipe.withLock({ $0 != nil }) { handler() }
    }
    thread?.detach()
  }
}
