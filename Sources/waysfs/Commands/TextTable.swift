/// Tables and JSON on standard output.
enum TextTable {
  /// Columns two spaces apart, the last as long as it is.
  static func text(_ rows: [[String]], header: [String]) -> String {
    aligned([header] + rows).joined(separator: "\n")
  }

  static func aligned(_ lines: [[String]]) -> [String] {
    let columns = lines.first?.count ?? 0
    let widths = (0..<columns).map { column in lines.map { $0[column].count }.max() ?? 0 }
    return lines.map { cells in
      cells.enumerated().map { index, cell in
        index == columns - 1 ? cell : cell + String(repeating: " ", count: widths[index] - cell.count)
      }.joined(separator: "  ")
    }
  }
}

/// JSON (RFC 8259), written.
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

  /// An object on one line; the values are JSON already.
  static func object(_ fields: [(String, String)]) -> String {
    "{" + fields.map { "\(string($0)): \($1)" }.joined(separator: ", ") + "}"
  }

  /// An array of objects, one a line.
  static func list(_ objects: [[(String, String)]]) -> String {
    objects.isEmpty ? "[]" : "[\n" + objects.map { "  \(object($0))" }.joined(separator: ",\n") + "\n]"
  }
}
