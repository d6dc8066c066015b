import Basics
import WritePath

/// One line of what `waysfs recover` shows.
struct RecoverRow: Hashable, Sendable {
  /// Endpoint, bucket and prefix, or the directory where they are not known.
  var mount: String
  var id: String
  var directory: String
  /// Nil when it is not known.
  var key: String?
  /// Bytes.
  var size: UInt64
  var modified: Timestamp
  var state: String
  var isInUse: Bool
  var reason: String
  /// The path of the bytes; nil when there are none.
  var data: String?
}

extension RecoverRow {
  init(_ item: JournalItem) {
    self.init(
      mount: item.identity ?? item.directory.string, id: item.id, directory: item.directory.string,
      key: item.key?.string, size: item.size, modified: item.modified, state: item.stateName, isInUse: item.isInUse,
      reason: item.reason, data: item.data?.string)
  }
}

/// The forms in which rows are shown.
enum RecoverTable {
  /// A table for each mount:
  ///
  ///     https://storage.example/photos:2024/
  ///       NAME          SIZE    AGE    STATE             ID                REASON
  ///       2024/a.jpg    4 MiB   3 h    pending (in use)  photos-1f3a-0/17  waits for its upload
  static func text(_ rows: [RecoverRow], now: Int64) -> String {
    var lines: [String] = []
    for (mount, group) in grouped(rows) {
      if !lines.isEmpty { lines.append("") }
      lines.append(LineFormat.escaped(mount))
      let header = ["NAME", "SIZE", "AGE", "STATE", "ID", "REASON"]
      let cells = group.map { row in
        [
          row.key.map(LineFormat.escaped) ?? "-", ByteCount.text(row.size), age(seconds: now - row.modified.seconds),
          row.isInUse ? "\(row.state) (in use)" : row.state, LineFormat.escaped(row.id), LineFormat.escaped(row.reason),
        ]
      }
      lines += aligned([header] + cells).map { "  \($0)" }
    }
    return lines.joined(separator: "\n")
  }

  /// An array of objects, one a line.
  static func json(_ rows: [RecoverRow]) -> String {
    let objects = rows.map { row in
      let fields = [
        ("id", JSONText.string(row.id)), ("mount", JSONText.string(row.mount)),
        ("directory", JSONText.string(row.directory)), ("in_use", row.isInUse ? "true" : "false"),
        ("key", row.key.map(JSONText.string) ?? "null"), ("size", "\(row.size)"),
        ("modified", JSONText.string(LineFormat.time(row.modified))), ("state", JSONText.string(row.state)),
        ("reason", JSONText.string(row.reason)), ("data", row.data.map(JSONText.string) ?? "null"),
      ]
      return "  {" + fields.map { "\"\($0)\": \($1)" }.joined(separator: ", ") + "}"
    }
    return objects.isEmpty ? "[]" : "[\n\(objects.joined(separator: ",\n"))\n]"
  }

  /// `now`, `12 s`, `3 min`, `5 h`, `17 d`.
  static func age(seconds: Int64) -> String {
    switch seconds {
    case ..<1: "now"
    case ..<60: "\(seconds) s"
    case ..<3600: "\(seconds / 60) min"
    case ..<86_400: "\(seconds / 3600) h"
    default: "\(seconds / 86_400) d"
    }
  }

  private static func grouped(_ rows: [RecoverRow]) -> [(mount: String, rows: [RecoverRow])] {
    var groups: [(mount: String, rows: [RecoverRow])] = []
    for row in rows {
      if let index = groups.firstIndex(where: { $0.mount == row.mount }) {
        groups[index].rows.append(row)
      } else {
        groups.append((row.mount, [row]))
      }
    }
    return groups
  }

  /// Columns two spaces apart, the last as long as it is.
  private static func aligned(_ lines: [[String]]) -> [String] {
    let columns = lines.first?.count ?? 0
    let widths = (0..<columns).map { column in lines.map { $0[column].count }.max() ?? 0 }
    return lines.map { cells in
      cells.enumerated().map { index, cell in
        index == columns - 1 ? cell : cell + String(repeating: " ", count: widths[index] - cell.count)
      }.joined(separator: "  ")
    }
  }
}

/// Strings of JSON (RFC 8259).
enum JSONText {
  static func string(_ text: String) -> String {
    var quoted = "\""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\"": quoted += "\\\""
      case "\\": quoted += "\\\\"
      case "\n": quoted += "\\n"
      case _ where scalar.value < 0x20 || scalar.value == 0x7F:
        let digits = String(scalar.value, radix: 16)
        quoted += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
      default: quoted.unicodeScalars.append(scalar)
      }
    }
    return quoted + "\""
  }
}
