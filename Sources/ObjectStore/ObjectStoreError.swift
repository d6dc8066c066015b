/// Why an operation on a store failed: a code to decide by, and the words for the log.
public struct ObjectStoreError: Error, Hashable, Sendable, CustomStringConvertible {
  /// What kind of failure it was. One place (the filesystem's edge) maps it to an errno.
  public enum Code: String, Hashable, Sendable, CaseIterable {
    /// No object under that key.
    case notFound
    /// The bucket does not exist.
    case noSuchBucket
    /// The multipart upload id is not known (any more).
    case noSuchUpload
    /// If-Match or If-None-Match did not hold: somebody else changed the object (HTTP 412).
    case preconditionFailed
    /// The server asks to try the whole operation again (HTTP 409 on a conditional write).
    case conflict
    /// The key pair is valid but may not do this.
    case accessDenied
    /// The access key is unknown, or the signature or token is wrong.
    case invalidCredentials
    /// The bucket lives in another region or behind another endpoint; the message names it.
    case wrongRegion
    /// The server refused the request as malformed.
    case invalidRequest
    /// The key or a component of it is longer than the server takes.
    case nameTooLong
    /// The object or part is larger or smaller than the server takes.
    case invalidSize
    /// The range lies beyond the end of the object.
    case invalidRange
    /// The server, or this store, does not know the operation.
    case unsupported
    /// The server asks for fewer requests, and went on asking through all retries.
    case throttled
    /// The server failed (HTTP 5xx), through all retries.
    case serverError
    /// No connection could be made, or it broke, through all retries.
    case connectionFailed
    /// The TLS handshake or the certificate check failed.
    case tlsFailed
    /// A deadline passed or the transfer stalled.
    case timedOut
    /// Bytes arrived damaged, on either side: an answer that was not what the protocol promises (truncated, garbage,
    /// another version's bytes), or a body that the server got or stored with another checksum, through all retries.
    case corruptResponse
    /// The bytes to send could not be read on this side.
    case localReadFailed
    /// The caller cancelled.
    case cancelled
  }

  /// What kind of failure it was.
  public var code: Code
  /// One sentence for a person, without secrets.
  public var message: String
  /// The bucket, where one was involved.
  public var bucket: String?
  /// The key, where one was involved.
  public var key: ObjectKey?
  /// The server's request id, to quote to its operator.
  public var requestID: String?
  /// The HTTP status, where an answer arrived.
  public var httpStatus: Int?
  /// The server's own error code, such as `SlowDown`.
  public var serverCode: String?

  /// Makes an error from its parts.
  public init(
    _ code: Code, _ message: String, bucket: String? = nil, key: ObjectKey? = nil, requestID: String? = nil,
    httpStatus: Int? = nil, serverCode: String? = nil
  ) {
    self.code = code
    self.message = message
    self.bucket = bucket
    self.key = key
    self.requestID = requestID
    self.httpStatus = httpStatus
    self.serverCode = serverCode
  }

  /// One line that names bucket, key, request id and cause.
  public var description: String {
    var parts = ["\(code.rawValue): \(message)"]
    if let bucket { parts.append("bucket=\(bucket)") }
    if let key { parts.append("key=\(key.string.debugDescription)") }
    if let httpStatus { parts.append("status=\(httpStatus)") }
    if let serverCode { parts.append("code=\(serverCode)") }
    if let requestID { parts.append("request-id=\(requestID)") }
    return parts.joined(separator: " ")
  }
}
