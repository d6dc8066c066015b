import Glibc

/// How much a terminal shows.
struct TerminalSize: Hashable, Sendable {
  var columns: Int
  var rows: Int

  init(columns: Int, rows: Int) {
    self.columns = columns
    self.rows = rows
  }

  /// Of what a descriptor leads to; nil when that is no terminal.
  init?(of descriptor: Int32) {
    guard isatty(descriptor) == 1 else { return nil }
    var size = winsize()
    let isKnown = ioctl(descriptor, UInt(TIOCGWINSZ), &size) == 0 && size.ws_col > 0 && size.ws_row > 0
    // What those have that do not tell.
    self =
      isKnown ? TerminalSize(columns: Int(size.ws_col), rows: Int(size.ws_row)) : TerminalSize(columns: 80, rows: 24)
  }

  /// Draws a text in place of what is there, as far as it fits: more would roll out of sight at each drawing.
  func drawing(_ text: String) -> String {
    var lines = text.split(separator: "\n", omittingEmptySubsequences: false)
    // The cursor stays below the last line.
    let room = max(1, rows - 1)
    if lines.count > room {
      let hidden = lines.count - room + 1
      lines = Array(lines.prefix(room - 1)) + ["... and \(hidden) more lines"]
    }
    // To the top, each line to its end, and what is below: so nothing flickers. The last column stays free, since a
    // terminal may go to the next line when it is written to.
    let drawn = lines.map { "\($0.prefix(max(1, columns - 1)))\u{1B}[K\r\n" }
    return "\u{1B}[H\(drawn.joined())\u{1B}[J"
  }
}
