/// What is mounted: a bucket, or the part of it below a prefix. Written `BUCKET` or `BUCKET:PREFIX`.
struct BucketReference: Hashable, Sendable, CustomStringConvertible {
  /// The bucket's name: 3 to 63 lowercase letters, digits, hyphens and dots (S3: "General purpose bucket naming
  /// rules"; WAYSCloud allows no dots, other servers do).
  let bucket: String
  /// What every key starts with: empty, or one or more components, each followed by one `/`.
  let prefix: String

  /// A whole bucket of a name that a server has listed.
  init(listed name: String) {
    bucket = name
    prefix = ""
  }

  init(parsing text: String) throws(UsageError) {
    let colon = text.firstIndex(of: ":")
    let name = String(text[..<(colon ?? text.endIndex)])
    if text.hasPrefix("s3://") || text.hasPrefix("https://") || text.hasPrefix("http://") {
      throw UsageError(
        "'\(text)' is a URL: write the bucket as BUCKET or BUCKET:PREFIX, and the server with --endpoint")
    }
    if colon == nil, let slash = name.firstIndex(of: "/") {
      throw UsageError(
        "'\(text)' is not a bucket: to mount a part of a bucket write "
          + "'\(name[..<slash]):\(name[name.index(after: slash)...])'")
    }
    if let problem = Self.problem(withBucket: name) {
      throw UsageError(
        "'\(name)' is not a bucket name: \(problem) (3 to 63 lowercase letters, digits, hyphens and dots)")
    }
    bucket = name
    prefix = try Self.normalisedPrefix(colon.map { String(text[text.index(after: $0)...]) } ?? "")
  }

  /// The reference in the form in which it is written.
  var description: String { prefix.isEmpty ? bucket : "\(bucket):\(prefix)" }

  /// How df(1) and findmnt(8) show the mount.
  var source: String {
    prefix.isEmpty ? "waysfs:\(bucket)" : "waysfs:\(bucket)/\(prefix.dropLast())"
  }

  private static func problem(withBucket name: String) -> String? {
    let bytes = Array(name.utf8)
    let dot = UInt8(ascii: ".")
    guard let first = bytes.first, let last = bytes.last else { return "it is empty" }
    if !(3...63).contains(bytes.count) { return "it has \(bytes.count) characters" }
    let allowed = { (byte: UInt8) in isLetterOrDigit(byte) || byte == dot || byte == UInt8(ascii: "-") }
    if let bad = name.unicodeScalars.first(where: { !$0.isASCII || !allowed(UInt8($0.value)) }) {
      return "\(String(bad).debugDescription) is not allowed"
    }
    if !isLetterOrDigit(first) || !isLetterOrDigit(last) { return "it must start and end with a letter or digit" }
    if zip(bytes, bytes.dropFirst()).contains(where: { $0 == dot && $1 == dot }) {
      return "it has two dots in a row"
    }
    let labels = name.split(separator: ".", omittingEmptySubsequences: false)
    if labels.count == 4, labels.allSatisfy({ UInt8($0) != nil }) { return "it looks like an IP address" }
    return nil
  }

  private static func isLetterOrDigit(_ byte: UInt8) -> Bool {
    (0x61...0x7A).contains(byte) || (0x30...0x39).contains(byte)
  }

  /// Works on bytes: to Swift a slash with a combining accent behind it would be another character.
  private static func normalisedPrefix(_ text: String) throws(UsageError) -> String {
    let slash = UInt8(ascii: "/")
    var rest = Array(text.utf8)[...]
    if rest.first == slash { rest = rest.dropFirst() }
    if rest.last == slash { rest = rest.dropLast() }
    guard !rest.isEmpty else { return "" }
    for component in rest.split(separator: slash, omittingEmptySubsequences: false) {
      if component.isEmpty { throw UsageError("the prefix '\(text)' has an empty component ('//')") }
      if component.elementsEqual(".".utf8) || component.elementsEqual("..".utf8) {
        throw UsageError("the prefix '\(text)' has a component '.' or '..', which no path can reach")
      }
    }
    // An S3 key has at most 1024 bytes; a prefix that fills them leaves no room for a name.
    guard rest.count <= 1000 else { throw UsageError("the prefix is longer than 1000 bytes") }
    return String(decoding: rest, as: UTF8.self) + "/"
  }
}
