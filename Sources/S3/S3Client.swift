public import Basics
public import HTTPTransport
public import Logging
public import ObjectStore
import Synchronization

/// What all operations of a client share.
///
/// The two locks are never held together, and nothing is called while one is held.
final class ClientCore: Sendable {
  let builder: RequestBuilder
  let credentials: any CredentialsProvider
  let http: any HTTPClient
  let time: TimeSource
  let random: @Sendable () -> Double
  let log: Logger
  let retry: RetryPolicy
  let deadlines: HTTPDeadlines
  let serverWorkStall: Double
  let answerLimit: Int
  let sums: BodySums
  private let fullBudget: RetryBudget
  /// By bucket: one whose server answers with errors must not take their retries from the others.
  private let budgets = Mutex<[String: RetryBudget]>([:])
  /// Seconds the server's clock is ahead of ours, once it has complained.
  private let clockOffset = Mutex<Int64>(0)
  private let opaqueTags = Atomic<Bool>(false)

  init(
    _ configuration: S3Configuration, _ credentials: any CredentialsProvider, _ http: any HTTPClient,
    _ time: TimeSource, _ random: @escaping @Sendable () -> Double, _ log: Logger
  ) {
    builder = RequestBuilder(
      endpoint: configuration.endpoint, region: configuration.region, addressing: configuration.addressing)
    self.credentials = credentials
    self.http = http
    self.time = time
    self.random = random
    self.log = log
    retry = configuration.retry
    deadlines = configuration.deadlines
    serverWorkStall = configuration.serverWorkStall
    answerLimit = configuration.answerLimit
    sums = BodySums { http.schedule(after: $0, $1) }
    fullBudget = RetryBudget(capacity: configuration.retryBudget)
  }

  /// Takes the tokens for a retry of a request about a bucket, or about none; false when it must not be made.
  func mayRetry(_ bucket: String?, _ cost: Int) -> Bool {
    budgets.withLock { $0[bucket ?? "", default: fullBudget].withdraw(cost) }
  }

  /// A request has succeeded; its last retry had that cost.
  func noteSuccess(_ bucket: String?, lastCost: Int?) {
    budgets.withLock { $0[bucket ?? "", default: fullBudget].succeeded(lastCost: lastCost) }
  }

  /// Seconds to add to this machine's time of day to have the server's, as far as is known.
  var serverOffset: Int64 { clockOffset.withLock { $0 } }

  /// The time of day as the server sees it, if that is so many seconds ahead.
  func serverTime(offset: Int64) -> Timestamp {
    let now = time.wall
    return Timestamp(seconds: now.seconds + offset, nanoseconds: now.nanoseconds)
  }

  func correctClock(serverTime: Timestamp) {
    let offset = serverTime.seconds - time.wall.seconds
    clockOffset.withLock { $0 = offset }
  }

  /// Deadlines for requests during which the server moves data and may say nothing for long.
  var serverWorkDeadlines: HTTPDeadlines {
    var deadlines = deadlines
    deadlines.stall = deadlines.stall.map { max($0, serverWorkStall) }
    return deadlines
  }

  /// Whether the server has shown that its tags are no MD5 sums, although they look like them.
  var tagsAreOpaque: Bool { opaqueTags.load(ordering: .relaxed) }

  /// Takes note that they are not; the first time it is logged.
  func noteOpaqueTags() {
    guard !opaqueTags.exchange(true, ordering: .relaxed) else { return }
    log.notice(
      """
      the tags of \(builder.endpoint.description) are no MD5 sums: an object it has stored well has another; what is \
      uploaded is no longer compared with them
      """)
  }
}

/// A bucket as ListBuckets shows it.
public struct S3BucketInfo: Hashable, Sendable {
  /// The bucket's name.
  public var name: String
  /// When it was made, where the server told it.
  public var created: Timestamp?
}

/// A client of one S3 server with one set of credentials. Thread-safe. Completions are called on the transport's event
/// thread, or on the caller's when nothing could be sent.
public final class S3Client: Sendable {
  let core: ClientCore

  /// Makes a client.
  /// - Parameters:
  ///   - credentials: asked before every attempt.
  ///   - http: sends the requests and runs the waits between attempts.
  ///   - time: dates the signatures.
  ///   - random: a number from 0..<1 for the jitter of retries; called from any thread.
  ///   - log: gets a line at debug level for each attempt that is repeated. Never sees credentials.
  public init(
    configuration: S3Configuration, credentials: any CredentialsProvider, http: any HTTPClient,
    time: TimeSource = .system, random: @escaping @Sendable () -> Double = { Double.random(in: 0..<1) }, log: Logger
  ) {
    core = ClientCore(configuration, credentials, http, time, random, log)
  }

  /// The bucket of that name; nothing is sent.
  /// - Parameter metrics: counts the requests about it.
  public func bucket(_ name: String, metrics: RequestMetrics? = nil) -> S3Bucket { S3Bucket(name, core, metrics) }

  /// The buckets the credentials may see (S3: ListBuckets).
  public func listBuckets(
    _ cancellation: Cancellation? = nil, _ completion: @escaping StoreCompletion<[S3BucketInfo]>
  ) {
    let request = S3Request(method: .get, deadlines: core.deadlines)
    let operation = Operation<[S3BucketInfo]>(.listBuckets, request, limit: core.answerLimit) { response in
      response.parsed { () throws(XMLError) in
        let document = try response.records("Bucket", depth: 3, root: "ListAllMyBucketsResult")
        return document.records.compactMap { record in
          record["Name"].map {
            S3BucketInfo(name: $0, created: record["CreationDate"].flatMap(parseISODate))
          }
        }
      }
    }
    Exchange.run(core, nil, operation, cancellation) { result, _ in completion(result) }
  }

  /// Makes a bucket in the configured region (S3: CreateBucket). One that is ours already is a `conflict`, as far as the
  /// server tells: in the region us-east-1 Amazon does not.
  public func createBucket(
    _ name: String, _ cancellation: Cancellation? = nil, _ completion: @escaping StoreCompletion<Void>
  ) {
    var request = S3Request(method: .put, bucket: name, deadlines: core.deadlines)
    if core.builder.region != "us-east-1" {
      // The region the API calls its default must not be named, every other must.
      request.setXML(
        "<CreateBucketConfiguration><LocationConstraint>\(xmlEscaped(core.builder.region))</LocationConstraint>"
          + "</CreateBucketConfiguration>")
    }
    let operation = Operation<Void>(.createBucket, request, limit: core.answerLimit) { _ in .value(()) }
    Exchange.run(core, nil, operation, cancellation) { result, mayBeApplied in
      // Made by an attempt whose answer got lost.
      if mayBeApplied, case .failure(let error) = result, error.serverCode == "BucketAlreadyOwnedByYou" {
        return completion(.success(()))
      }
      completion(result)
    }
  }

  /// Deletes an empty bucket (S3: DeleteBucket).
  public func deleteBucket(
    _ name: String, _ cancellation: Cancellation? = nil, _ completion: @escaping StoreCompletion<Void>
  ) {
    let request = S3Request(method: .delete, bucket: name, deadlines: core.deadlines)
    let operation = Operation<Void>(.deleteBucket, request, limit: core.answerLimit) { _ in .value(()) }
    Exchange.run(core, nil, operation, cancellation) { result, _ in completion(result) }
  }
}
