/// A configuration file: profiles of `name = value` lines.
///
///     # What holds for every mount.
///     [default]
///     metadata-ttl = 30s
///
///     # waysfs mount --profile archive ...
///     [archive]
///     endpoint = https://s3.example.com
///     api-key-file = ~/.config/waysfs/archive.key
///     read-only = yes
///     options = noatime,noexec
///
/// Names are those of the flags, without the hyphens in front; `_` is the same as `-`. `options` takes what follows `-o`.
/// A comment is a line of its own. A value goes to the end of the line; in double quotes it may begin and end with
/// blanks. A line that cannot be understood, or names no option, is an error with its number, also in profiles that are
/// not used; values are read where they are used.
struct ConfigurationFile: Sendable {
  struct Entry: Sendable {
    /// The name in the table's form.
    let name: String
    let value: String
    let line: Int
  }

  let path: String
  private(set) var profiles: [String: [Entry]] = [:]

  /// The key that takes what follows `-o`.
  static let optionsKey = "options"

  init(path: String, parsing text: String) throws(UsageError) {
    self.path = path
    var profile: String?
    let unmarked = text.unicodeScalars.first == "\u{FEFF}" ? String(text.unicodeScalars.dropFirst()) : text
    var number = 0
    for line in unmarked.split(omittingEmptySubsequences: false, whereSeparator: \.isNewline) {
      number += 1
      let content = line.trimmed
      guard let first = content.first, first != "#", first != ";" else { continue }
      if first == "[" {
        let name = try Self.profileName(content, at: "\(path):\(number)")
        guard profiles[name] == nil else { throw UsageError("\(path):\(number): the profile [\(name)] is there twice") }
        profiles[name] = []
        profile = name
        continue
      }
      guard let profile else {
        throw UsageError("\(path):\(number): this belongs to no profile; write [default] above it")
      }
      let entry = try Self.entry(content, line: number, at: "\(path):\(number)")
      if profiles[profile, default: []].contains(where: { $0.name == entry.name }) {
        throw UsageError("\(path):\(number): '\(entry.name)' is there twice in [\(profile)]")
      }
      profiles[profile, default: []].append(entry)
    }
  }

  /// What a profile says; nil when it is not there.
  func layer(_ profile: String, home: String?) throws(UsageError) -> OptionLayer? {
    guard let entries = profiles[profile] else { return nil }
    var layer = OptionLayer(.profile)
    for entry in entries {
      if entry.name == Self.optionsKey {
        do {
          try layer.take(list: entry.value)
        } catch {
          throw UsageError("\(path):\(entry.line): \(error.message)")
        }
        continue
      }
      guard let spelling = Self.spelling(entry.name) else { continue }
      try layer.set(
        spelling.sets, to: value(of: entry, spelling, home: home),
        spelledAs: "\(entry.name) in \(path) [\(profile)]")
    }
    return layer
  }

  private func value(of entry: Entry, _ spelling: OptionSpelling, home: String?) throws(UsageError) -> String {
    switch spelling.argument {
    case .none(let meaning) where meaning != "yes":
      // A choice that is made by naming it: there is nothing that "no" could mean.
      guard try wrapped(entry, OptionValue.flag) else {
        throw UsageError("\(path):\(entry.line): '\(entry.name)' is chosen with 'yes', or left out")
      }
      return meaning
    case .none: return entry.value
    case .value("file"), .value("directory"):
      // Not relative to where the command happens to be called.
      if entry.value.hasPrefix("~/") {
        guard let home else {
          throw UsageError("\(path):\(entry.line): \(entry.name): there is no home directory for '~'")
        }
        return "\(home)\(entry.value.dropFirst())"
      }
      let directory = path.lastIndex(of: "/").map { String(path[..<$0]) } ?? "."
      return try wrapped(entry) { text throws(UsageError) in try OptionValue.path(text, relativeTo: directory) }
    case .value: return entry.value
    }
  }

  private func wrapped<Value>(
    _ entry: Entry, _ parse: (String) throws(UsageError) -> Value
  ) throws(UsageError) -> Value {
    do throws(UsageError) {
      return try parse(entry.value)
    } catch {
      throw UsageError("\(path):\(entry.line): \(entry.name): \(error.message)")
    }
  }

  private static func spelling(_ name: String) -> OptionSpelling? {
    OptionSpelling.all.first { $0.name == name && $0.inFile }
  }

