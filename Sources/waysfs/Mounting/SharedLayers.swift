import Basics
import BlockCache
import Filesystem
import Glibc
import HTTPTransport
import Logging
import ReadPath
import S3
import SystemPackage
import WritePath

/// What the buckets of one mount have in common: connections, memory, threads and room on the disk. Thread-safe.
///
/// How it is shared out among several (docs/decisions/0012): of connections, turns for reads, threads and memory for
/// uploads nobody gets more than three quarters of what the others leave (`SharedPlaces`), of the journal's room half; of
/// memory for reads what is waited for goes before what is guessed; the disk cache goes by use.
final class SharedLayers: Sendable {
  let settings: MountSettings
  let client: S3Client
  let transport: HTTPTransport
  let log: Logger
  let threads: FilesystemThreads
  let cache: DiskCache?
  /// Memory of what is read.
  let pool: BlockPool
  let reading: ReadShare
  let readConfiguration: ReadPathConfiguration
  /// What file contents may take on their way to a bucket.
  let memory: ByteBudget
  /// Room for the journals; nil when nothing can be written.
  let journalRoom: JournalRoom?

  init(
    _ settings: MountSettings, _ client: S3Client, _ transport: HTTPTransport, _ log: Logger
  ) throws(Failure) {
    self.settings = settings
    self.client = client
    self.transport = transport
    self.log = log
    let isShared = settings.target == .account
    threads = FilesystemThreads(isShared: isShared)
    if let warning = settings.memoryWarning { log.warning("\(warning)") }
    // What is written needs little memory, since it waits on the disk; a quarter lets several uploads go on at once.
    let forWriting = settings.memoryLimit / 4
    do {
      pool = try BlockPool(budget: Int(clamping: settings.memoryLimit - forWriting))
    } catch {
      throw Failure("\(error)")
    }
    memory = ByteBudget(total: forWriting, isShared: isShared)
    cache = try Self.openCache(settings, log)
    var reading = ReadPathConfiguration()
    // Some are left for names and attributes: a listing must not wait for bulk that others read.
    reading.maximumGets = max(1, settings.connections - settings.connections / 8)
    reading.isShared = isShared
    reading.schedule = { transport.schedule(after: $0, $1) }
    readConfiguration = reading
    self.reading = ReadShare(pool: pool, cache: cache, configuration: reading)
    let bounds = JournalBounds(limit: settings.journalLimit)
    let root = FilePath(settings.cacheDirectory)
    journalRoom =
      settings.readOnly ? nil : JournalRoom(root: root, bounds: bounds, isShared: isShared)
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

  /// How a bucket is shown.
  func configuration(of reference: BucketReference) -> FilesystemConfiguration {
    FilesystemConfiguration(
      prefix: reference.prefix, uid: settings.uid, gid: settings.gid, fileMode: settings.fileMode,
      directoryMode: settings.directoryMode, metadataLifetime: settings.metadataLifetime,
      attributes: settings.attributes, readOnly: settings.readOnly, host: Self.hostName,
      writeMode: settings.writeMode, parallelRequests: settings.connections)
  }

  /// Does something on a thread of its own, and waits until it is done, but no longer than a user may wait for a mount.
  func waitAWhile(seconds longest: Double = 20, _ body: @escaping @Sendable () -> Void) {
    let isOver = OneShot<Void>()
    let thread = Thread.start(name: "waysfs-unsent") {
      body()
      isOver.fulfil(())
    }
    guard let thread else { return body() }
    thread.detach()
    transport.schedule(after: longest) { isOver.fulfil(()) }
    isOver.wait()
  }

  /// Stops the threads, after those of the buckets. The last call.
  func shutDown() {
    threads.shutdown {
      reading.shutDown()
      transport.shutdown()
    }
    cache?.shutDown()
  }

  private static var hostName: String {
    var buffer = [CChar](repeating: 0, count: 256)
    guard gethostname(&buffer, buffer.count - 1) == 0 else { return "localhost" }
    return String(decoding: buffer.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
  }
}
