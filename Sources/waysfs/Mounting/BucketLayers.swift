import AccountTree
import Basics
import BlockCache
import Filesystem
import FuseSession
import Logging
import ReadPath
import S3
import SystemPackage
import WritePath

/// The layers of one bucket, or of the part of it below a prefix. Thread-safe.
final class BucketLayers: OpenBucket {
  let reference: BucketReference
  let journal: Journal?
  let filesystem: Filesystem
  /// Tells what these layers have counted.
  let reporter: BucketReporter
  private let shared: SharedLayers

  var operations: any FileOperations { filesystem }

  init(_ reference: BucketReference, _ shared: SharedLayers) throws(Failure) {
    self.reference = reference
    self.shared = shared
    let (settings, transport, log) = (shared.settings, shared.transport, shared.log)
    let journal = try Self.openJournal(reference, shared)
    self.journal = journal
    let requests = RequestMetrics()
    let store = shared.client.bucket(reference.bucket, metrics: requests)
    let readPath = ReadPath(
      store: store, share: shared.reading, configuration: shared.readConfiguration, log: log)
    filesystem = Filesystem(
      store: store, readPath: readPath, journal: journal,
      conditions: ConditionalWrites(
        store: store, journal: journal, scratchPrefix: reference.prefix, random: { .random(in: .min ... .max) },
        log: log),
      workers: shared.threads.share(), memory: shared.memory.share(),
      configuration: shared.configuration(of: reference), log: log, schedule: { transport.schedule(after: $0, $1) })
    reporter = BucketReporter(reference, filesystem, readPath, journal, requests)
    log.debug("opened a bucket", metadata: ["bucket": "\(reference)", "read_only": "\(settings.readOnly)"])
  }

  private static func openJournal(
    _ reference: BucketReference, _ shared: SharedLayers
  ) throws(Failure) -> Journal? {
    guard let room = shared.journalRoom else { return nil }
    do {
      return try Journal(
        root: FilePath(shared.settings.cacheDirectory), name: reference.bucket,
        identity: identity(of: reference, shared.settings), space: JournalSpace(in: room))
    } catch {
      throw Failure("\(error)", remedy: "Choose another directory with --cache-dir")
    }
  }

  /// What tells journals of different servers, buckets and prefixes apart.
  static func identity(of reference: BucketReference, _ settings: MountSettings) -> String {
    "\(settings.endpoint)/\(reference)"
  }

  /// Says how the kernel is told of changes, and lets it read by itself what it may.
  func attach(_ kernel: any KernelCache, _ session: FuseSession) {
    filesystem.attach(kernel)
    if let cache = shared.cache, shared.settings.passesThrough { filesystem.attach(session.passthrough, cache) }
  }

  /// What an earlier mount could not send goes first, so that nobody sees an older state; but a bucket that takes long
  /// is not waited for: then it goes on meanwhile.
  func takeUpUnsent(atMost seconds: Double = 20) {
    guard journal != nil else { return }
    shared.waitAWhile(seconds: seconds) { [filesystem] in filesystem.takeUpUnsent() }
  }

  func prepareRemoval(_ cancellation: Cancellation?) throws(Errno) {
    try filesystem.prepareRemoval(cancellation)
  }
}
