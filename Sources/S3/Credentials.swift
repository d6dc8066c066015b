public import ObjectStore

/// A key pair for the S3 API. Its descriptions never show the secret or the token.
public struct S3Credentials: Hashable, Sendable, CustomStringConvertible, CustomDebugStringConvertible,
  CustomReflectable
{
  /// The public half.
  public var accessKeyID: String
  /// The secret half.
  public var secretAccessKey: String
  /// The token that goes with temporary keys.
  public var sessionToken: String?

  /// Makes credentials.
  public init(accessKeyID: String, secretAccessKey: String, sessionToken: String? = nil) {
    self.accessKeyID = accessKeyID
    self.secretAccessKey = secretAccessKey
    self.sessionToken = sessionToken
  }

  /// The access key id only.
  public var description: String { "S3Credentials(accessKeyID: \(accessKeyID))" }

  /// The access key id only.
  public var debugDescription: String { description }

  /// The access key id only.
  public var customMirror: Mirror { Mirror(self, children: ["accessKeyID": accessKeyID]) }
}

/// Where credentials come from. Asked before every attempt, possibly on the event thread: it must answer from memory.
/// Thread-safe.
public protocol CredentialsProvider: Sendable {
  /// The credentials to sign with now.
  func credentials() throws(ObjectStoreError) -> S3Credentials
}

/// Credentials that never change.
public struct StaticCredentials: CredentialsProvider {
  private let value: S3Credentials

  /// Wraps credentials.
  public init(_ value: S3Credentials) { self.value = value }

  /// The credentials.
  public func credentials() throws(ObjectStoreError) -> S3Credentials { value }
}
