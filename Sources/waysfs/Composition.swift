import AccountTree
import Basics
import FuseSession
import HTTPTransport
import Logging
import ObjectStore
import S3

/// Wires the layers together.
enum Composition {
  /// Builds the engine of a mount: key pair, transport, store, caches, filesystem, session.
  static func connect(
    _ plan: MountPlan, _ asker: AskingProcess?, _ log: Logger, _ cancellation: Cancellation,
    _ progress: (String) -> Void
  ) throws(Failure) -> any MountEngine {
    let (settings, keys) = try credentials(plan, log, cancellation, progress)
    if !settings.endpoint.isTLS, !settings.endpoint.isLoopback {
      log.notice("file contents cross the network unencrypted", metadata: ["endpoint": "\(settings.endpoint)"])
    }
    var configuration = HTTPTransport.Configuration()
    configuration.connectionsPerHost = settings.connections
    configuration.totalConnections = settings.connections
    configuration.isShared = settings.target == .account
    configuration.caFile = settings.caFile
    let transport = try start(configuration)
    do throws(Failure) {
      let client = try client(settings, keys, transport, RetryPolicy(), log)
      // The user waits: an answer within seconds is worth more than one more attempt.
      let hasty = try Self.client(settings, keys, transport, RetryPolicy(maximumAttempts: 3, maximumDelay: 1), log)
      progress("connecting to \(settings.endpoint)")
      switch settings.target {
      case .bucket(let reference):
        try check(hasty.bucket(reference.bucket), reference.prefix, settings, cancellation)
        return try Mount(of: reference, SharedLayers(settings, client, transport, log), asker)
      case .account:
        let (directory, first) = try directory(plan, settings, client, hasty, log, cancellation)
        return try Mount(ofAll: directory, first, SharedLayers(settings, client, transport, log), asker)
      }
    } catch {
      transport.shutdown()
      throw error
    }
  }

  static func start(_ configuration: HTTPTransport.Configuration) throws(Failure) -> HTTPTransport {
    do {
      return try HTTPTransport(configuration)
    } catch {
      throw Failure(error.message)
    }
  }

  static func client(
    _ settings: MountSettings, _ keys: any CredentialsProvider, _ transport: HTTPTransport, _ retry: RetryPolicy,
    _ log: Logger
  ) throws(Failure) -> S3Client {
    do throws(ObjectStoreError) {
      let configuration = try S3Configuration(
        endpoint: settings.endpoint.description, region: settings.region,
        addressing: settings.addressing == .virtual ? .virtualHost : .path, retry: retry)
      return S3Client(configuration: configuration, credentials: keys, http: transport, log: log)
    } catch {
      throw Failure(error.message, exitCode: .usage)
    }
  }

  /// The key pair, and the options with what came along with it.
  static func credentials(
    _ plan: MountPlan, _ log: Logger, _ cancellation: Cancellation, _ progress: (String) -> Void
  ) throws(Failure) -> (MountSettings, any CredentialsProvider) {
    switch plan.credentials.source {
    case .keyPair(let pair, let origin):
      log.debug("key pair found", metadata: ["origin": "\(origin)", "access_key_id": "\(pair.accessKeyID)"])
      let keys = S3Credentials(
        accessKeyID: pair.accessKeyID, secretAccessKey: pair.secretAccessKey.revealed,
        sessionToken: pair.sessionToken?.revealed)
      return (plan.settings, StaticCredentials(keys))
    case .controlPlane(let apiKey, let baseURL, _):
      progress("fetching a key pair from \(baseURL)")
      let account = Account(apiKey: apiKey, baseURL: baseURL, caFile: plan.settings.caFile)
      let answer = try account.credentials(cancellation)
      log.debug("key pair fetched", metadata: ["origin": "\(baseURL)", "access_key_id": "\(answer.accessKeyID)"])
      let settings = try plan.settings(controlPlaneEndpoint: answer.endpointURL, region: answer.region)
      return (settings, account.renewing(answer, log))
    }
  }

  /// The bucket can be listed below the prefix: what a mount needs first, and keys that may see only that part are
  /// enough for it. Not a HEAD: that any web server answers with 200, and its errors have no body to explain them.
  private static func check(
    _ bucket: S3Bucket, _ prefix: String, _ settings: MountSettings, _ cancellation: Cancellation
  ) throws(Failure) {
    do throws(ObjectStoreError) {
      _ = try bucket.list(ListRequest(prefix: prefix, delimited: true, limit: 1), cancellation)
    } catch {
      throw Failure(error, settings: settings)
    }
  }

  /// The server answers, and knows the key pair: with one of the buckets of an account, about which itself this says
  /// nothing.
  private static func check(
    _ bucket: S3Bucket, _ settings: MountSettings, _ log: Logger, _ cancellation: Cancellation
  ) throws(Failure) {
    do throws(ObjectStoreError) {
      _ = try bucket.list(ListRequest(prefix: "", delimited: true, limit: 1), cancellation)
    } catch {
      guard !error.code.concernsEveryBucket else { throw Failure(error, settings: settings) }
      log.debug("a bucket does not let itself be listed", metadata: ["cause": "\(error)"])
    }
  }

  /// Who knows the buckets of the account, and which there are: the control plane where there is an API key, else the
  /// server.
  private static func directory(
    _ plan: MountPlan, _ settings: MountSettings, _ client: S3Client, _ hasty: S3Client, _ log: Logger,
    _ cancellation: Cancellation
  ) throws(Failure) -> (any BucketDirectory, BucketAnswer) {
    switch plan.credentials.source {
    case .controlPlane(let apiKey, let baseURL, _):
      // The user does not wait for every attempt: what is known of the buckets stays.
      let account = Account(apiKey: apiKey, baseURL: baseURL, caFile: settings.caFile, attempts: 2)
      let directory = AccountBuckets(account: account, tier: settings.bucketTier, log: log)
      let first = try directory.first(cancellation)
      if let name = first.buckets.first?.name { try check(hasty.bucket(name), settings, log, cancellation) }
      return (directory, first)
    case .keyPair:
      return (
        ServerBuckets(client: client, log: log),
        try ServerBuckets(client: hasty, log: log).first(settings, cancellation)
      )
    }
  }
}
