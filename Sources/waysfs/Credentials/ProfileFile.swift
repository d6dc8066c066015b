/// The AWS shared files (`~/.aws/credentials`, `~/.aws/config`): sections of `key = value` lines.
///
///     [profile work]
///     region = eu-north-1
///     s3 =
///         endpoint_url = https://storage.wayscloud.services
///
/// Read tolerantly, as the AWS tools do: any line end, a byte order mark, comments with `#` or `;` at the start of a
/// line or after a blank, keys in any case. A line that is deeper indented than the key before it belongs to that key
/// and is found as `s3.endpoint_url`. A section that comes twice is merged, the later value winning. Lines that make
/// no sense are passed over.
struct ProfileFile: Hashable, Sendable {
  /// Keys in lowercase.
  private(set) var sections: [String: [String: String]] = [:]

  init(parsing text: String) {
    var section: String?
    var parent: (key: String, indentation: Int)?
    let unmarked = text.unicodeScalars.first == "\u{FEFF}" ? String(text.unicodeScalars.dropFirst()) : text
    for line in unmarked.split(whereSeparator: \.isNewline) {
      let indentation = line.prefix { $0 == " " || $0 == "\t" }.count
      let content = line.trimmed
      guard let first = content.first, first != "#", first != ";" else { continue }
      if first == "[" {
        section = Self.sectionName(content)
        parent = nil
        if let section { sections[section, default: [:]].merge([:]) { $1 } }
        continue
      }
      guard let section, let equals = content.firstIndex(of: "=") else { continue }
      let key = content[..<equals].trimmed.lowercased()
      let value = Self.withoutComment(content[content.index(after: equals)...])
      guard !key.isEmpty else { continue }
      if let parent, indentation > parent.indentation {
        sections[section]?["\(parent.key).\(key)"] = value
      } else {
        sections[section]?[key] = value
        parent = (key, indentation)
      }
    }
  }

  /// A profile as the credentials file names it (`[work]`) or as the configuration file does (`[profile work]`).
  func profile(_ name: String) -> [String: String]? {
    let plain = sections[name]
    let prefixed = sections["profile \(name)"]
    return prefixed.map { ($0).merging(plain ?? [:]) { own, _ in own } } ?? plain
  }

  /// The names of all profiles.
  var profiles: [String] {
    Set(sections.keys.map { $0.hasPrefix("profile ") ? String($0.dropFirst(8)) : $0 }).sorted()
  }

  private static func sectionName(_ line: Substring) -> String? {
    guard let end = line.firstIndex(of: "]") else { return nil }
    let words = line[line.index(after: line.startIndex)..<end].trimmed.split(
      maxSplits: 1, whereSeparator: { $0 == " " || $0 == "\t" })
    guard let first = words.first else { return nil }
    guard words.count == 2, first == "profile" else { return words.joined(separator: " ") }
    let name = words[1].trimmed
    let isQuoted = name.count >= 2 && name.hasPrefix("\"") && name.hasSuffix("\"")
    return "profile \(isQuoted ? name.dropFirst().dropLast() : name)"
  }

  private static func withoutComment(_ value: Substring) -> String {
    var previous: Character = " "
    for index in value.indices {
      if value[index] == "#" || value[index] == ";", previous == " " || previous == "\t", index != value.startIndex {
        return String(value[..<index].trimmed)
      }
      previous = value[index]
    }
    return String(value.trimmed)
  }
}

extension StringProtocol {
  /// Without blanks, tabs and line ends at both ends.
  var trimmed: SubSequence {
    let start = firstIndex { !$0.isWhitespace } ?? endIndex
    let end = lastIndex { !$0.isWhitespace }.map { index(after: $0) } ?? start
    return self[start..<end]
  }
}
