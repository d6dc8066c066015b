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
    /// Those to be opened for what an earlier mount has left of them.
    var left = LeftBuckets()
    /// Opens one of them; what cannot be opened was logged.
    var open: (@Sendable (String) -> Void)?
    /// Each open when one of those who open buckets is through.
    var opening: [Gateway] = []
    /// Whether requests come in: who waits for a bucket to be opened keeps a thread that serves the others, too.
    var isServing = false
    var isEnding = false
  }

  private let shared: SharedLayers
  private let session = Mutex<FuseSession?>(nil)
  private let state = Mutex(State())

  init(_ shared: SharedLayers) { self.shared = shared }

  /// Says whom the buckets tell of changes; before the first one is used.
  func attach(_ session: FuseSession) { self.session.withLock { $0 = session } }

  /// Whether the end has begun: no bucket is opened any more.
  var isEnding: Bool { state.withLock { $0.isEnding } }

  /// Those that are open now.
  var all: [BucketLayers] { state.withLock { $0.buckets } }

  /// Who tells what they have counted. Of a bucket that was removed and made again the last one: names are unique there.
  var reporters: [BucketReporter] {
    var seen: Set<BucketReference> = []
    return all.reversed().filter { seen.insert($0.reference).inserted }.map(\.reporter).reversed()
  }

  /// Adds a bucket; nothing of it is used yet.
  func add(_ bucket: BucketLayers) { state.withLock { $0.buckets.append(bucket) } }

  /// The buckets of which an earlier mount has left something to be sent, and which are not open.
  var left: [String] { state.withLock { $0.left.names } }

  /// Opens the buckets of which an earlier mount has left something. Returns when that is done, or takes long: then it
  /// goes on until `stopOpening`.
  /// - Parameter open: opens one; what cannot be opened was logged by then.
  func open(_ left: LeftBuckets, _ open: @escaping @Sendable (String) -> Void) {
    state.withLock { state in
      state.left = left
      state.open = open
    }
    guard !left.names.isEmpty else { return }
    shared.waitAWhile(opening(left.names, open))
  }

  /// What opens buckets, as long as the end has not begun; counted from now on as under way.
  private func opening(_ names: [String], _ open: @escaping @Sendable (String) -> Void) -> @Sendable () -> Void {
    let isThrough = Gateway()
    state.withLock { $0.opening.append(isThrough) }
    return { [self] in
      let parallel = 64
      let pool = WorkerPool(name: "waysfs-unsent", limit: min(names.count, parallel))
      for name in names {
        pool.submit { [self] in if !isEnding { open(name) } }
      }
      pool.shutdown()
      isThrough.open()
    }
  }

  /// The account lists buckets that it did not list before: opens those of which an earlier mount has left something.
  /// Does not block.
  func appeared(_ names: [String]) {
    let (found, open) = state.withLock { ($0.isEnding ? [] : $0.left.appeared(names), $0.open) }
    guard !found.isEmpty, let open else { return }
    let body = opening(found, open)
    if let thread = Thread.start(name: "waysfs-unsent", body) { thread.detach() } else { body() }
  }

  /// From now on requests come in.
  func beginServing() { state.withLock { $0.isServing = true } }

  /// Begins no more of them, and waits for those that are being opened. The others stay left.
  private func stopOpening() {
    let opening = state.withLock { state in
      state.isEnding = true
      return state.opening
    }
    for isThrough in opening { isThrough.waitUntilOpen() }
  }

  /// Somebody opens a bucket, who may have stopped waiting for it: the end does, for what is under way.
  /// - Returns: to be opened when he is through; nil when the end has begun.
  private func beginOpening() -> Gateway? {
    state.withLock { state in
      guard !state.isEnding else { return nil }
      let isThrough = Gateway()
      state.opening.removeAll(where: \.isOpen)
      state.opening.append(isThrough)
      return isThrough
    }
  }

  /// Opens a bucket of an account, and sends what an earlier mount left of it.
  /// - Throws: EIO when it cannot be opened, which was logged, or the mount is about to end.
  func open(_ name: String, _ kernel: any KernelCache) throws(Errno) -> BucketLayers {
    guard let isThrough = beginOpening() else { throw .ioError }
    defer { isThrough.open() }
    do throws(Failure) {
      let bucket = try BucketLayers(BucketReference(listed: name), shared)
      if let session = session.withLock({ $0 }) { bucket.attach(kernel, session) }
      // First, so that what it has pending is never overlooked.
      add(bucket)
      state.withLock { _ = $0.troubled.remove(name) }
      let isServing = state.withLock { $0.isServing }
      bucket.takeUpUnsent(atMost: isServing ? 3 : 20)
      state.withLock { $0.left.opened(name) }
      return bucket
    } catch {
      let isNew = state.withLock { state in
        state.left.failed(name, error.reason)
        return state.troubled.insert(name).inserted
      }
      shared.log.log(
        level: isNew ? .error : .debug, "a bucket cannot be opened",
        metadata: ["bucket": "\(name)", "reason": "\(error)"])
      throw .ioError
    }
  }

  /// What is not in the buckets yet.
  var pending: PendingUploads {
    let namesBucket = shared.settings.target == .account
    let (buckets, left) = state.withLock { ($0.buckets, $0.left) }
    var known: Set<String> = []
    var sum = buckets.reduce(into: PendingUploads.none) { sum, bucket in
      let pending = bucket.filesystem.pending()
      if !pending.paths.isEmpty { known.insert(bucket.reference.bucket) }
      sum.files += pending.paths.count
      sum.bytes += pending.bytes
      sum.failed += pending.failed
      sum.lastError = sum.lastError ?? pending.lastError.map { describe(errno: $0.rawValue) }
      let examples = pending.paths.prefix(max(0, 3 - sum.examples.count))
      sum.examples += examples.map { namesBucket ? "\(bucket.reference)/\($0)" : $0 }
    }
    let unopened = left.pending(apartFrom: known)
    sum.files += unopened.files
    sum.failed += unopened.failed
    sum.lastError = sum.lastError ?? unopened.lastError
    return sum
  }

  /// Uploads everything that is not in a bucket yet, all buckets at once.
  func finishUploads() -> UnfinishedUploads? {
    stopOpening()
    let failed = each { ($0, $0.filesystem.drain().count) }.filter { $0.1 > 0 }
    let left = state.withLock { $0.left.files }.filter { $0.value > 0 }
    let files = failed.reduce(0) { $0 + $1.1 } + left.values.reduce(0, +)
    guard files > 0 else { return nil }
    if failed.count == 1, left.isEmpty, let directory = failed.first?.0.journal?.directory.string {
      return UnfinishedUploads(files: files, keptIn: directory)
    }
    let names = Set(failed.map(\.0.reference.bucket)).union(left.keys).sorted()
    let more = names.count > 3 ? " and \(names.count - 3) more" : ""
    return UnfinishedUploads(
      files: files,
      keptIn: "\(shared.settings.cacheDirectory), for \(names.prefix(3).joined(separator: ", "))\(more)")
  }

  /// Uploads what earlier mounts left.
  func uploadLeftOver() { _ = each { $0.filesystem.takeUpUnsent() } }

  /// Ends all of them. The last call.
  func shutDown() {
    stopOpening()
    _ = each { $0.filesystem.shutDown() }
  }

  /// Does something that blocks for every bucket, many at once. Those whose uploads fail come last: they may take all
  /// their attempts.
  private func each<Value: Sendable>(_ body: @escaping @Sendable (BucketLayers) -> Value) -> [Value] {
    let all = all.map { (bucket: $0, fails: $0.filesystem.pending().failed > 0) }
    let buckets = (all.filter { !$0.fails } + all.filter(\.fails)).map(\.bucket)
    if buckets.count == 1 { return buckets.map(body) }
    let parallel = 64
    let pool = WorkerPool(name: "waysfs-buckets", limit: parallel)
    defer { pool.shutdown() }
    let results: [Result<Value, Never>] = fanOut(over: buckets, limit: max(1, buckets.count)) { bucket, done in
      pool.submit { done(.success(body(bucket))) }
    }
    return results.map { $0.get() }
  }
}
