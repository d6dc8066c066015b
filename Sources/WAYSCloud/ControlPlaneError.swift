/// Why a call to the control plane failed.
public struct ControlPlaneError: Error, Hashable, Sendable, CustomStringConvertible {
  /// What kind of failure.
  public enum Code: Hashable, Sendable {
    /// The API key or the base address cannot be used; nothing was sent.
    case configuration
    /// The bucket name breaks the rule of the service; nothing was sent.
    case invalidName
    /// The API key is missing or not valid (401).
    case unauthorized
    /// The API key may not do this (403).
    case forbidden
    /// There is no such bucket (404).
    case notFound
    /// The name is taken or was taken before, or the bucket is not empty (409).
    case conflict
    /// The service refuses what was asked: a field is missing or wrong (422), or any other 4xx.
    case invalid
    /// Too many requests (429); `retryAfter` is what the service asks to wait, in seconds.
    case rateLimited(retryAfter: Double?)
    /// The service failed (5xx), or answered that it did not do what was asked.
    case server
    /// No connection to the service, or it broke.
    case unreachable
    /// The service took too long. A change may have been made all the same.
    case timedOut
    /// The answer cannot be understood. A change may have been made all the same.
    case malformedResponse
    /// The caller cancelled.
    case cancelled
  }

  /// What kind of failure.
  public var code: Code
  /// One sentence for a person, the service's own where it gave one; without the API key.
  public var message: String
  /// The status of the answer, where there was one.
  public var status: Int?
  /// Whether a change may have been made all the same: its answer got lost, cannot be read, or is that of a failure.
  public var mayBeApplied = false

  /// Makes an error.
  public init(_ code: Code, _ message: String, status: Int? = nil, mayBeApplied: Bool = false) {
    self.code = code
    self.message = message
    self.status = status
    self.mayBeApplied = mayBeApplied
  }

  /// The message, with the status where there was one.
  public var description: String {
    guard let status else { return message }
    return "\(message) (status \(status))"
  }
}
