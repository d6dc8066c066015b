/// The head of an HTTP request.
struct RequestHead: Sendable {
  enum Method: String, Sendable {
    case get = "GET"
    case head = "HEAD"
    case put = "PUT"
    case post = "POST"
    case delete = "DELETE"
  }

  let method: Method
  /// The first component of the path; empty for the path "/".
  let bucket: String
  /// The rest of the path; empty for the bucket itself.
  let key: Key
  let query: Query
  /// Whether the connection is good for another request.
  let keepsAlive: Bool

  private struct Field {
    var name: Range<Int>
    var value: Range<Int>
  }

  private let text: [UInt8]
  private let fields: [Field]

  /// - Parameter text: from the request line to the empty line, with or without that.
  init(_ text: [UInt8]) throws(Refusal) {
    var lines = Lines(text)
    let (method, target, version) = try Self.requestLine(text, lines.next() ?? 0..<0)
    self.method = method
    let path = target.prefix { $0 != UInt8(ascii: "?") }
    query = try Query(target.dropFirst(path.count + 1))
    guard path.first == UInt8(ascii: "/") else { throw .invalidRequest("The target is no path.") }
    let bucket = path.dropFirst().prefix { $0 != UInt8(ascii: "/") }
    guard let bucketName = PercentCoding.decode(bucket, plusIsSpace: false),
      let key = PercentCoding.decode(path.dropFirst(bucket.count + 2), plusIsSpace: false)
    else { throw .invalidRequest("The path is not well encoded.") }
    guard key.count <= 1024 else { throw Refusal(400, "KeyTooLongError", "A key has up to 1024 bytes.") }
    self.bucket = String(decoding: bucketName, as: UTF8.self)
    self.key = Key(key)

    var fields: [Field] = []
    while let line = lines.next(), !line.isEmpty {
      guard let colon = text[line].firstIndex(of: UInt8(ascii: ":")) else {
        throw .invalidRequest("A header has no colon.")
      }
      fields.append(Field(name: line.lowerBound..<colon, value: Self.trimmed(text, colon + 1..<line.upperBound)))
    }
    self.fields = fields
    self.text = text
    let connection = Self.find("connection", text, fields).map { String(decoding: $0, as: UTF8.self).lowercased() }
    keepsAlive = version.elementsEqual("HTTP/1.1".utf8) ? connection != "close" : connection == "keep-alive"
  }

  /// The value of a header. `name` is in lower case.
  subscript(_ name: StaticString) -> String? {
    Self.find(name, text, fields).map { String(decoding: $0, as: UTF8.self) }
  }

  /// All headers, with names in lower case.
  var allFields: some Sequence<(name: String, value: ArraySlice<UInt8>)> {
    fields.lazy.map { (String(decoding: text[$0.name], as: UTF8.self).lowercased(), text[$0.value]) }
  }

  /// A number from 0 on; nil when the header is not there.
  func number(_ name: StaticString) throws(Refusal) -> Int? {
    guard let value = self[name] else { return nil }
    guard let number = Int(value), number >= 0 else { throw .invalidArgument("\(name) is not a number.") }
    return number
  }

  private static func requestLine(
    _ text: [UInt8], _ line: Range<Int>
  ) throws(Refusal) -> (Method, ArraySlice<UInt8>, ArraySlice<UInt8>) {
    let words = text[line].split(separator: UInt8(ascii: " "), omittingEmptySubsequences: false)
    guard words.count == 3, words[2].starts(with: "HTTP/1.".utf8) else {
      throw .invalidRequest("This is not HTTP/1.")
    }
    guard let method = Method(rawValue: String(decoding: words[0], as: UTF8.self)) else { throw .methodNotAllowed }
    return (method, words[1], words[2])
  }

  private static func trimmed(_ text: [UInt8], _ range: Range<Int>) -> Range<Int> {
    func isBlank(_ byte: UInt8) -> Bool { byte == UInt8(ascii: " ") || byte == UInt8(ascii: "\t") }
    var range = range
    while let first = range.first, isBlank(text[first]) { range = range.dropFirst() }
    while let last = range.last, isBlank(text[last]) { range = range.dropLast() }
    return range
  }

  private static func find(_ name: StaticString, _ text: [UInt8], _ fields: [Field]) -> ArraySlice<UInt8>? {
    name.withUTF8Buffer { name in
      fields.first { field in
        field.name.count == name.count
          && zip(field.name, name).allSatisfy { index, letter in
            let byte = text[index]
            return byte == letter || (byte | 0x20 == letter && (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains(byte))
          }
      }.map { text[$0.value] }
    }
  }

  /// The lines of a head, without their ends.
  private struct Lines {
    private let text: [UInt8]
    private var position = 0

    init(_ text: [UInt8]) { self.text = text }

    mutating func next() -> Range<Int>? {
      guard position < text.count else { return nil }
      let begin = position
      let end = text[begin...].firstIndex(of: UInt8(ascii: "\n")) ?? text.count
      position = end + 1
      return begin..<(end > begin && text[end - 1] == UInt8(ascii: "\r") ? end - 1 : end)
    }
  }
}
