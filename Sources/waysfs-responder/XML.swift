/// Writes the documents of answers.
struct XMLWriter {
  private(set) var bytes: [UInt8] = Array("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n".utf8)

  /// - Parameters:
  ///   - root: the outermost element.
  ///   - hasNamespace: whether it is in S3's namespace, in which all are but errors.
  static func document(_ root: String, hasNamespace: Bool = true, _ content: (inout XMLWriter) -> Void) -> [UInt8] {
    var writer = XMLWriter()
    writer.bytes += "<\(root)\(hasNamespace ? " xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"" : "")>".utf8
    content(&writer)
    writer.bytes += "</\(root)>".utf8
    return writer.bytes
  }

  mutating func element(_ name: StaticString, _ content: (inout XMLWriter) -> Void) {
    tag("<", name)
    content(&self)
    tag("</", name)
  }

  mutating func element(_ name: StaticString, _ text: String) {
    element(name) { $0.escape(text.utf8) }
  }

  mutating func element(_ name: StaticString, _ text: [UInt8]) {
    element(name) { $0.escape(text) }
  }

  mutating func element(_ name: StaticString, _ number: Int) {
    element(name) { $0.bytes += String(number).utf8 }
  }

  /// A key or a part of one.
  mutating func element(_ name: StaticString, key: [UInt8], isEncoded: Bool) {
    element(name) { writer in
      if isEncoded { PercentCoding.encode(key, into: &writer.bytes) } else { writer.escape(key) }
    }
  }

  private mutating func tag(_ begin: StaticString, _ name: StaticString) {
    begin.withUTF8Buffer { bytes += $0 }
    name.withUTF8Buffer { bytes += $0 }
    bytes.append(UInt8(ascii: ">"))
  }

  private mutating func escape(_ text: some Sequence<UInt8>) {
    for byte in text {
      switch byte {
      case UInt8(ascii: "&"): bytes += "&amp;".utf8
      case UInt8(ascii: "<"): bytes += "&lt;".utf8
      case UInt8(ascii: ">"): bytes += "&gt;".utf8
      case UInt8(ascii: "\""): bytes += "&quot;".utf8
      case 0..<0x20: bytes += "&#x\(String(byte, radix: 16));".utf8
      default: bytes.append(byte)
      }
    }
  }
}

/// Reads the two documents that clients send: lists of elements without attributes that matter.
enum XMLReader {
  /// The content of each element of that name, in order; elements within elements of the same name are not expected.
  static func contents(of name: String, in text: ArraySlice<UInt8>) -> [ArraySlice<UInt8>] {
    var found: [ArraySlice<UInt8>] = []
    var rest = text
    while let content = first(name, in: rest) {
      found.append(content)
      rest = rest[content.endIndex...]
    }
    return found
  }

  /// The text of the first element of that name, without its escapes.
  static func text(of name: String, in text: ArraySlice<UInt8>) -> [UInt8]? {
    first(name, in: text).flatMap(unescaped)
  }

  private static func first(_ name: String, in text: ArraySlice<UInt8>) -> ArraySlice<UInt8>? {
    guard let begin = position(of: "<\(name)>", in: text),
      let end = position(of: "</\(name)>", in: text[begin.upperBound...])
    else { return nil }
    return text[begin.upperBound..<end.lowerBound]
  }

  private static func position(of needle: String, in text: ArraySlice<UInt8>) -> Range<Int>? {
    let needle = Array(needle.utf8)
    var from = text.startIndex
    while let found = text[from...].firstIndex(of: UInt8(ascii: "<")) {
      if text[found...].starts(with: needle) { return found..<(found + needle.count) }
      from = found + 1
    }
    return nil
  }

  private static func unescaped(_ text: ArraySlice<UInt8>) -> [UInt8]? {
    guard text.contains(UInt8(ascii: "&")) else { return Array(text) }
    var out: [UInt8] = []
    var rest = text
    while let byte = rest.popFirst() {
      guard byte == UInt8(ascii: "&") else {
        out.append(byte)
        continue
      }
      let name = rest.prefix { $0 != UInt8(ascii: ";") }
      rest = rest.dropFirst(name.count + 1)
      guard let scalar = scalar(String(decoding: name, as: UTF8.self)) else { return nil }
      out += String(scalar).utf8
    }
    return out
  }

  private static func scalar(_ name: String) -> Unicode.Scalar? {
    switch name {
    case "amp": "&"
    case "lt": "<"
    case "gt": ">"
    case "quot": "\""
    case "apos": "'"
    case _ where name.hasPrefix("#x"): UInt32(name.dropFirst(2), radix: 16).flatMap { Unicode.Scalar($0) }
    case _ where name.hasPrefix("#"): UInt32(name.dropFirst()).flatMap { Unicode.Scalar($0) }
    default: nil
    }
  }
}
