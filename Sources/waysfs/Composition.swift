import Basics
import BlockCache
import Filesystem
import FuseSession
import Glibc
import HTTPTransport
import Logging
import ObjectStore
import ReadPath
import S3
import SystemPackage
import WritePath

/// Wires the layers together.
enum Composition {
  /// Builds the engine of a mount: key pair, transport, store, caches, filesystem, session.
  static func connect(
    _ plan: MountPlan, _ log: Logger, _ cancellation: Cancellation, _ progress: (String) -> Void
  ) throws(Failure) -> any MountEngine {
    let (settings, keys) = try credentials(plan, log, cancellation, progress)
    if !settings.endpoint.isTLS, !settings.endpoint.isLoopback {
      log.notice("file contents cross the network unencrypted", metadata: ["endpoint": "\(settings.endpoint)"])
    }
    var configuration = HTTPTransport.Configuration()
    configuration.connectionsPerHost = settings.connections
    configuration.totalConnections = settings.connections
    configuration.caFile = settings.caFile
    let transport = try start(configuration)
    do throws(Failure) {
      let client = try client(settings, keys, transport, RetryPolicy(), log)
      // The user waits: an answer within seconds is worth more than one more attempt.
      let hasty = try Self.client(settings, keys, transport, RetryPolicy(maximumAttempts: 3, maximumDelay: 1), log)
      progress("connecting to \(settings.endpoint)")
      try check(hasty.bucket(settings.target.bucket), settings, cancellation)
      let metrics = RequestMetrics()
      return try Mount(settings, client.bucket(settings.target.bucket, metrics: metrics), metrics, transport, log)
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
      let account = Account(apiKey: apiKey, baseURL: baseURL)
      let answer = try account.credentials(cancellation)
      log.debug("key pair fetched", metadata: ["origin": "\(baseURL)", "access_key_id": "\(answer.accessKeyID)"])
      let settings = try plan.settings(controlPlaneEndpoint: answer.endpointURL, region: answer.region)
      return (settings, account.renewing(answer, log))
    }
  }

  /// The bucket can be listed below the prefix: what a mount needs first, and keys that may see only that part are
  /// enough for it. Not a HEAD: that any web server answers with 200, and its errors have no body to explain them.
  private static func check(
    _ bucket: S3Bucket, _ settings: MountSettings, _ cancellation: Cancellation
  ) throws(Failure) {
    do throws(ObjectStoreError) {
      _ = try bucket.list(ListRequest(prefix: settings.target.prefix, delimited: true, limit: 1), cancellation)
    } catch {
      throw Failure(error, settings: settings)
    }
  }
}

/// The layers of one mount.
private final class Mount: MountEngine {
  private let settings: MountSettings
  private let transport: HTTPTransport
  private let workers: WorkerPool
  private let journal: Journal?
  private let cache: DiskCache?
  private let readPath: ReadPath
  private let filesystem: Filesystem
  private let session: FuseSession
  private let reporter: MountReporter
  private let log: Logger
  private let ended = Gateway()

  init(
    _ settings: MountSettings, _ store: S3Bucket, _ requests: RequestMetrics, _ transport: HTTPTransport, _ log: Logger
  ) throws(Failure) {
    self.settings = settings
    self.transport = transport
    self.log = log
    workers = WorkerPool(name: "waysfs-work", limit: 16)
    if let warning = settings.memoryWarning { log.warning("\(warning)") }
    do {
      journal = settings.readOnly ? nil : try Self.openJournal(settings)
      // What is written needs little memory, since it waits on the disk; a quarter lets several uploads go on at once.
      let forWriting = settings.memoryLimit / 4
      let pool = try BlockPool(budget: Int(clamping: settings.memoryLimit - forWriting))
      let uploadMemory = ByteBudget(total: forWriting)
      cache = try Self.openCache(settings, log)
      var reading = ReadPathConfiguration()
      // Some are left for names and attributes: a listing must not wait for bulk that others read.
      reading.maximumGets = max(1, settings.connections - settings.connections / 8)
      reading.schedule = { transport.schedule(after: $0, $1) }
      readPath = ReadPath(store: store, pool: pool, cache: cache, configuration: reading, log: log)
      filesystem = Filesystem(
        store: store, readPath: readPath, journal: journal,
        conditions: ConditionalWrites(
          store: store, journal: journal, scratchPrefix: settings.target.prefix, random: { .random(in: .min ... .max) },
          log: log),
        workers: workers, memory: uploadMemory, configuration: Self.configuration(settings), log: log,
        schedule: { transport.schedule(after: $0, $1) })
      let operations = OperationMetrics()
      session = try FuseSession(
        options: settings.fuseOptions, operations: filesystem, metrics: operations, log: log)
      let bucket = BucketReporter(settings.target, filesystem, readPath, journal, requests)
      reporter = MountReporter(settings, { [bucket] }, pool, uploadMemory, cache, operations)
    } catch let failure as Failure {
      throw failure
    } catch {
      throw Failure("\(error)")
    }
    filesystem.attach(session.kernelCache)
    if let cache, settings.passesThrough { filesystem.attach(session.passthrough, cache) }
  }

