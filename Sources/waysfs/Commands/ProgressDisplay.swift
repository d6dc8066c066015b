import Basics
import Glibc

/// What a command shows while it waits for uploads: on a terminal one line that is drawn again and again, elsewhere one
/// that says what it waits for. A plain value; the caller has the clock and prints.
struct ProgressDisplay: Hashable, Sendable {
  /// Nothing is shown before, in seconds: most waits are over by then.
  static let delay = 1.0
  /// Seconds between two drawings on a terminal.
  static let terminalInterval = 0.2

  /// Columns of the terminal; nil elsewhere.
  let width: Int?
  /// What is waited for.
  let purpose: String
  private var meter = ProgressMeter()
  private var pending: PendingUploads?
  private var start: Double?
  private var nextDrawing = 0.0
  private var hasDrawn = false

  init(width: Int?, purpose: String) {
    self.width = width
    self.purpose = purpose
  }

  /// Takes note of what is pending, where that is known, and says what to print, if anything.
  mutating func step(_ known: PendingUploads?, at time: Double) -> String? {
    if let known {
      pending = known
      meter.add(bytes: known.bytes, at: time)
    }
    guard let start else {
      start = time
      nextDrawing = time + Self.delay
      return nil
    }
    guard time >= nextDrawing, time >= start else { return nil }
    nextDrawing = time + Self.terminalInterval
    defer { hasDrawn = true }
    guard let width else { return hasDrawn ? nil : "waysfs: \(purpose)\(pending.map { ": \(text($0))" } ?? "")\n" }
    // The last column stays free: a terminal may go to the next line when it is written to.
    let line = "waysfs: \(pending.map(text) ?? purpose)".prefix(max(20, width - 1))
    return "\r\(line)\u{1B}[K"
  }

  /// Says what to print before anything else is: takes the line on the terminal away.
  mutating func end() -> String? {
    defer { hasDrawn = false }
    return width != nil && hasDrawn ? "\r\u{1B}[K" : nil
  }

  /// `3 files, 12 MiB left, 4 MiB/s, 3 s to go; 1 has failed: the server cannot be reached`
  private func text(_ pending: PendingUploads) -> String {
    var text = "\(pending) left"
    if let rate = meter.rate, pending.bytes > 0 {
      text += ", \(ByteCount.text(UInt64(rate)))/s"
      if let seconds = meter.secondsLeft { text += ", \(DurationText.text(seconds: seconds)) to go" }
    }
    if pending.failed > 0 {
      text += "; \(pending.failed) \(pending.failed == 1 ? "has" : "have") failed"
      if let error = pending.lastError { text += ": \(LineFormat.escaped(error))" }
    }
    return text
  }
}

/// Waits for something and shows how far the uploads are.
struct ProgressWait {
  var display: ProgressDisplay
  var time = TimeSource.system
  var write: (String) -> Void = { writeAll(STDERR_FILENO, Array($0.utf8)) }

  /// Shows it on standard error.
  init(purpose: String) {
    display = ProgressDisplay(width: TerminalSize(of: STDERR_FILENO)?.columns, purpose: purpose)
  }

  init(
    _ display: ProgressDisplay, time: TimeSource, write: @escaping (String) -> Void
  ) {
    self.display = display
    self.time = time
    self.write = write
  }

  /// - Parameters:
  ///   - isOver: blocks for a moment, a tenth of a second or so, and says whether the wait is over.
  ///   - pending: what is not in the bucket yet, where that is known.
  mutating func run(until isOver: () -> Bool, pending: () -> PendingUploads?) {
    while !isOver() {
      if let text = display.step(pending(), at: Double(time.monotonic) / 1e9) { write(text) }
    }
    if let text = display.end() { write(text) }
  }
}
