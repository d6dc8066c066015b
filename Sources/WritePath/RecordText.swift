import ObjectStore

/// Text files that prove themselves whole: a header with the format version, `name=value` lines, and a checksum.
///
///     HEADER
///     name=value
///     checksum=9f86d081884c7d65       FNV-1a of all lines above
enum RecordText {
  /// The file with those lines.
  static func seal(_ header: String, _ lines: [String]) -> String {
    let text = ([header] + lines).map { $0 + "\n" }.joined()
    return text + "checksum=\(String(Checksum.of(text), radix: 16))\n"
  }

  /// The fields of a file, in order; nil when anything about it is not as `seal` makes it.
  static func open(_ text: String, header: String) -> [(name: String, value: String)]? {
    let bytes = text.utf8
    guard bytes.last == UInt8(ascii: "\n"),
      let start = bytes.dropLast().lastIndex(of: UInt8(ascii: "\n")).map(bytes.index(after:)),
      String(text[start...]).utf8.elementsEqual(
        "checksum=\(String(Checksum.of(String(text[..<start])), radix: 16))\n".utf8)
    else { return nil }
    var lines = bytes[..<start].split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)[...]
    guard lines.popLast()?.isEmpty == true, lines.popFirst()?.elementsEqual(header.utf8) == true else { return nil }
    var fields: [(name: String, value: String)] = []
    for line in lines {
      guard let field = String(Substring(line)).splitOnce("=") else { return nil }
      fields.append((field.0, field.1))
    }
    return fields
  }

  /// The fields by name, but for those that may come more than once; nil when another one does.
  static func unique(
    _ fields: [(name: String, value: String)], except repeated: Set<String> = []
  ) -> [String: String]? {
    var result: [String: String] = [:]
    for (name, value) in fields where !repeated.contains(name) {
      guard result.updateValue(value, forKey: name) == nil else { return nil }
    }
    return result
  }
}

extension WriteCondition {
  /// As a field of a record.
  var encoded: String {
    switch self {
    case .none: "none"
    case .ifAbsent: "absent"
    case .ifMatch(let etag): "match:\(PercentText.encode(etag.value))"
    }
  }

  init?(decoding text: String) {
    switch text {
    case "none": self = .none
    case "absent": self = .ifAbsent
    default:
      guard let etag = text.value(of: "match", separator: ":").flatMap(PercentText.decode) else { return nil }
      self = .ifMatch(ETag(etag))
    }
  }
}

extension StagingBase {
  /// As a field of a record.
  var encoded: String { "\(PercentText.encode(etag.value)):\(size):\(PercentText.encode(key.string))" }

  init?(decoding text: String) {
    guard let (etag, rest) = text.splitOnce(":"), let (size, key) = rest.splitOnce(":"),
      let etag = PercentText.decode(etag), let size = UInt64(size), let key = PercentText.decode(key)
    else { return nil }
    self.init(key: ObjectKey(key), etag: ETag(etag), size: size)
  }
}

extension Range<UInt64> {
  /// As a field of a record.
  var encoded: String { "\(lowerBound)-\(upperBound)" }

  /// Reads a range; empty ones too.
  init?(decoding text: String) {
    guard let (low, high) = text.splitOnce("-"), let low = UInt64(low), let high = UInt64(high), low <= high else {
      return nil
    }
    self = low..<high
  }
}

extension RangeSet64 {
  /// As a field of a record.
  var encoded: String { ranges.map(\.encoded).joined(separator: ",") }

  init?(decoding text: String) {
    self.init()
    for piece in text.utf8.split(separator: UInt8(ascii: ",")) {
      guard let range = Range<UInt64>(decoding: String(Substring(piece))), !range.isEmpty else { return nil }
      insert(range)
    }
  }
}

extension String {
  /// What stands before and after the first `separator`, a single byte.
  func splitOnce(_ separator: Unicode.Scalar) -> (String, String)? {
    guard let index = unicodeScalars.firstIndex(of: separator) else { return nil }
    return (String(unicodeScalars[..<index]), String(unicodeScalars[unicodeScalars.index(after: index)...]))
  }

  func value(of name: String, separator: Unicode.Scalar = "=") -> String? {
    guard let (found, value) = splitOnce(separator), found == name else { return nil }
    return value
  }
}
