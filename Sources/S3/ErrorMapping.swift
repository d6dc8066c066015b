import HTTPTransport
import ObjectStore

/// What a server's refusal says, from its head and the XML of its body (S3: "Error responses").
struct Refusal: Hashable, Sendable {
  var status: Int
  var code: String?
  var message: String?
  var requestID: String?
  /// The region the bucket is in, where the server names one.
  var region: String?
  /// The endpoint the bucket is behind, where the server names one.
  var endpoint: String?
  var retryAfter: String?
  /// The server's clock.
  var date: String?

  init(head: HTTPResponseHead, body: [UInt8] = []) {
    let document = try? FlatDocument(body, limits: XMLLimits())
    status = head.status
    code = document?["Code"].map { plain($0, limit: 64) }
    message = document?["Message"].map { plain($0, limit: 300) }
    requestID = (head["x-amz-request-id"] ?? document?["RequestId"]).map { plain($0, limit: 128) }
    region = (head["x-amz-bucket-region"] ?? document?["Region"]).map { plain($0, limit: 64) }
    endpoint = document?["Endpoint"].map { plain($0, limit: 253) }
    retryAfter = head["retry-after"]
    date = head["date"]
  }

  /// The error as the layers above know it.
  func error(asked region: String, forKey: Bool) -> ObjectStoreError {
    let code = errorCode(asked: region, forKey: forKey)
    return ObjectStoreError(
      code, code == .wrongRegion ? regionMessage(asked: region) : message ?? "The server answered \(status).",
      requestID: requestID, httpStatus: status, serverCode: self.code)
  }

  private func errorCode(asked: String, forKey: Bool) -> ObjectStoreError.Code {
    if let code, let known = Self.codes[code] {
      // The header that is malformed is ours only when the server does not name the region it expected.
      return code == "AuthorizationHeaderMalformed" && region == nil ? .invalidCredentials : known
    }
    if let region, region != asked, [301, 307, 400, 403].contains(status) { return .wrongRegion }
    if code == "InvalidArgument", let message, message.lowercased().contains("too long") { return .nameTooLong }
    switch status {
    case 301, 302, 307, 308: return .wrongRegion
    case 401: return .invalidCredentials
    case 403: return .accessDenied
    case 404: return forKey ? .notFound : .noSuchBucket
    case 405, 501: return .unsupported
    case 408: return .timedOut
    case 409: return .conflict
    case 412: return .preconditionFailed
    case 413: return .invalidSize
    case 414: return .nameTooLong
    case 416: return .invalidRange
    case 429, 503: return .throttled
    case 400..<500: return .invalidRequest
    case 500...: return .serverError
    default: return .corruptResponse
    }
  }

  private func regionMessage(asked: String) -> String {
    if let region { return "The bucket is in region \(region), but was asked for in \(asked)." }
    if let endpoint { return "The bucket has to be asked for at the endpoint \(endpoint)." }
    return "The bucket is in another region than \(asked); the server does not say which."
  }

  private static let codes: [String: ObjectStoreError.Code] = [
    "NoSuchKey": .notFound, "NoSuchVersion": .notFound, "NoSuchBucket": .noSuchBucket, "NoSuchUpload": .noSuchUpload,
    "PreconditionFailed": .preconditionFailed, "ConditionalRequestConflict": .conflict, "OperationAborted": .conflict,
    "AccessDenied": .accessDenied, "AllAccessDisabled": .accessDenied, "AccountProblem": .accessDenied,
    "InvalidAccessKeyId": .invalidCredentials, "SignatureDoesNotMatch": .invalidCredentials,
    "ExpiredToken": .invalidCredentials, "InvalidToken": .invalidCredentials, "NotSignedUp": .invalidCredentials,
    "RequestTimeTooSkewed": .invalidCredentials, "TokenRefreshRequired": .invalidCredentials,
    "PermanentRedirect": .wrongRegion, "TemporaryRedirect": .wrongRegion, "Redirect": .wrongRegion,
    "AuthorizationHeaderMalformed": .wrongRegion, "IllegalLocationConstraintException": .wrongRegion,
    "KeyTooLongError": .nameTooLong, "KeyTooLong": .nameTooLong, "EntityTooSmall": .invalidSize,
    "EntityTooLarge": .invalidSize, "InvalidRange": .invalidRange, "NotImplemented": .unsupported,
    "MethodNotAllowed": .unsupported, "SlowDown": .throttled, "ServiceUnavailable": .throttled,
    "TooManyRequests": .throttled, "Throttling": .throttled, "ThrottlingException": .throttled,
    "RequestLimitExceeded": .throttled, "BandwidthLimitExceeded": .throttled, "InternalError": .serverError,
    "RequestTimeout": .timedOut, "IncompleteBody": .corruptResponse, "BadDigest": .corruptResponse,
    "InvalidDigest": .corruptResponse, "XAmzContentSHA256Mismatch": .corruptResponse,
  ]

  /// Whether the same request may well succeed when it is sent again.
  var isTransient: Bool { hasTransientCode || [408, 429, 500, 502, 503, 504].contains(status) }

  /// Whether that is what its code says.
  var hasTransientCode: Bool {
    switch code {
    case "RequestTimeout", "InternalError", "SlowDown", "ServiceUnavailable", "TooManyRequests", "Throttling",
      "ThrottlingException", "RequestLimitExceeded", "BandwidthLimitExceeded":
      true
    // The body was damaged or cut on its way.
    case "IncompleteBody", "BadDigest", "InvalidDigest", "XAmzContentSHA256Mismatch": true
    default: false
    }
  }
}

/// Text from a server for a message or a log: one line, printable, not longer than `limit` characters.
func plain(_ text: String, limit: Int) -> String {
  var result = ""
  for scalar in text.unicodeScalars.prefix(limit) {
    result.unicodeScalars.append(scalar.value < 0x20 || (0x7F...0x9F).contains(scalar.value) ? " " : scalar)
  }
  return result
}

extension ObjectStoreError {
  /// The error for a request that got no (complete) response.
  init(_ error: HTTPError) {
    let code: Code =
      switch error.code {
      case .invalidRequest: .invalidRequest
      case .unresolved, .unreachable, .connectionLost: .connectionFailed
      case .tls: .tlsFailed
      case .connectTimedOut, .stalled, .timedOut: .timedOut
      case .truncated, .malformed, .bodyTooLarge, .rejected: .corruptResponse
      case .bodyUnreadable: .localReadFailed
      case .cancelled, .shutDown: .cancelled
      }
    self.init(code, error.message)
  }
}

extension HTTPError {
  /// Whether the same request may well succeed when it is sent again.
  var isTransient: Bool {
    switch code {
    case .unresolved, .unreachable, .connectTimedOut, .stalled, .timedOut, .connectionLost, .truncated: true
    case .invalidRequest, .tls, .malformed, .bodyTooLarge, .rejected, .bodyUnreadable, .cancelled, .shutDown: false
    }
  }

  var isTimeout: Bool { [.connectTimedOut, .stalled, .timedOut].contains(code) }
}
