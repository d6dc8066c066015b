import Basics
import FoundationEssentials
public import HTTPTransport

/// The WAYSCloud Storage API: buckets and credentials.
///
/// Thread-safe. Every call blocks until it is answered or has failed: never make one on the transport's event thread.
/// Calls that only read are repeated a few times when the service is busy or out of reach; creating and deleting only
/// when nothing was done for certain: the request was not sent, or turned away as one too many (429). The API key appears
/// in no description and no error.
public struct ControlPlane: Sendable {
  /// Where the service is.
  public static let defaultBaseURL = "https://api.wayscloud.services"

  /// The address calls go to, without a slash at its end.
  public let baseURL: String

  private let client: any HTTPClient
  private let apiKey: String
  private let random: @Sendable () -> Double
  private let rule: RetryRule

  /// Makes a client.
  /// - Parameters:
  ///   - client: the transport.
  ///   - apiKey: sent with every request in the header X-API-Key.
  ///   - baseURL: address of the service; without TLS only on this machine.
  ///   - attempts: how often a call is sent at most; at least 1.
  ///   - random: gives numbers in 0..<1, from any thread; spreads repeated calls over time.
  /// - Throws: `configuration` when the key or the address cannot be used.
  public init(
    client: any HTTPClient, apiKey: String, baseURL: String = defaultBaseURL, attempts: Int = 4,
    random: @escaping @Sendable () -> Double = { .random(in: 0..<1) }
  ) throws(ControlPlaneError) {
    guard !apiKey.isEmpty, apiKey.utf8.allSatisfy({ (0x21...0x7E).contains($0) }) else {
      throw ControlPlaneError(.configuration, "The API key is empty or has characters that no key has.")
    }
    self.client = client
    self.apiKey = apiKey
    self.baseURL = try checkedBaseAddress(baseURL)
    self.random = random
    rule = RetryRule(attempts: attempts)
  }

  /// Lists all buckets of the account (GET /v1/storage/buckets).
  public func listBuckets(cancellation: Cancellation? = nil) throws(ControlPlaneError) -> BucketList {
    try decode(BucketList.self, from: call(.get, "/v1/storage/buckets", cancellation: cancellation))
  }

  /// Describes a bucket (GET /v1/storage/buckets/{bucket_name}).
  /// - Throws: `notFound` when there is no such bucket, `invalidName` when there can be none.
  public func bucket(named name: String, cancellation: Cancellation? = nil) throws(ControlPlaneError) -> Bucket {
    try checkBucketName(name)
    return try decode(Bucket.self, from: call(.get, "/v1/storage/buckets/\(name)", cancellation: cancellation))
  }

  /// Creates a bucket (POST /v1/storage/buckets).
  /// - Parameters:
  ///   - name: 3 to 63 lowercase letters, digits and hyphens; unique among all accounts, and not used before.
  ///   - tier: how it is stored; nil leaves it to the service.
  ///   - region: where it is stored; nil leaves it to the service.
  /// - Throws: `conflict` when the name is or was in use.
  public func createBucket(
    named name: String, tier: StorageTier? = nil, region: String? = nil, cancellation: Cancellation? = nil
  ) throws(ControlPlaneError) -> CreatedBucket {
    try checkBucketName(name)
    let fields = BucketCreation(bucket_name: name, tier: tier, region: region)
    guard let json = try? JSONEncoder().encode(fields) else {
      throw ControlPlaneError(.configuration, "The region cannot be sent.")
    }
    let response = try call(.post, "/v1/storage/buckets", body: Array(json), cancellation: cancellation)
    let outcome = try outcome(response)
    return CreatedBucket(
      name: outcome.bucket_name ?? name, message: outcome.message, endpoint: outcome.endpoint, region: outcome.region)
  }

  /// Deletes an empty bucket (DELETE /v1/storage/buckets/{bucket_name}). Its name can never be used again.
  /// - Throws: `conflict` when it is not empty, `notFound` when there is none.
  @discardableResult
  public func deleteBucket(
    named name: String, cancellation: Cancellation? = nil
  ) throws(ControlPlaneError) -> DeletedBucket {
    try checkBucketName(name)
    let response = try call(.delete, "/v1/storage/buckets/\(name)", cancellation: cancellation)
    return DeletedBucket(message: try outcome(response).message)
  }