  private static func profileName(_ content: Substring, at place: String) throws(UsageError) -> String {
    let name = content.dropFirst().dropLast().trimmed
    let isAllowed = name.utf8.allSatisfy { byte in
      switch byte {
      case 0x30...0x39, 0x41...0x5A, 0x61...0x7A, 0x2D, 0x2E, 0x5F: true
      default: false
      }
    }
    guard content.hasSuffix("]"), (1...64).contains(name.utf8.count), isAllowed else {
      throw UsageError("\(place): a profile is written as [name], with letters, digits, '.', '_' and '-'")
    }
    return String(name)
  }

  private static func entry(_ content: Substring, line: Int, at place: String) throws(UsageError) -> Entry {
    guard let equals = content.firstIndex(of: "=") else {
      throw UsageError("\(place): this is neither 'name = value' nor '[profile]' nor a comment")
    }
    let written = content[..<equals].trimmed
    let name = OptionList.normalised(written)
    guard name == optionsKey || spelling(name) != nil else { throw UsageError("\(place): \(unknown(String(written)))") }
    let text = content[content.index(after: equals)...].trimmed
    let isQuoted = text.utf8.count >= 2 && text.hasPrefix("\"") && text.hasSuffix("\"")
    return Entry(name: name, value: String(isQuoted ? text.dropFirst().dropLast() : text), line: line)
  }

  private static func unknown(_ written: String) -> String {
    let name = OptionList.normalised(written)
    if let known = OptionSpelling.all.first(where: { $0.name == name }) {
      return "'\(known.name)' cannot be given in a configuration file"
    }
    let names = OptionSpelling.all.filter(\.inFile).map(\.name) + [optionsKey]
    let hint = nearestName(to: name, among: names).map { "; did you mean '\($0)'?" } ?? ""
    return "unknown key '\(written)'\(hint)"
  }
}

/// The configuration files of the machine and of the user.
struct ConfigurationFiles {
  /// The user's before the machine's: the first that says something counts.
  let files: [ConfigurationFile]
  /// Where they were looked for.
  let paths: [String]

  /// Reads what is there.
  /// - Parameter path: a file to read instead of the two; it must be there.
  init(
    _ path: String?, context: ProcessContext, readFile: (String) -> FileText = readSmallFile
  ) throws(UsageError) {
    paths = path.map { [$0] } ?? Self.places(context)
    var files: [ConfigurationFile] = []
    for place in paths {
      switch readFile(place) {
      case .text(let text, let mode):
        // Who may write it decides where files and logs go, and which server gets them.
        guard mode & 0o002 == 0 else { throw UsageError("\(place): everybody may write to it; change that with chmod") }
        files.append(try ConfigurationFile(path: place, parsing: text))
      case .absent where path == nil: continue
      case .absent: throw UsageError("\(place): there is no such file")
      case .unreadable(let reason): throw UsageError("\(place): \(reason)")
      }
    }
    self.files = files
  }

  /// What they say for a profile: it and [default], the strongest first.
  func layers(profile: OptionLayer.Value?, home: String?) throws(UsageError) -> [OptionLayer] {
    var layers: [OptionLayer] = []
    if let profile, profile.text != "default" {
      for file in files {
        if let layer = try file.layer(profile.text, home: home) { layers.append(layer) }
      }
      guard !layers.isEmpty else { throw UsageError(unknown(profile)) }
    }
    for file in files {
      if let layer = try file.layer("default", home: home) { layers.append(layer) }
    }
    return layers
  }

  private func unknown(_ profile: OptionLayer.Value) -> String {
    let names = Set(files.flatMap { $0.profiles.keys }).sorted()
    let hint = nearestName(to: profile.text, among: names).map { "; did you mean '\($0)'?" } ?? ""
    return "\(profile.spelledAs): there is no profile '\(profile.text)' in \(paths.joined(separator: " or "))\(hint)"
  }

  private static func places(_ context: ProcessContext) -> [String] {
    let own = context.environment["XDG_CONFIG_HOME"].flatMap { $0.hasPrefix("/") ? $0 : nil }
    let user = own ?? context.home.map { "\($0)/.config" }
    return [user.map { "\($0)/waysfs/config" }, "/etc/waysfs/config"].compactMap(\.self)
  }
}
