/// The parts of a URL that the transport itself needs, and whether the request can be sent at all.
///
/// The checks are strict so that libcurl never gets to repair something: what the caller signed is what is sent.
struct RequestTarget: Equatable {
  /// Scheme and authority in lower case: what shares a connection limit.
  var origin: String
  /// Host and port, for messages.
  var authority: String
  /// Whether the host is this machine, by its name or literal address.
  var isLoopback: Bool

  init(_ request: HTTPRequest) throws(HTTPError) {
    try self.init(url: request.url)
    if !request.method.mayHaveBody, request.body.length > 0 {
      throw HTTPError(.invalidRequest, "a \(request.method.rawValue) request cannot have a body", neverSent: true)
    }
    guard request.body.length <= UInt64(Int64.max) else {
      throw HTTPError(.invalidRequest, "the body is too long", neverSent: true)
    }
    for header in request.headers { try Self.check(header) }
  }

  init(url: String) throws(HTTPError) {
    guard url.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F && $0 != UInt8(ascii: "#") }) else {
      throw Self.invalid("it holds a character that must be percent-encoded")
    }
    let lowercase = url.utf8.prefix(8).map { $0 | 0x20 }
    let scheme: String
    if lowercase.starts(with: "https://".utf8) {
      scheme = "https"
    } else if lowercase.starts(with: "http://".utf8) {
      scheme = "http"
    } else {
      throw Self.invalid("it does not begin with http:// or https://")
    }
    let rest = url.utf8.dropFirst(scheme.utf8.count + 3)
    let authority = rest.prefix { $0 != UInt8(ascii: "/") && $0 != UInt8(ascii: "?") }
    guard !authority.isEmpty, authority.allSatisfy(Self.mayStandInAuthority), let text = String(authority) else {
      throw Self.invalid("it has no valid host")
    }
    self.authority = text
    origin = "\(scheme)://\(text.lowercased())"
    isLoopback = Self.isLoopback(Self.host(of: text.lowercased()))
  }

  private static func invalid(_ reason: String) -> HTTPError {
    HTTPError(.invalidRequest, "the URL cannot be used: \(reason)", neverSent: true)
  }

  // No user information: credentials do not belong into a URL. No percent-encoding: libcurl would decode it.
  private static func mayStandInAuthority(_ byte: UInt8) -> Bool {
    isDigit(byte) || isLetter(byte) || "-._~:[]".utf8.contains(byte)
  }

  private static func host(of authority: String) -> Substring {
    if authority.hasPrefix("["), let end = authority.firstIndex(of: "]") { return authority[...end] }
    return authority.prefix { $0 != ":" }
  }

  private static func isLoopback(_ host: Substring) -> Bool {
    if host == "localhost" || host.hasSuffix(".localhost") || host == "[::1]" { return true }
    let parts = host.split(separator: ".", omittingEmptySubsequences: false)
    return parts.count == 4 && parts[0] == "127" && parts.allSatisfy { UInt8($0) != nil }
  }

  private static func check(_ header: HTTPHeader) throws(HTTPError) {
    guard !header.name.isEmpty, header.name.utf8.allSatisfy(isTokenByte) else {
      throw HTTPError(.invalidRequest, "a header name is not valid", neverSent: true)
    }
    guard header.value.utf8.allSatisfy({ ($0 >= 0x20 || $0 == 0x09) && $0 != 0x7F }) else {
      throw HTTPError(
        .invalidRequest, "the header \(header.name) holds a control character", neverSent: true)
    }
    let ours = ["Host", "Content-Length", "Transfer-Encoding", "Connection", "Expect"]
    guard !ours.contains(where: { equalIgnoringASCIICase($0, header.name) }) else {
      throw HTTPError(.invalidRequest, "the header \(header.name) is set by the transport", neverSent: true)
    }
  }

  // RFC 9110 5.6.2.
  private static func isTokenByte(_ byte: UInt8) -> Bool {
    isDigit(byte) || isLetter(byte) || "!#$%&'*+-.^_`|~".utf8.contains(byte)
  }

  private static func isLetter(_ byte: UInt8) -> Bool {
    (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte | 0x20)
  }
}

extension HTTPMethod {
  var mayHaveBody: Bool {
    switch self {
    case .get, .head: false
    case .put, .post, .delete: true
    }
  }
}
