import Glibc
import WAYSCloud

/// Writes a profile into the AWS files (`~/.aws/credentials` and `~/.aws/config`), and leaves everything else in them as
/// it is. Files are replaced in one step, keep their owner, and only that one may read them afterwards.
struct AWSProfileWriter {
  let credentials: String
  let configuration: String

  init(_ context: ProcessContext) throws(Failure) {
    let named = { (variable: String) in context.environment[variable].flatMap { $0.isEmpty ? nil : $0 } }
    let home = context.home.map { "\($0)/.aws" }
    guard let credentials = named("AWS_SHARED_CREDENTIALS_FILE") ?? home.map({ "\($0)/credentials" }),
      let configuration = named("AWS_CONFIG_FILE") ?? home.map({ "\($0)/config" })
    else { throw Failure("there is no home directory", remedy: "Set HOME") }
    self.credentials = credentials
    self.configuration = configuration
  }

  static func isName(_ name: String) -> Bool {
    (1...64).contains(name.utf8.count)
      && name.utf8.allSatisfy { byte in
        switch byte {
        case 0x30...0x39, 0x41...0x5A, 0x61...0x7A, 0x2D, 0x2E, 0x5F: true
        default: false
        }
      }
  }

  /// Writes it; lines that say what was done.
  func write(_ keys: StorageCredentials, to profile: String) throws(Failure) -> [String] {
    let values = [keys.accessKeyID, keys.secretAccessKey, keys.endpointURL ?? "", keys.region ?? ""]
    guard values.allSatisfy({ $0.utf8.allSatisfy { (0x21...0x7E).contains($0) } }) else {
      throw Failure("the control plane's answer has characters that such a file cannot hold")
    }
    try change(
      credentials, section: profile,
      [
        ("aws_access_key_id", keys.accessKeyID), ("aws_secret_access_key", keys.secretAccessKey),
        ("aws_session_token", nil),
      ])
    try change(
      configuration, section: profile == "default" ? profile : "profile \(profile)",
      [("region", keys.region), ("endpoint_url", keys.endpointURL)])
    return ["Wrote the profile \(profile) into \(credentials) and \(configuration)."]
  }

  private func change(_ path: String, section: String, _ values: [(String, String?)]) throws(Failure) {
    var target = path
    // A link is followed, not replaced.
    if let real = realpath(path, nil) {
      target = String(cString: real)
      free(real)
    }
    let text: String
    switch readSmallFile(target) {
    case .text(let found, _):
      // Bytes that are no characters have become this one, and would not come back.
      guard !found.unicodeScalars.contains("\u{FFFD}") else {
        throw Failure("\(path) is not UTF-8 text", remedy: "Write it anew as such, or choose another file")
      }
      text = found
    case .absent: text = ""
    case .unreadable(let reason): throw Failure("cannot read \(path): \(reason)")
    }
    try replace(target, with: Self.changed(text, section: section, values))
  }

  /// The text with these values in a section: nil takes one away. What else the section has stays, and so do comments.
  static func changed(_ text: String, section: String, _ values: [(name: String, value: String?)]) -> String {
    // Not by characters: CR and LF together are one. The CR stays a part of its line.
    let found = text.utf8.split(separator: 0x0A, omittingEmptySubsequences: false).map(Substring.init)
    let lineEnd = found.first?.utf8.last == 0x0D ? "\r" : ""
    let new = values.compactMap { name, value in value.map { "\(name) = \($0)\(lineEnd)" } }
    let names = Set(values.map(\.name))
    var lines: [String] = []
    var current: String?
    var isWritten = false
    var isDropping = false
    for line in found {
      let content = line.trimmed
      let isIndented = line.first == " " || line.first == "\t"
      if content.hasPrefix("[") {
        isDropping = false
        current = ProfileFile(parsing: "\(content)\n").sections.keys.first
        lines.append(String(line))
        if current == section, !isWritten {
          lines += new
          isWritten = true
        }
        continue
      }
      let name = content.prefix { $0 != "=" }.trimmed.lowercased()
      // What is indented below a value goes with it.
      if isDropping, isIndented { continue }
      isDropping = current == section && !isIndented && content.contains("=") && names.contains(name)
      if !isDropping { lines.append(String(line)) }
    }
    if !isWritten {
      while lines.last?.trimmed.isEmpty == true { lines.removeLast() }
      lines += (lines.isEmpty ? [] : [lineEnd]) + ["[\(section)]\(lineEnd)"] + new + [""]
    }
    return lines.joined(separator: "\n")
  }

  private func replace(_ path: String, with text: String) throws(Failure) {
    let directory = path.lastIndex(of: "/").map { String(path[..<$0]) } ?? "."
    if mkdir(directory, 0o700) != 0, errno != EEXIST {
      throw Failure("cannot make \(directory): \(describe(errno: errno))")
    }
    var temporary = Array("\(path).XXXXXX".utf8CString)
    let file = mkstemp(&temporary)
    guard file >= 0 else { throw Failure("cannot write \(path): \(describe(errno: errno))") }
    let isWritten =
      keepsOwner(file, of: path) && fchmod(file, 0o600) == 0 && writeAll(file, Array(text.utf8)) && fsync(file) == 0
    let reason = isWritten ? "" : describe(errno: errno)
    close(file)
    guard isWritten else {
      unlink(temporary)
      throw Failure("cannot write \(path): \(reason)")
    }
    guard rename(temporary, path) == 0 else {
      let reason = describe(errno: errno)
      unlink(temporary)
      throw Failure("cannot write \(path): \(reason)")
    }
  }

  /// Gives the file the owner of the one it replaces, which with sudo is another than who runs this.
  private func keepsOwner(_ file: Int32, of path: String) -> Bool {
    var old = stat()
    var new = stat()
    guard stat(path, &old) == 0, fstat(file, &new) == 0 else { return true }
    // The group matters to nobody: only the owner may read it.
    _ = fchown(file, uid_t.max, old.st_gid)
    return old.st_uid == new.st_uid || fchown(file, old.st_uid, gid_t.max) == 0
  }
}
