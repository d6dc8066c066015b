import Basics
import Logging

/// The form of a log line: `2026-11-22T16:38:26.123Z info cannot list dir=photos/ error="timed out"`.
enum LineFormat {
  /// The line without time and line break.
  static func body(_ event: LogEvent, metadata: Logger.Metadata) -> String {
    var line = ""
    append(event.message.description, to: &line)
    for (key, value) in metadata.sorted(by: { $0.key < $1.key }) {
      line += " \(key)=\(quotedIfNeeded(value.description))"
    }
    if let error = event.error { line += " error=\(quotedIfNeeded(String(describing: error)))" }
    return line
  }

  /// UTC with milliseconds (RFC 3339).
  static func time(_ timestamp: Timestamp) -> String {
    let civil = CivilTime(timestamp)
    return "\(padded(civil.year, 4))-\(padded(civil.month, 2))-\(padded(civil.day, 2))"
      + "T\(padded(civil.hour, 2)):\(padded(civil.minute, 2)):\(padded(civil.second, 2))"
      + ".\(padded(Int(timestamp.nanoseconds / 1_000_000), 3))Z"
  }

  /// A value as it stands when it is one plain word, else in quotes with control characters escaped: names of objects
  /// come from strangers and must not be able to forge a line.
  static func quotedIfNeeded(_ value: String) -> String {
    let isPlain = !value.isEmpty && value.unicodeScalars.allSatisfy { $0.value > 0x20 && $0 != "\"" && !isControl($0) }
    if isPlain { return value }
    var quoted = "\""
    for scalar in value.unicodeScalars {
      switch scalar {
      case "\"": quoted += "\\\""
      case "\\": quoted += "\\\\"
      default: append(String(scalar), to: &quoted)
      }
    }
    return quoted + "\""
  }

  /// The text with everything escaped that could break the line.
  static func escaped(_ text: String) -> String {
    var line = ""
    append(text, to: &line)
    return line
  }

  private static func append(_ text: String, to line: inout String) {
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\n": line += "\\n"
      case "\t": line += "\\t"
      case "\r": line += "\\r"
      case _ where isControl(scalar): line += "\\u{\(String(scalar.value, radix: 16))}"
      default: line.unicodeScalars.append(scalar)
      }
    }
  }

  /// C0, DEL, C1, and the scalars that reorder or break lines on a terminal.
  private static func isControl(_ scalar: Unicode.Scalar) -> Bool {
    switch scalar.value {
    case 0..<0x20, 0x7F..<0xA0, 0x2028...0x202E, 0x2066...0x2069: true
    default: false
    }
  }

  private static func padded(_ value: Int, _ width: Int) -> String {
    let digits = String(value)
    return String(repeating: "0", count: max(0, width - digits.count)) + digits
  }
}