  private static func openCache(_ settings: MountSettings, _ log: Logger) throws(Failure) -> DiskCache? {
    guard settings.keepsReads else { return nil }
    do {
      return try DiskCache(
        directory: FilePath(settings.cacheDirectory).appending("read"), endpoint: settings.endpoint.description,
        bounds: DiskCacheBounds(limit: settings.cacheLimit), log: log)
    } catch {
      throw Failure("\(error)", remedy: "Choose another directory with --cache-dir, or give --cache-limit 0")
    }
  }

  private static func openJournal(_ settings: MountSettings) throws(Failure) -> Journal {
    do {
      return try Journal(
        root: FilePath(settings.cacheDirectory), name: settings.target.bucket,
        identity: "\(settings.endpoint)/\(settings.target)", bounds: JournalBounds(limit: settings.journalLimit))
    } catch {
      throw Failure("\(error)", remedy: "Choose another directory with --cache-dir")
    }
  }

  private static func configuration(_ settings: MountSettings) -> FilesystemConfiguration {
    FilesystemConfiguration(
      prefix: settings.target.prefix, uid: settings.uid, gid: settings.gid, fileMode: settings.fileMode,
      directoryMode: settings.directoryMode, metadataLifetime: settings.metadataLifetime,
      attributes: settings.attributes, readOnly: settings.readOnly, host: hostName(), writeMode: settings.writeMode,
      parallelRequests: settings.connections)
  }

  func mount() throws(Failure) {
    takeUpUnsent()
    do throws(FuseSessionError) {
      try session.mount()
      let started = OneShot<FuseSessionError?>()
      let thread = Thread.start(name: "waysfs-fuse") { [self] in serve(started) }
      guard let thread else {
        session.stop()
        throw FuseSessionError(.connectionFailed, "the system has no thread left")
      }
      thread.detach()
      if let error = started.wait() { throw error }
    } catch {
      throw Failure(error.description)
    }
  }

  /// What an earlier mount could not send goes first, so that nobody sees an older state; but a bucket that takes long
  /// is not waited for: then it goes on while this mount serves.
  private func takeUpUnsent() {
    guard journal != nil else { return }
    let longest = 20.0
    let isOver = OneShot<Void>()
    let thread = Thread.start(name: "waysfs-unsent") { [self] in
      filesystem.takeUpUnsent()
      isOver.fulfil(())
    }
    guard let thread else { return filesystem.takeUpUnsent() }
    thread.detach()
    transport.schedule(after: longest) { isOver.fulfil(()) }
    isOver.wait()
  }

  private func serve(_ started: OneShot<FuseSessionError?>) {
    defer { ended.open() }
    do throws(FuseSessionError) {
      try session.run { started.fulfil(nil) }
      started.fulfil(FuseSessionError(.connectionFailed, "the mount was taken away while it was being made"))
    } catch {
      log.error("the session ended", metadata: ["reason": "\(error)"])
      started.fulfil(error)
    }
  }

  var journalDirectory: String? { journal?.directory.string }

  var pending: PendingUploads? {
    let pending = filesystem.pending()
    return PendingUploads(
      files: pending.paths.count, bytes: pending.bytes, examples: Array(pending.paths.prefix(3)),
      failed: pending.failed, lastError: pending.lastError.map { describe(errno: $0.rawValue) })
  }

  var report: MountReport? { reporter.report }

  func sampleRates() { reporter.sample() }

  var load: EngineLoad {
    let load = session.load
    return EngineLoad(isSaturated: load.isSaturated, requests: load.requests)
  }

  func answerOnce() {
    // Reads wait for the thread of the transport, and it for nobody.
    let turned = OneShot<Void>()
    transport.schedule(after: 0) { turned.fulfil(()) }
    turned.wait()
    session.ask()
  }

  func uploadLeftOver() { filesystem.takeUpUnsent() }

  func finishUploads() -> UnfinishedUploads? {
    let failed = filesystem.drain()
    guard !failed.isEmpty else { return nil }
    return UnfinishedUploads(files: failed.count, keptIn: journal?.directory.string ?? settings.cacheDirectory)
  }

  func unmount(lazily: Bool) -> UnmountOutcome {
    do throws(FuseSessionError) {
      try session.unmount(lazy: lazily)
      return .done
    } catch {
      switch error.code {
      case .busy: return .busy
      case .notMounted: return .notMounted
      default: return .failed(error.description)
      }
    }
  }

  func waitUntilUnmounted() { ended.waitUntilOpen() }

  func endSession() { session.stop() }

  func shutDown() {
    filesystem.shutDown()
    workers.shutdown()
    readPath.shutDown()
    transport.shutdown()
    cache?.shutDown()
  }

  private static func hostName() -> String {
    var buffer = [CChar](repeating: 0, count: 256)
    guard gethostname(&buffer, buffer.count - 1) == 0 else { return "localhost" }
    return String(decoding: buffer.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
  }
}

extension MountSettings {
  /// How the session mounts.
  var fuseOptions: MountOptions {
    var options = MountOptions(mountpoint: mountPoint, source: target.source)
    options.readOnly = readOnly
    options.allowOther = allowOther
    options.allowNonEmpty = allowNonEmpty
    options.passthrough = keepsReads && passesThrough
    options.fuseOptions = KernelFlag.allCases.filter(kernelFlags.contains).map(\.rawValue)
    return options
  }
}
