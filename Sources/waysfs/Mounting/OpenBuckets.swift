import Basics
import Filesystem
import FuseSession
import Logging
import Synchronization
import SystemPackage

/// The buckets of a mount that are open: one, or those of an account that somebody has gone to or that have something
/// to send. Thread-safe; the mutexes are leaves.
final class OpenBuckets: Sendable {
  private struct State {
    var buckets: [BucketLayers] = []
    /// Those that cannot be opened, of which one message is enough.
    var troubled: Set<String> = []
  }

  private let shared: SharedLayers
  private let session = Mutex<FuseSession?>(nil)
  private let state = Mutex(State())

  init(_ shared: SharedLayers) { self.shared = shared }

  /// Says whom the buckets tell of changes; before the first one is used.
  func attach(_ session: FuseSession) { self.session.withLock { $0 = session } }

  /// Those that are open now.
  var all: [BucketLayers] { state.withLock { $0.buckets } }

  /// Adds a bucket; nothing of it is used yet.
  func add(_ bucket: BucketLayers) { state.withLock { $0.buckets.append(bucket) } }

  /// Opens a bucket of an account, and sends what an earlier mount left of it.
  func open(_ name: String, _ kernel: any KernelCache) throws(Errno) -> BucketLayers {
    do throws(Failure) {
      let bucket = try BucketLayers(BucketReference(listed: name), shared)
      if let session = session.withLock({ $0 }) { bucket.attach(kernel, session) }
      // First, so that what it has pending is never overlooked.
      add(bucket)
      state.withLock { _ = $0.troubled.remove(name) }
      bucket.takeUpUnsent()
      return bucket
    } catch {
      let isNew = state.withLock { $0.troubled.insert(name).inserted }
      shared.log.log(
        level: isNew ? .error : .debug, "a bucket cannot be opened",
        metadata: ["bucket": "\(name)", "reason": "\(error)"])
      throw .ioError
    }
  }

  /// What is not in the buckets yet.
  var pending: PendingUploads {
    let namesBucket = shared.settings.target == .account
    return all.reduce(into: .none) { sum, bucket in
      let pending = bucket.filesystem.pending()
      sum.files += pending.paths.count
      sum.bytes += pending.bytes
      sum.failed += pending.failed
      sum.lastError = sum.lastError ?? pending.lastError.map { describe(errno: $0.rawValue) }
      let examples = pending.paths.prefix(max(0, 3 - sum.examples.count))
      sum.examples += examples.map { namesBucket ? "\(bucket.reference)/\($0)" : $0 }
    }
  }

  /// Uploads everything that is not in a bucket yet, all buckets at once.
  func finishUploads() -> UnfinishedUploads? {
    let failed = each { ($0, $0.filesystem.drain().count) }.filter { $0.1 > 0 }
    guard let first = failed.first?.0 else { return nil }
    let directory = failed.count == 1 ? first.journal?.directory.string : nil
    return UnfinishedUploads(
      files: failed.reduce(0) { $0 + $1.1 }, keptIn: directory ?? shared.settings.cacheDirectory)
  }

  /// Uploads what earlier mounts left.
  func uploadLeftOver() { _ = each { $0.filesystem.takeUpUnsent() } }

  /// Ends all of them. The last call.
  func shutDown() { _ = each { $0.filesystem.shutDown() } }

  /// Does something that blocks for every bucket, several at once.
  private func each<Value: Sendable>(_ body: @escaping @Sendable (BucketLayers) -> Value) -> [Value] {
    let buckets = all
    if buckets.count == 1 { return buckets.map(body) }
    let parallel = 16
    let pool = WorkerPool(name: "waysfs-buckets", limit: parallel)
    defer { pool.shutdown() }
    let results: [Result<Value, Never>] = fanOut(over: buckets, limit: max(1, buckets.count)) { bucket, done in
      pool.submit { done(.success(body(bucket))) }
    }
    return results.map { $0.get() }
  }
}
