import CLinux
import Glibc

/// What a service tells its manager (sd_notify(3)).
enum ServiceMessage: Hashable, Sendable {
  /// Starting is over: the mount answers.
  case ready
  /// The service has begun to end.
  case stopping
  /// One line for people, which `systemctl status` shows.
  case status(String)
  /// All is well; within the watchdog's time from now this must be said again.
  case watchdog
  /// What is under way will take longer: the manager is to wait for this long from now, in seconds.
  case extendTimeout(Double)

  var line: String {
    switch self {
    case .ready: "READY=1"
    case .stopping: "STOPPING=1"
    case .status(let text): "STATUS=\(LineFormat.escaped(text))"
    case .watchdog: "WATCHDOG=1"
    case .extendTimeout(let seconds): "EXTEND_TIMEOUT_USEC=\(UInt64(max(0, min(seconds, 1e9)) * 1e6))"
    }
  }
}

/// The service manager that has started this process and wants to hear how it goes. Without libsystemd: the protocol is a
/// datagram of lines, and stable (sd_notify(3)). Thread-safe.
struct ServiceManager: Sendable {
  /// Of its socket: a path, or an abstract name behind `@`.
  let address: String
  /// Within how many seconds it wants to hear again and again that all is well; nil when it does not watch.
  let watchdog: Double?

  private static let socketVariable = "NOTIFY_SOCKET"
  private static let timeVariable = "WATCHDOG_USEC"
  private static let processVariable = "WATCHDOG_PID"

  /// Nil when there is none, or the socket is of a kind that is not for processes on the same machine.
  /// - Parameter pid: of this process; the watchdog may be meant for another.
  init?(environment: [String: String], pid: Int32) {
    // sun_path of unix(7) takes 107 bytes and the NUL.
    guard let address = environment[Self.socketVariable], address.hasPrefix("/") || address.hasPrefix("@"),
      (2...107).contains(address.utf8.count)
    else { return nil }
    self.address = address
    let isMeant = environment[Self.processVariable].map { $0 == "\(pid)" } ?? true
    let microseconds = isMeant ? environment[Self.timeVariable].flatMap { UInt64($0) } : nil
    watchdog = microseconds.flatMap { $0 > 0 && $0 < .max ? Double($0) / 1e6 : nil }
  }

  /// The one that has started this process. Takes it out of the environment, so that programs which are run from here do
  /// not speak for this one. Before the first thread starts.
  static func inherited(environment: [String: String]) -> ServiceManager? {
    defer { for name in [socketVariable, timeVariable, processVariable] { unsetenv(name) } }
    return ServiceManager(environment: environment, pid: getpid())
  }

  /// Tells it. That it does not listen is no reason to stop working.
  func tell(_ messages: [ServiceMessage]) {
    guard !messages.isEmpty else { return }
    let socket = clinux_datagram_socket(1 << 16)
    guard socket >= 0 else { return }
    defer { close(socket) }
    let text = Array(messages.map(\.line).joined(separator: "\n").utf8)
    _ = clinux_send_datagram(socket, address, text, text.count, true)
  }
}
