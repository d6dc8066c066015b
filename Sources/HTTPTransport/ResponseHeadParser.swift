/// Builds the head of a response from the lines that libcurl hands out one by one.
///
/// Interim (1xx) heads are skipped. What comes after the final head are trailer fields, which are dropped but still
/// count against the limit. A pure value.
struct ResponseHeadParser {
  /// What a line led to.
  enum Step: Equatable {
    /// The head goes on.
    case more
    /// The final head is complete; reported once.
    case complete(HTTPResponseHead)
    /// This is not HTTP, or too much of it; the reason.
    case malformed(String)
  }

  private enum Phase {
    case statusLine, fields, done
  }

  private var phase = Phase.statusLine
  private var head = HTTPResponseHead(status: 0)
  private var remaining: Int

  /// - Parameter maximumBytes: how much all lines together may have.
  init(maximumBytes: Int) {
    remaining = maximumBytes
    head.headers.reserveCapacity(16)
  }

  /// Takes one line, with or without its line break.
  mutating func consume(_ line: UnsafeRawBufferPointer) -> Step {
    remaining -= line.count
    guard remaining >= 0 else { return .malformed("the head of the response is too large") }
    let text = line.droppingLineBreak
    switch phase {
    case .done:
      return .more
    case .statusLine:
      guard let status = Self.status(text) else { return .malformed("the response does not begin with a status line") }
      head.status = status
      head.headers.removeAll(keepingCapacity: true)
      phase = .fields
      return .more
    case .fields:
      return text.isEmpty ? endOfHead() : field(text)
    }
  }

  private mutating func endOfHead() -> Step {
    if (100..<200).contains(head.status) {
      phase = .statusLine
      return .more
    }
    phase = .done
    return .complete(head)
  }

  private mutating func field(_ text: Slice<UnsafeRawBufferPointer>) -> Step {
    guard !text.contains(0) else { return .malformed("a header field of the response holds a NUL byte") }
    guard let first = text.first, !isBlank(first) else {
      // A folded line (RFC 9112 5.2) continues the value before it.
      guard let last = head.headers.indices.last else { return .malformed("the head begins with a folded line") }
      head.headers[last].value += " " + String(decoding: text.trimmingBlanks, as: UTF8.self)
      return .more
    }
    guard let colon = text.firstIndex(of: UInt8(ascii: ":")), colon > text.startIndex else {
      return .malformed("a header field of the response has no name")
    }
    let name = String(decoding: text[..<colon].trimmingBlanks, as: UTF8.self)
    let value = String(decoding: text[text.index(after: colon)...].trimmingBlanks, as: UTF8.self)
    head.headers.append(HTTPHeader(name, value))
    return .more
  }

  /// The code in `HTTP/1.1 200 OK`.
  private static func status(_ line: Slice<UnsafeRawBufferPointer>) -> Int? {
    guard line.starts(with: "HTTP/".utf8), let space = line.firstIndex(of: UInt8(ascii: " ")) else { return nil }
    let digits = line[line.index(after: space)...].prefix { $0 != UInt8(ascii: " ") }
    guard digits.count == 3 else { return nil }
    var status = 0
    for digit in digits {
      guard isDigit(digit) else { return nil }
      status = status * 10 + Int(digit - UInt8(ascii: "0"))
    }
    return status >= 100 ? status : nil
  }
}

/// How long the body of a response has to be, by its head.
enum BodyFraming: Equatable {
  /// So many bytes.
  case length(UInt64)
  /// Until the last chunk or the end of the connection, which libcurl checks.
  case delimited
  /// The head contradicts itself.
  case malformed

  /// Reads it off a head (RFC 9112 6.3).
  init(_ head: HTTPResponseHead, method: HTTPMethod) {
    guard method != .head, head.status != 204, head.status != 304 else {
      self = .length(0)
      return
    }
    guard head["Transfer-Encoding"] == nil else {
      self = .delimited
      return
    }
    var length: UInt64?
    for header in head.headers where equalIgnoringASCIICase(header.name, "Content-Length") {
      guard !header.value.isEmpty, header.value.utf8.allSatisfy(isDigit), let value = UInt64(header.value),
        length == nil || length == value
      else {
        self = .malformed
        return
      }
      length = value
    }
    self = length.map(Self.length) ?? .delimited
  }
}

func isDigit(_ byte: UInt8) -> Bool { byte >= UInt8(ascii: "0") && byte <= UInt8(ascii: "9") }

private func isBlank(_ byte: UInt8) -> Bool { byte == UInt8(ascii: " ") || byte == UInt8(ascii: "\t") }

extension Slice<UnsafeRawBufferPointer> {
  fileprivate var trimmingBlanks: Self {
    var rest = self
    while let first = rest.first, isBlank(first) { rest.removeFirst() }
    while let last = rest.last, isBlank(last) { rest.removeLast() }
    return rest
  }
}

extension UnsafeRawBufferPointer {
  fileprivate var droppingLineBreak: Slice<UnsafeRawBufferPointer> {
    var rest = self[...]
    if rest.last == UInt8(ascii: "\n") { rest.removeLast() }
    if rest.last == UInt8(ascii: "\r") { rest.removeLast() }
    return rest
  }
}