  /// Gets the keys for the S3 interface (GET /v1/storage/credentials).
  public func credentials(cancellation: Cancellation? = nil) throws(ControlPlaneError) -> StorageCredentials {
    let response = try call(.get, "/v1/storage/credentials", cancellation: cancellation)
    let credentials = try decode(StorageCredentials.self, from: response)
    guard !credentials.accessKeyID.isEmpty, !credentials.secretAccessKey.isEmpty else {
      throw ControlPlaneError(.malformedResponse, "The control plane gave empty keys.", status: response.head.status)
    }
    return credentials
  }

  /// Gets the guide to the S3 interface, a text for people (GET /storage/s3).
  public func protocolGuide(cancellation: Cancellation? = nil) throws(ControlPlaneError) -> String {
    String(decoding: try call(.get, "/storage/s3", cancellation: cancellation).body, as: UTF8.self)
  }
}

extension ControlPlane: CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
  /// The address only.
  public var description: String { "control plane at \(baseURL)" }
  /// The address only.
  public var debugDescription: String { description }
  /// The address only.
  public var customMirror: Mirror { Mirror(self, children: ["baseURL": baseURL]) }
}

extension ControlPlane {
  /// Sends a request until it is answered for good.
  private func call(
    _ method: HTTPMethod, _ path: String, body: [UInt8]? = nil, cancellation: Cancellation?
  ) throws(ControlPlaneError) -> HTTPResponse {
    var headers = [HTTPHeader("X-API-Key", apiKey), HTTPHeader("Accept", "application/json")]
    if body != nil { headers.append(HTTPHeader("Content-Type", "application/json")) }
    let request = HTTPRequest(
      method, baseURL + path, headers: headers, body: body.map { .bytes($0) } ?? .none,
      deadlines: HTTPDeadlines(connect: 10, stall: 20, total: 60))
    let kind: RetryRule.Kind = method == .get ? .idempotent : .change
    var attempt = 0
    while true {
      attempt += 1
      let wait: Double?
      let failure: ControlPlaneError
      switch send(request, cancellation) {
      case .success(let response):
        if (200..<300).contains(response.head.status) { return response }
        wait = rule.wait(afterAttempt: attempt, kind, response.head, random: random())
        failure = refusal(response, hiding: apiKey)
      case .failure(let error):
        wait = rule.wait(afterAttempt: attempt, kind, error, random: random())
        failure = transferFailure(error)
      }
      guard let wait, cancellation?.isCancelled != true else { throw failure }
      pause(wait, cancellation)
      if cancellation?.isCancelled == true { throw transferFailure(HTTPError(.cancelled, "")) }
    }
  }

  private func send(_ request: HTTPRequest, _ cancellation: Cancellation?) -> Result<HTTPResponse, HTTPError> {
    let result = OneShot<Result<HTTPResponse, HTTPError>>()
    client.send(
      request, cancellation: cancellation, destination: { _ in .collect(limit: answerLimit) },
      completion: { result.fulfil($0) })
    return result.wait()
  }

  private func pause(_ seconds: Double, _ cancellation: Cancellation?) {
    let over = OneShot<Void>()
    let token = cancellation?.addHandler { over.fulfil(()) }
    client.schedule(after: seconds) { over.fulfil(()) }
    over.wait()
    cancellation?.removeHandler(token)
  }

  /// Reads the answer to a change. It may be empty: the status has already said that the change was made.
  private func outcome(_ response: HTTPResponse) throws(ControlPlaneError) -> Outcome {
    guard !response.body.isEmpty else { return Outcome() }
    var outcome = try decode(Outcome.self, from: response)
    outcome.message = outcome.message.flatMap { shown($0, hiding: apiKey) }
    guard outcome.success != false else {
      let said = outcome.message ?? "The control plane did not do what was asked."
      throw ControlPlaneError(.server, said, status: response.head.status)
    }
    return outcome
  }
}

// The names of these fields are the service's.
private struct BucketCreation: Encodable {
  var bucket_name: String
  var tier: StorageTier?
  var region: String?
}

private struct Outcome: Decodable {
  var success: Bool?
  var bucket_name: String?
  var message: String?
  var endpoint: String?
  var region: String?
}
