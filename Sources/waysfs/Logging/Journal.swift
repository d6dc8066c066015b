import CLinux
import Glibc
import Logging
import Synchronization

/// The journal of systemd, spoken to in its own protocol, so that levels and fields arrive (systemd.io, "Native Journal
/// Protocol"). Thread-safe.
///
///     MESSAGE=cannot list cause="timed out"\n
///     PRIORITY=4\n
///     WAYSFS_KEY\n<8 bytes: length, little-endian><bytes>\n       (a value with a line break)
final class SystemJournal: Sendable {
  static let path = "/run/systemd/journal/socket"

  /// What became of an entry.
  enum Outcome: Hashable, Sendable {
    case written
    /// The journal does not keep up. The entry is counted, and nobody waits for it: a mount must not stand still because
    /// its log does.
    case dropped
    /// Nobody listens there, or it cannot be said that way.
    case refused
  }

  private let socket: Int32
  private let path: String
  /// What every entry says beside its own fields.
  private let fields: [(name: String, value: String)]
  private let isBehind = Atomic(false)
  private let lost = Atomic(0)

  /// Nil when there is no journal.
  /// - Parameter buffer: bytes; by default what systemd's own library asks for, into which most entries fit.
  init?(path: String = SystemJournal.path, fields: [(name: String, value: String)] = [], buffer: Int32 = 8 << 20) {
    guard access(path, W_OK) == 0 else { return nil }
    let socket = clinux_datagram_socket(buffer)
    guard socket >= 0 else { return nil }
    self.socket = socket
    self.path = path
    self.fields = [("SYSLOG_IDENTIFIER", "waysfs"), ("SYSLOG_FACILITY", "\(LOG_DAEMON >> 3)")] + fields
  }

  /// Whether what is written to a descriptor goes to the journal: systemd says so in `JOURNAL_STREAM`, and the
  /// descriptor may have been redirected since (systemd.exec(5)).
  static func takes(_ descriptor: Int32, environment: [String: String]) -> Bool {
    let parts = (environment["JOURNAL_STREAM"] ?? "").split(separator: ":", omittingEmptySubsequences: false)
    var information = stat()
    guard parts.count == 2, let device = UInt64(parts[0]), let inode = UInt64(parts[1]),
      fstat(descriptor, &information) == 0
    else { return false }
    return UInt64(information.st_dev) == device && UInt64(information.st_ino) == inode
  }

  deinit { close(socket) }

  /// Writes an entry. Waits a second at most, and not at all while the journal is known to be behind.
  func write(_ event: LogEvent, metadata: Logger.Metadata) -> Outcome {
    switch send(Self.entry(event, metadata: metadata, fields), waits: !isBehind.load(ordering: .relaxed)) {
    case 0:
      if isBehind.exchange(false, ordering: .relaxed) { tellWhatWasLost() }
      return .written
    case EAGAIN:
      isBehind.store(true, ordering: .relaxed)
      lost.add(1, ordering: .relaxed)
      return .dropped
    default: return .refused
    }
  }

  private func tellWhatWasLost() {
    let count = lost.exchange(0, ordering: .relaxed)
    guard count > 0 else { return }
    let event = LogEvent(
      level: .warning, message: "the journal did not keep up; \(count) lines are lost", error: nil, metadata: nil,
      source: "waysfs", file: #fileID, function: #function, line: #line)
    if send(Self.entry(event, metadata: [:], fields), waits: false) != 0 { lost.add(count, ordering: .relaxed) }
  }

  /// Returns the errno of an entry that was not sent.
  private func send(_ bytes: [UInt8], waits: Bool) -> Int32 {
    let code = clinux_send_datagram(socket, path, bytes, bytes.count, waits)
    guard code == EMSGSIZE || code == ENOBUFS else { return code }
    // Too large for a datagram: handed over as a file that nobody can change any more.
    var error: Int32 = 0
    let file = clinux_sealed_file(bytes, bytes.count, &error)
    guard file >= 0 else { return error }
    defer { close(file) }
    return clinux_send_file(socket, path, file, waits)
  }

  /// An entry as it goes over the socket. What the event says of a field comes before what all say.
  static func entry(
    _ event: LogEvent, metadata: Logger.Metadata, _ fields: [(name: String, value: String)]
  ) -> [UInt8] {
    var entry: [UInt8] = []
    append("MESSAGE", LineFormat.body(event, metadata: metadata), to: &entry)
    append("PRIORITY", "\(event.level.syslogPriority)", to: &entry)
    var own: Set<String> = []
    for (key, value) in metadata.sorted(by: { $0.key < $1.key }) {
      guard let name = fieldName(key), own.insert(name).inserted else { continue }
      append(name, value.description, to: &entry)
    }
    if let error = event.error, own.insert("WAYSFS_ERROR").inserted {
      append("WAYSFS_ERROR", String(describing: error), to: &entry)
    }
    for (name, value) in fields where !own.contains(name) { append(name, value, to: &entry) }
    return entry
  }

  /// `request_id` is `WAYSFS_REQUEST_ID`; nil for a name that is too long.
  static func fieldName(_ key: String) -> String? {
    let name = key.utf8.map { byte -> UInt8 in
      switch byte {
      case 0x61...0x7A: byte - 0x20
      case 0x30...0x39, 0x41...0x5A: byte
      default: UInt8(ascii: "_")
      }
    }
    let field = "WAYSFS_" + String(decoding: name, as: UTF8.self)
    return field.utf8.count <= 64 ? field : nil
  }

  private static func append(_ name: String, _ value: String, to entry: inout [UInt8]) {
    let bytes = Array(value.utf8)
    entry += Array(name.utf8)
    if bytes.contains(UInt8(ascii: "\n")) {
      entry.append(UInt8(ascii: "\n"))
      withUnsafeBytes(of: UInt64(bytes.count).littleEndian) { entry += $0 }
    } else {
      entry.append(UInt8(ascii: "="))
    }
    entry += bytes
    entry.append(UInt8(ascii: "\n"))
  }
}
