public import Basics

/// A header field.
public struct HTTPHeader: Hashable, Sendable {
  /// Field name as sent; compared without regard to case where it is looked up.
  public var name: String
  /// Field value without line breaks.
  public var value: String

  /// Makes a field.
  public init(_ name: String, _ value: String) {
    self.name = name
    self.value = value
  }
}

/// The methods this project uses.
public enum HTTPMethod: String, Hashable, Sendable {
  case get = "GET"
  case head = "HEAD"
  case put = "PUT"
  case post = "POST"
  case delete = "DELETE"
}

/// What is sent with a request.
public enum HTTPBody: Sendable {
  /// No body.
  case none
  /// Bytes in memory.
  case bytes([UInt8])
  /// A range of a file, in bytes; the file must not change meanwhile.
  case file(SharedDescriptor, offset: UInt64, length: UInt64)
  /// `length` bytes produced by `read`: it fills the start of the buffer and returns how many bytes it wrote, 0 at the
  /// end, nil to fail the request. Called on the event thread with the offset in the body; it must not block.
  case stream(length: UInt64, read: @Sendable (_ offset: UInt64, _ into: UnsafeMutableRawBufferPointer) -> Int?)

  /// Length in bytes.
  public var length: UInt64 {
    switch self {
    case .none: 0
    case .bytes(let bytes): UInt64(bytes.count)
    case .file(_, _, let length), .stream(let length, _): length
    }
  }
}

/// How long a request may take. All in seconds; nil means no limit.
public struct HTTPDeadlines: Hashable, Sendable {
  /// Until the connection, TLS included, stands.
  public var connect: Double?
  /// A transfer slower than `stallBytesPerSecond` for this long is given up.
  public var stall: Double?
  /// The speed below which a transfer counts as stalled.
  public var stallBytesPerSecond: Int
  /// From start to the last byte.
  public var total: Double?

  /// Makes deadlines.
  public init(connect: Double? = 10, stall: Double? = 20, stallBytesPerSecond: Int = 1, total: Double? = nil) {
    self.connect = connect
    self.stall = stall
    self.stallBytesPerSecond = stallBytesPerSecond
    self.total = total
  }
}

/// A request.
public struct HTTPRequest: Sendable {
  /// Method.
  public var method: HTTPMethod
  /// Absolute URL, already percent-encoded; sent as it stands (no dot-segment removal, no re-encoding).
  public var url: String
  /// Header fields; `Host`, `Content-Length` and connection handling are the transport's.
  public var headers: [HTTPHeader]
  /// Body.
  public var body: HTTPBody
  /// Deadlines.
  public var deadlines: HTTPDeadlines
  /// On whose behalf it is made: groups take turns (`HTTPTransport.Configuration.isShared`).
  public var group: String

  /// Makes a request.
  public init(
    _ method: HTTPMethod, _ url: String, headers: [HTTPHeader] = [], body: HTTPBody = .none,
    deadlines: HTTPDeadlines = HTTPDeadlines(), group: String = ""
  ) {
    self.method = method
    self.url = url
    self.headers = headers
    self.body = body
    self.deadlines = deadlines
    self.group = group
  }
}

/// Status and header fields of a response.
public struct HTTPResponseHead: Hashable, Sendable {
  /// Status code.
  public var status: Int
  /// Fields in the order received.
  public var headers: [HTTPHeader]

  /// Makes a head.
  public init(status: Int, headers: [HTTPHeader] = []) {
    self.status = status
    self.headers = headers
  }

  /// The first field of that name, without regard to case.
  public subscript(name: String) -> String? {
    headers.first { equalIgnoringASCIICase($0.name, name) }?.value
  }
}

/// A response whose body has arrived where it was meant to go.
public struct HTTPResponse: Hashable, Sendable {
  /// Status and fields.
  public var head: HTTPResponseHead
  /// The body, where it was collected.
  public var body: [UInt8]
  /// Length of the body in bytes, wherever it went.
  public var bodyLength: UInt64

  /// Makes a response.
  public init(head: HTTPResponseHead, body: [UInt8] = [], bodyLength: UInt64? = nil) {
    self.head = head
    self.body = body
    self.bodyLength = bodyLength ?? UInt64(body.count)
  }
}

/// Where the body of a response goes; decided when its head is known.
public enum HTTPBodyDestination: Sendable {
  /// Into `HTTPResponse.body`; fails with `bodyTooLarge` past `limit` bytes.
  case collect(limit: Int)
  /// To a callback on the event thread, in order; the bytes are valid during the call. Returning false fails the
  /// request with `rejected`. The callback must not block.
  case deliver(@Sendable (UnsafeRawBufferPointer) -> Bool)
}

/// Why a request got no (complete) response. Any HTTP status is a response, not an error.
public struct HTTPError: Error, Hashable, Sendable, CustomStringConvertible {
  /// What kind of failure.
  public enum Code: String, Hashable, Sendable {
    /// The URL or a header cannot be sent.
    case invalidRequest
    /// The host name could not be resolved.
    case unresolved
    /// No connection could be made.
    case unreachable
    /// The TLS handshake or the certificate check failed.
    case tls
    /// The connect deadline passed.
    case connectTimedOut
    /// The transfer was too slow for too long.
    case stalled
    /// The total deadline passed.
    case timedOut
    /// The connection broke before the head of a response.
    case connectionLost
    /// The body ended before the announced length, or its framing broke.
    case truncated
    /// The answer is not HTTP, or its head is too large.
    case malformed
    /// A collected body passed its limit.
    case bodyTooLarge
    /// The callback for the body refused it.
    case rejected
    /// The bytes to send could not be read.
    case bodyUnreadable
    /// The caller cancelled.
    case cancelled
    /// The transport was shut down.
    case shutDown
  }

  /// What kind of failure.
  public var code: Code
  /// One sentence for a person, without secrets.
  public var message: String
  /// Whether no byte of the request had left when it failed: then it cannot have been applied.
  public var neverSent: Bool

  /// Makes an error.
  public init(_ code: Code, _ message: String, neverSent: Bool = false) {
    self.code = code
    self.message = message
    self.neverSent = neverSent
  }

  /// Code and message.
  public var description: String { "\(code.rawValue): \(message)" }
}

/// What the protocol clients need of a transport. Thread-safe.
public protocol HTTPClient: Sendable {
  /// Starts a request.
  /// - Parameters:
  ///   - request: what to send.
  ///   - cancellation: when fired, the request reports `cancelled` soon.
  ///   - destination: asked once, on the event thread, when the final head (never 1xx) is known; says where the body goes.
  ///   - completion: called exactly once, on the event thread (or the caller's, when the request cannot be sent). A
  ///     success means that the whole body, as its framing announced it, has arrived.
  func send(
    _ request: HTTPRequest, cancellation: Cancellation?,
    destination: @escaping @Sendable (HTTPResponseHead) -> HTTPBodyDestination,
    completion: @escaping Completion<HTTPResponse, HTTPError>)

  /// Runs `work` on the event thread after `seconds`; at once at shutdown. It must not block.
  func schedule(after seconds: Double, _ work: @escaping @Sendable () -> Void)
}

func equalIgnoringASCIICase(_ left: String, _ right: String) -> Bool {
  left.utf8.count == right.utf8.count
    && zip(left.utf8, right.utf8).allSatisfy { lowercasedASCII($0) == lowercasedASCII($1) }
}

private func lowercasedASCII(_ byte: UInt8) -> UInt8 {
  (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains(byte) ? byte | 0x20 : byte
}
