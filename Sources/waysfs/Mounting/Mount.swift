import AccountTree
import Basics
import Filesystem
import FuseSession
import Logging
import SystemPackage
import WritePath

/// A mount with all its layers: of a bucket, or of all buckets of an account.
final class Mount: MountEngine {
  private let shared: SharedLayers
  private let buckets: OpenBuckets
  /// The account, where all of it is mounted.
  private let tree: AccountTree?
  private let session: FuseSession
  private let reporter: MountReporter
  /// The names of all buckets when the mount was made.
  private let initial: [String]
  private let ended = Gateway()

  private var settings: MountSettings { shared.settings }
  private var log: Logger { shared.log }

  /// Of one bucket.
  init(of reference: BucketReference, _ shared: SharedLayers, _ asker: AskingProcess?) throws(Failure) {
    self.shared = shared
    let bucket = try BucketLayers(reference, shared)
    buckets = OpenBuckets(shared)
    buckets.add(bucket)
    tree = nil
    initial = []
    (session, reporter) = try Self.session(shared, bucket.filesystem, buckets, asker)
    bucket.attach(session.kernelCache, session)
  }

  /// Of all buckets.
  /// - Parameter first: which there are now.
  init(
    ofAll directory: any BucketDirectory, _ first: BucketAnswer, _ shared: SharedLayers, _ asker: AskingProcess?
  ) throws(Failure) {
    self.shared = shared
    initial = first.buckets.map(\.name)
    let buckets = OpenBuckets(shared)
    self.buckets = buckets
    let settings = shared.settings
    let tree = AccountTree(
      directory: directory, first: first,
      configuration: AccountTreeConfiguration(
        uid: settings.uid, gid: settings.gid, directoryMode: settings.directoryMode,
        metadataLifetime: settings.metadataLifetime, readOnly: settings.readOnly,
        allowsBucketChanges: settings.allowsBucketChanges),
      log: shared.log, unsent: { buckets.left }, noteAppeared: { buckets.appeared($0) }
    ) { name, kernel throws(Errno) in try buckets.open(name, kernel) }
    self.tree = tree
    (session, reporter) = try Self.session(shared, tree, buckets, asker)
    tree.attach(session.kernelCache)
    buckets.attach(session)
  }

  private static func session(
    _ shared: SharedLayers, _ operations: any FileOperations, _ buckets: OpenBuckets, _ asker: AskingProcess?
  ) throws(Failure) -> (FuseSession, MountReporter) {
    let metrics = OperationMetrics()
    do throws(FuseSessionError) {
      let session = try FuseSession(
        options: shared.settings.fuseOptions, operations: operations, metrics: metrics, asker: asker, log: shared.log)
      let reporter = MountReporter(
        shared.settings, { buckets.reporters }, shared.pool, shared.memory, shared.cache, metrics)
      return (session, reporter)
    } catch {
      throw Failure(error.description)
    }
  }

  func mount() throws(Failure) {
    if let tree { openLeft(tree) } else { for bucket in buckets.all { bucket.takeUpUnsent() } }
    buckets.beginServing()
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

  /// Opens the buckets of which an earlier mount has left something to be sent, although nobody may ever go there. What
  /// takes long goes on while this mount serves.
  private func openLeft(_ tree: AccountTree) {
    guard journalDirectory != nil else { return }
    var remains = JournalInventory.remains(root: FilePath(settings.cacheDirectory))
    var ours: [String: Int] = [:]
    for name in initial {
      ours[name] = remains.removeValue(forKey: BucketLayers.identity(of: BucketReference(listed: name), settings))
    }
    let left = LeftBuckets(ours, unlisted: strangers(remains))
    if !ours.isEmpty {
      log.notice(
        "an earlier mount has left files to be sent", metadata: ["buckets": "\(left.names.joined(separator: ", "))"])
    }
    // What cannot be opened was logged, and is tried again by who goes there.
    buckets.open(left) { name in _ = try? tree.open(bucket: name) }
  }

  /// Buckets may have vanished, or be another account's: what was left of them waits until they are listed again, or for
  /// a person.
  /// - Returns: how many files, by bucket.
  private func strangers(_ remains: [String: Int]) -> [String: Int] {
    let server = "\(settings.endpoint)/"
    var files: [String: Int] = [:]
    for (identity, count) in remains where identity.hasPrefix(server) {
      let name = String(identity.dropFirst(server.count))
      if !name.contains(":") { files[name] = count }
    }
    guard !files.isEmpty else { return [:] }
    log.warning(
      "files wait to be sent to buckets that this account does not list; 'waysfs recover' shows them",
      metadata: ["buckets": "\(files.keys.sorted().joined(separator: ", "))"])
    return files
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

  var journalDirectory: String? {
    guard shared.journalRoom != nil else { return nil }
    return tree == nil ? buckets.all.first?.journal?.directory.string : settings.cacheDirectory
  }

  var pending: PendingUploads? { buckets.pending }

  var report: MountReport? { reporter.report }

  func sampleRates() { reporter.sample() }

  var load: EngineLoad {
    let load = session.load
    return EngineLoad(isSaturated: load.isSaturated, requests: load.requests)
  }

  func answerOnce() -> Bool {
    // Reads wait for the thread of the transport, and it for nobody.
    let turned = OneShot<Void>()
    shared.transport.schedule(after: 0) { turned.fulfil(()) }
    turned.wait()
    return session.ask()
  }

  func uploadLeftOver() { buckets.uploadLeftOver() }

  func finishUploads() -> UnfinishedUploads? { buckets.finishUploads() }

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
    buckets.shutDown()
    shared.shutDown()
  }
}

extension MountSettings {
  /// How the session mounts.
  var fuseOptions: MountOptions {
    var options = MountOptions(mountpoint: mountPoint, source: target.source)
    options.readOnly = readOnly
    options.allowOther = allowOther
    options.allowNonEmpty = allowNonEmpty
    // Calls that wait for one bucket must not be all there are.
    if target == .account {
      options.workerThreads *= 4
      options.maxBackground *= 4
    }
    options.passthrough = keepsReads && passesThrough
    options.fuseOptions = KernelFlag.allCases.filter(kernelFlags.contains).map(\.rawValue)
    return options
  }
}
