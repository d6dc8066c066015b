import Basics
import HTTPTransport
import ObjectStore

/// A request to the S3 API before it is addressed and signed.
struct S3Request: Sendable {
  var method: HTTPMethod
  var bucket: String?
  var key: ObjectKey?
  var query: [(name: String, value: String)] = []
  var headers: [HTTPHeader] = []
  var body = HTTPBody.none
  /// Hexadecimal SHA-256 of the body, or `UNSIGNED-PAYLOAD`.
  var payloadHash = S3Request.emptyHash
  var deadlines = HTTPDeadlines()

  static let unsignedPayload = "UNSIGNED-PAYLOAD"
  /// SHA-256 of nothing.
  static let emptyHash = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
}

/// Turns requests into signed HTTP requests.
struct RequestBuilder: Sendable {
  var endpoint: S3Endpoint
  var region: String
  var addressing: S3Configuration.Addressing
  let keys: SigningKeyCache = SigningKeyCache()

  /// The request as it goes over the wire.
  /// - Parameter time: the server's time of day as far as it is known.
  func signed(_ request: S3Request, _ credentials: S3Credentials, at time: Timestamp) -> HTTPRequest {
    let (host, path) = address(bucket: request.bucket, key: request.key)
    let query = SigV4.canonicalQuery(request.query)
    let date = amazonDate(time)
    var headers = request.headers
    headers.append(HTTPHeader("x-amz-date", date))
    headers.append(HTTPHeader("x-amz-content-sha256", request.payloadHash))
    if let token = credentials.sessionToken { headers.append(HTTPHeader("x-amz-security-token", token)) }
    let canonical = SigV4.canonicalRequest(
      method: request.method.rawValue, path: path, query: query,
      headers: headers + [HTTPHeader("host", endpoint.authority(host: host))], payloadHash: request.payloadHash)
    let scope = SigV4.Scope(day: String(date.prefix(8)), region: region, service: "s3")
    let authorization = SigV4.authorization(
      accessKeyID: credentials.accessKeyID, key: keys.key(secret: credentials.secretAccessKey, scope: scope),
      scope: scope, date: date, request: canonical)
    headers.append(HTTPHeader("Authorization", authorization))
    let url = endpoint.url(host: host) + path + (query.isEmpty ? "" : "?\(query)")
    return HTTPRequest(
      request.method, url, headers: headers, body: request.body, deadlines: request.deadlines,
      group: request.bucket ?? "")
  }

  private func address(bucket: String?, key: ObjectKey?) -> (host: String, path: String) {
    let keyPath = key.map { percentEncoded($0.string, keepingSlash: true) } ?? ""
    guard let bucket else { return (endpoint.host, "/") }
    if addressing == .virtualHost && Self.canBeHostLabel(bucket) {
      return ("\(bucket).\(endpoint.host)", "/\(keyPath)")
    }
    return (endpoint.host, "/\(percentEncoded(bucket))" + (key == nil ? "" : "/\(keyPath)"))
  }

  /// S3: "General purpose bucket naming rules".
  private static func canBeHostLabel(_ bucket: String) -> Bool {
    let isLetterOrDigit = { (byte: UInt8) in
      (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte) || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
    }
    guard let first = bucket.utf8.first, let last = bucket.utf8.last else { return false }
    return bucket.utf8.count <= 63 && isLetterOrDigit(first) && isLetterOrDigit(last)
      && bucket.utf8.allSatisfy { isLetterOrDigit($0) || $0 == UInt8(ascii: "-") || $0 == UInt8(ascii: ".") }
  }
}

extension ObjectBody {
  var httpBody: HTTPBody {
    switch self {
    case .bytes(let bytes): .bytes(bytes)
    case .file(let file, let offset, let length): .file(file, offset: offset, length: length)
    }
  }
}
