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
      lines += TextTable.aligned([header] + cells).map { "  \($0)" }
    }
    return lines.joined(separator: "\n")
  }

  /// An array of objects, one a line.
  static func json(_ rows: [RecoverRow]) -> String {
    JSONText.list(
      rows.map { row in
        [
          ("id", JSONText.string(row.id)), ("mount", JSONText.string(row.mount)),
          ("directory", JSONText.string(row.directory)), ("in_use", row.isInUse ? "true" : "false"),
          ("key", row.key.map(JSONText.string) ?? "null"), ("size", "\(row.size)"),
          ("modified", JSONText.string(LineFormat.time(row.modified))), ("state", JSONText.string(row.state)),
          ("reason", JSONText.string(row.reason)), ("data", row.data.map(JSONText.string) ?? "null"),
        ]
      })
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
}
