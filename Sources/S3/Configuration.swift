public import HTTPTransport
public import ObjectStore

/// Where a server is and how to talk to it.
public struct S3Configuration: Sendable {
  /// Where the bucket's name goes.
  public enum Addressing: String, Hashable, Sendable {
    /// `https://host/bucket/key`
    case path
    /// `https://bucket.host/key`; a bucket whose name cannot be part of a host name is addressed by path.
    case virtualHost
  }

  /// The server.
  public var endpoint: S3Endpoint
  /// The region that requests are signed for.
  public var region: String
  /// Where the bucket's name goes.
  public var addressing: Addressing
  /// How failed attempts are repeated.
  public var retry: RetryPolicy
  /// Tokens in the retry budget that the requests about one bucket share.
  public var retryBudget: Int
  /// Deadlines of an attempt.
  public var deadlines: HTTPDeadlines
  /// Seconds without a byte that are allowed while the server copies or assembles an object.
  public var serverWorkStall: Double
  /// The longest listing or other XML answer that is taken, in bytes.
  public var answerLimit: Int

  /// Makes a configuration.
  /// - Parameter endpoint: `http://` or `https://`, a host, and a port if it is not the usual one; nothing behind.
  /// - Throws: `invalidRequest` with a message for the user when the endpoint is not such a URL.
  public init(
    endpoint: String, region: String, addressing: Addressing = .path, retry: RetryPolicy = RetryPolicy(),
    retryBudget: Int = 500, deadlines: HTTPDeadlines = HTTPDeadlines(), serverWorkStall: Double = 120,
    answerLimit: Int = 16 << 20
  ) throws(ObjectStoreError) {
    self.endpoint = try S3Endpoint(endpoint)
    guard !region.isEmpty, region.utf8.allSatisfy({ (0x21...0x7E).contains($0) && $0 != UInt8(ascii: "/") }) else {
      throw ObjectStoreError(.invalidRequest, "\(region.debugDescription) is not a region name.")
    }
    self.region = region
    self.addressing = addressing
    self.retry = retry
    self.retryBudget = retryBudget
    self.deadlines = deadlines
    self.serverWorkStall = serverWorkStall
    self.answerLimit = answerLimit
  }
}

/// A server's address, taken apart.
public struct S3Endpoint: Hashable, Sendable, CustomStringConvertible {
  /// Whether connections are encrypted.
  public let isEncrypted: Bool
  /// Host name, IPv4 address or bracketed IPv6 address, in lowercase.
  public let host: String
  /// Port where it is not the scheme's own.
  public let port: Int?

  /// Parses a URL of a scheme, a host and perhaps a port.
  public init(_ url: String) throws(ObjectStoreError) {
    func refusal(_ reason: String) -> ObjectStoreError {
      ObjectStoreError(
        .invalidRequest,
        "\(url.debugDescription) is not an endpoint: \(reason) Write it as https://host or http://host:port.")
    }
    let lowercase = url.lowercased()
    guard lowercase.utf8.allSatisfy({ (0x21...0x7E).contains($0) }) else {
      throw refusal("It has characters that a URL cannot have.")
    }
    var rest: Substring
    if lowercase.hasPrefix("https://") {
      isEncrypted = true
      rest = lowercase.dropFirst(8)
    } else if lowercase.hasPrefix("http://") {
      isEncrypted = false
      rest = lowercase.dropFirst(7)
    } else {
      throw refusal("It does not begin with https:// or http://.")
    }
    if rest.hasSuffix("/") { rest = rest.dropLast() }
    guard !rest.contains("/"), !rest.contains("?"), !rest.contains("#") else {
      throw refusal("Nothing may follow the host and port.")
    }
    guard !rest.contains("@") else { throw refusal("Credentials do not belong into a URL.") }
    let (host, port) = Self.splitPort(rest)
    guard Self.isHost(host) else { throw refusal("The host name is missing or malformed.") }
    self.host = String(host)
    guard let port else {
      self.port = nil
      return
    }
    guard let number = Int(port), (1...65_535).contains(number), port.utf8.allSatisfy({ $0 != UInt8(ascii: "+") })
    else {
      throw refusal("The port is not a number from 1 to 65535.")
    }
    self.port = number == (isEncrypted ? 443 : 80) ? nil : number
  }

  /// The URL without a slash at its end.
  public var description: String { url(host: host) }

  /// What the `Host` header says for requests to `host`.
  func authority(host: String) -> String { port.map { "\(host):\($0)" } ?? host }

  func url(host: String) -> String { "\(isEncrypted ? "https" : "http")://\(authority(host: host))" }

  private static func splitPort(_ text: Substring) -> (Substring, Substring?) {
    if text.hasPrefix("["), let end = text.firstIndex(of: "]") {
      let behind = text[text.index(after: end)...]
      guard behind.hasPrefix(":") else { return behind.isEmpty ? (text, nil) : ("", nil) }
      return (text[...end], behind.dropFirst())
    }
    guard let colon = text.lastIndex(of: ":") else { return (text, nil) }
    return (text[..<colon], text[text.index(after: colon)...])
  }

  private static func isHost(_ host: Substring) -> Bool {
    if host.hasPrefix("[") {
      return host.count > 2 && host.dropFirst().dropLast().allSatisfy { $0.isHexDigit || $0 == ":" || $0 == "." }
    }
    return !host.isEmpty && !host.hasPrefix(".") && !host.hasPrefix("-")
      && host.allSatisfy { ("a"..."z").contains($0) || ("0"..."9").contains($0) || "-._".contains($0) }
  }
}
