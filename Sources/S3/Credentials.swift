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

/// What asking for other credentials has come to.
public enum CredentialRenewal: Hashable, Sendable {
  /// There are others now.
  case renewed
  /// Those that were refused are still the ones that count.
  case unchanged
  /// Nobody could be asked; later somebody might.
  case failed
  /// There is nobody to ask.
  case impossible
}

/// Where credentials come from. Asked before every attempt, possibly on the event thread: it must answer from memory.
/// Thread-safe.
public protocol CredentialsProvider: Sendable {
  /// The credentials to sign with now.
  func credentials() throws(ObjectStoreError) -> S3Credentials

  /// Takes note that the server has accepted a request with these, about that bucket. Called for each; it must not
  /// block.
  func noteAccepted(_ credentials: S3Credentials, for bucket: String?)

  /// Whether the server has accepted a request with these, made by any client that asks here.
  func wereAccepted(_ credentials: S3Credentials) -> Bool

  /// Looks for others, because the server has refused these, and reports when that is over, on any thread. It must not
  /// block: it is called on the event thread.
  /// - Parameter forbidden: the bucket that was asked, when the refusal may as well mean that it is forbidden; nil when
  ///   it is certainly about the credentials.
  func renew(
    _ refused: S3Credentials, forbidden: String?, _ completion: @escaping @Sendable (CredentialRenewal) -> Void)
}

extension CredentialsProvider {
  /// Forgets it: it only matters to who can get others.
  public func noteAccepted(_ credentials: S3Credentials, for bucket: String?) {}

  /// Nobody knows.
  public func wereAccepted(_ credentials: S3Credentials) -> Bool { false }

  /// There are no others.
  public func renew(
    _ refused: S3Credentials, forbidden: String?, _ completion: @escaping @Sendable (CredentialRenewal) -> Void
  ) {
    completion(.impossible)
  }
}

/// Credentials that never change.
public struct StaticCredentials: CredentialsProvider {
  private let value: S3Credentials

  /// Wraps credentials.
  public init(_ value: S3Credentials) { self.value = value }

  /// The credentials.
  public func credentials() throws(ObjectStoreError) -> S3Credentials { value }
}
