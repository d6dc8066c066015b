import Basics
import Glibc
import Logging
import Synchronization

/// Where log lines go. Can be switched while loggers that use it are at work. Thread-safe.
final class LogDestination: Sendable {
  enum Sink: Sendable {
    /// A descriptor that takes whole lines (standard error, a file opened with O_APPEND).
    case descriptor(Int32)
    /// syslog(3), facility daemon. Where nobody listens, lines get lost.
    case syslog
    /// The journal of systemd; what it refuses goes to syslog or, where standard error leads to the journal too,
    /// there, with the level in front (sd-daemon(3)).
    case journal(SystemJournal, orStandardError: Bool)
  }

  private let sink: Mutex<Sink>
  private let time: TimeSource

  init(_ sink: Sink, time: TimeSource = .system) {
    self.sink = Mutex(sink)
    self.time = time
  }

  /// Sends later lines to another sink.
  func redirect(to newSink: Sink) {
    sink.withLock { $0 = newSink }
  }

  /// A logger that writes here.
  func logger(label: String, level: Logger.Level) -> Logger { logger(label: label, LogThreshold(level)) }

  /// One whose level can be changed while it is used, and with it that of its copies.
  func logger(label: String, _ threshold: LogThreshold) -> Logger {
    Logger(label: label) { _ in LineLogHandler(destination: self, threshold: threshold) }
  }

  fileprivate func write(_ event: LogEvent, _ metadata: Logger.Metadata) {
    switch sink.withLock({ $0 }) {
    case .descriptor(let descriptor):
      let time = LineFormat.time(time.wall)
      write("\(time) \(event.level.rawValue) \(LineFormat.body(event, metadata: metadata))\n", to: descriptor)
    case .syslog: writeToSyslog(event, metadata)
    case .journal(let journal, let orStandardError):
      // One that is dropped is not written elsewhere: syslog and standard error most likely lead to the same journal,
      // and would wait for it.
      guard journal.write(event, metadata: metadata) == .refused else { return }
      guard orStandardError else { return writeToSyslog(event, metadata) }
      write("<\(event.level.syslogPriority)>\(LineFormat.body(event, metadata: metadata))\n", to: STDERR_FILENO)
    }
  }

  private func write(_ line: String, to descriptor: Int32) {
    var line = line
    // One write for a line, so that lines of several threads do not mix. A log that cannot be written is no reason to
    // stop working, so the result does not matter.
    line.withUTF8 { bytes in
      while Glibc.write(descriptor, bytes.baseAddress, bytes.count) < 0 && errno == EINTR {}
    }
  }

  private func writeToSyslog(_ event: LogEvent, _ metadata: Logger.Metadata) {
    LineFormat.body(event, metadata: metadata).withCString { text in
      withVaList([text]) { vsyslog(LOG_DAEMON | event.level.syslogPriority, "%s", $0) }
    }
  }
}

/// A swift-log handler that writes one line for a message.
struct LineLogHandler: LogHandler {
  let destination: LogDestination
  let threshold: LogThreshold
  /// Of this copy of a logger alone.
  private var ownLevel: Logger.Level?
  var metadata: Logger.Metadata = [:]
  var metadataProvider: Logger.MetadataProvider?

  init(destination: LogDestination, threshold: LogThreshold) {
    self.destination = destination
    self.threshold = threshold
  }

  var logLevel: Logger.Level {
    get { ownLevel ?? threshold.level }
    set { ownLevel = newValue }
  }

  subscript(metadataKey key: String) -> Logger.Metadata.Value? {
    get { metadata[key] }
    set { metadata[key] = newValue }
  }

  func log(event: LogEvent) {
    var all = metadata
    if let provided = metadataProvider?.get() { all.merge(provided) { $1 } }
    if let own = event.metadata { all.merge(own) { $1 } }
    destination.write(event, all)
  }
}

extension Logger.Level {
  /// The severity of syslog(3).
  var syslogPriority: Int32 {
    switch self {
    case .trace, .debug: LOG_DEBUG
    case .info: LOG_INFO
    case .notice: LOG_NOTICE
    case .warning: LOG_WARNING
    case .error: LOG_ERR
    case .critical: LOG_CRIT
    }
  }
}
