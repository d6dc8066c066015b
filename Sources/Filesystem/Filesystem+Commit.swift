import Basics
import Logging
import ObjectStore
import SystemPackage
import WritePath

/// Putting what was written into the bucket.
extension Filesystem {
  /// Uploads a file that has changed; returns when the object is there.
  func commit(_ inode: InodeID, _ content: FileContent) throws(Errno) {
    while content.isDirty, let path = tree.view(inode)?.path {
      let isDone = try locks.withClaims([.one(path)]) { () throws(Errno) in
        // It may have been renamed while this waited.
        guard let current = tree.view(inode)?.path, current.utf8.elementsEqual(path.utf8) else { return false }
        try commitClaimed(inode, content, to: path)
        return true
      }
      if isDone { return }
    }
  }

  /// `commit`, for a caller who has claimed the path.
  func commitClaimed(_ inode: InodeID, _ content: FileContent, to path: String) throws(Errno) {
    guard content.isDirty, let view = tree.view(inode), let staged = content.staged else { return }
    let plan = commitPlan(view, content, path)
    let outcome: UploadOutcome
    do throws(WriteError) {
      outcome = try staged.upload(to: plan.target, condition: plan.condition, conditions: conditions)
    } catch {
      if case .store(let cause) = error, cause.code == .preconditionFailed {
        throw keepBoth(inode, content, staged, plan.target, path)
      }
      throw keep(staged, plan.target, plan.condition, error)
    }
    let (version, posix, unkept) = finish(outcome, plan)
    content.withState { state in
      state.version = version
      guard !staged.isDirty else { return }
      state.modified = nil
      state.attributesPending = false
      state.timeIsExplicit = false
    }
    tree.committed(inode, version, posix: posix)
    staging?.forget(staged)
    // A program was told that its attributes are set: that they are not is an error of this close.
    if let unkept { throw log.report("keeping the attributes of a stored file", unkept) }
  }

  private struct CommitPlan {
    var target: UploadTarget
    var condition: WriteCondition
    var posix: PosixAttributes
    var timeIsExplicit: Bool
  }

  private func commitPlan(_ view: NodeView, _ content: FileContent, _ path: String) -> CommitPlan {
    let (version, modified, timeIsExplicit) = content.withState { ($0.version, $0.modified, $0.timeIsExplicit) }
    var posix = view.posix
    posix.modified = modified ?? posix.modified
    posix.changed = configuration.time.wall
    let attributes = ObjectAttributes(
      contentType: view.version?.contentType,
      userMetadata: posix.userMetadata(type: .file, keeping: view.version?.foreign ?? [:]))
    return CommitPlan(
      target: UploadTarget(key: key(path), attributes: attributes),
      condition: version.map { .ifMatch($0.etag) } ?? .ifAbsent, posix: posix, timeIsExplicit: timeIsExplicit)
  }

  /// Where full parts of a file that is still being written go. Its times are not known yet; they are left out, and the
  /// time of the upload stands for them unless a program sets others.
  func streamTarget(of content: FileContent) -> UploadTarget? {
    guard !content.isOrphaned, let inode = content.withState({ $0.inode }), let view = tree.view(inode),
      let path = view.path
    else { return nil }
    return UploadTarget(key: key(path), attributes: streamedAttributes(view.posix, view.version))
  }

  private func streamedAttributes(_ posix: PosixAttributes, _ version: FileVersion?) -> ObjectAttributes {
    var posix = posix
    posix.modified = nil
    posix.changed = nil
    return ObjectAttributes(
      contentType: version?.contentType,
      userMetadata: posix.userMetadata(type: .file, keeping: version?.foreign ?? [:]))
  }

  /// Makes the stored attributes agree with the file's, and tells how the new version looks.
  private func finish(
    _ outcome: UploadOutcome, _ plan: CommitPlan
  ) -> (FileVersion, PosixAttributes, unkept: ObjectStoreError?) {
    var version = FileVersion(etag: outcome.etag, size: outcome.size, lastModified: configuration.time.wall)
    version.contentType = plan.target.attributes.contentType
    version.foreign = PosixAttributes().userMetadata(type: .file, keeping: plan.target.attributes.userMetadata)
    let isNamed = outcome.size <= PartLayout.firstPartSize || !conditions.areIgnored
    if outcome.attributes == plan.target.attributes, isNamed { return (version, plan.posix, nil) }
    let key = plan.target.key
    // Parts left before the file was closed, with the attributes of that time.
    let differs = plan.timeIsExplicit || outcome.attributes != streamedAttributes(plan.posix, nil).merging(version)
    var unkept: ObjectStoreError?
    do throws(ObjectStoreError) {
      if differs {
        version.etag = try ServerSideCopy.copy(
          from: key, to: key, size: outcome.size, etag: outcome.etag, attributes: plan.target.attributes, in: store
        ).etag
        return (version, plan.posix, nil)
      }
      let metadata = try store.head(key)
      // A server without conditions may name a completed upload otherwise than the object it became.
      if conditions.areIgnored, metadata.size == outcome.size { version.etag = metadata.etag }
      if metadata.etag == version.etag { version.lastModified = metadata.lastModified }
    } catch {
      // A HEAD that fails costs nothing but the exact time of the upload.
      if differs { unkept = error }
    }
    var posix = plan.posix
    posix.modified = nil
    posix.changed = nil
    return (version, posix, unkept)
  }

  // MARK: When it fails

  /// Keeps the bytes on this machine for the next try, the next mount included.
  private func keep(
    _ staged: StagedFile, _ target: UploadTarget, _ condition: WriteCondition, _ error: WriteError
  ) -> Errno {
    if case .incomplete = error { return log.report("upload", key: target.key, error) }
    guard let staging else { return log.report("upload", key: target.key, error) }
    do throws(WriteError) {
      try staged.keep(for: target, condition: condition, in: staging)
      log.error(
        "an upload failed; the bytes are kept, and tried again at the next close, fsync or mount",
        metadata: ["kept": "\(staging.directory)", "cause": "\(error)"])
    } catch let second {
      log.error(
        "an upload failed, and the bytes are kept only as long as this mount lives",
        metadata: ["cause": "\(error)", "journal": "\(second)"])
    }
    return Errno(error)
  }

  /// Somebody else changed the object first: it stays, and this machine's bytes are stored beside it.
  private func keepBoth(
    _ inode: InodeID, _ content: FileContent, _ staged: StagedFile, _ target: UploadTarget, _ path: String
  ) -> Errno {
    do throws(WriteError) {
      let kept = try Conflict.store(
        staged, target, host: configuration.host, time: configuration.time, conditions: conditions)
      log.warning(
        "somebody else changed the object first; both versions are kept",
        metadata: ["bucket": "\(store.bucket)", "key": "\(target.key)", "ours": "\(kept)"])
    } catch {
      return keep(staged, target, .ifAbsent, error)
    }
    tree.disown(inode, content)
    staging?.forget(staged)
    kernelCache?.invalidate(inode)
    return .staleNFSFileHandle
  }

  // MARK: At the end

  /// Files that the bucket does not have as they are, and how many bytes these files have.
  public func pending() -> (paths: [String], bytes: UInt64) {
    let files = tree.filesInUse().filter { $0.content?.isDirty ?? false }
    return (files.map { $0.path ?? "(removed)" }, files.reduce(0) { $0 + $1.attributes.size })
  }

  /// Removes the staging files of what is in the bucket. The last call: nothing may use this filesystem afterwards.
  public func discardStaged() {
    for view in tree.filesInUse() {
      guard let content = view.content, !content.isDirty else { continue }
      let staged: StagedFile? = content.withState { state in
        defer { state.staged = nil }
        return state.staged
      }
      staged.map(discard)
    }
  }

  /// Uploads everything that is not in the bucket yet; called when no more requests come.
  /// - Returns: the paths of files that could not be sent; their bytes are kept in the staging area.
  public func drain() -> [String] {
    let files = tree.filesInUse().filter { $0.content?.isDirty ?? false }
    // Threads of its own: an upload waits for its parts, which run on the workers.
    let pool = WorkerPool(name: "waysfs-drain", limit: 8)
    defer { pool.shutdown() }
    let results: [Result<String?, Never>] = fanOut(over: files, limit: files.count) { view, done in
      pool.submit { done(.success(self.drain(view))) }
    }
    return results.compactMap { $0.get() }
  }

  private func drain(_ view: NodeView) -> String? {
    guard let content = view.content else { return nil }
    do throws(Errno) {
      try commit(view.id, content)
      return nil
    } catch {
      return view.path ?? "(removed)"
    }
  }

  /// Sends what earlier mounts could not; blocks. To be called once, before or while the mount serves.
  public func takeUpUnsent() {
    staging?.takeUp(store: store, workers: workers, log: log) { staged, target, condition throws(WriteError) in
      do throws(WriteError) {
        _ = try staged.upload(to: target, condition: condition, conditions: conditions)
      } catch {
        guard case .store(let cause) = error, cause.code == .preconditionFailed else { throw error }
        let kept = try Conflict.store(
          staged, target, host: configuration.host, time: configuration.time, conditions: conditions)
        log.warning(
          "the object was changed since; both versions are kept",
          metadata: ["bucket": "\(store.bucket)", "key": "\(target.key)", "ours": "\(kept)"])
      }
    }
  }
}

extension ObjectAttributes {
  /// With the foreign headers and the type that a version keeps.
  fileprivate func merging(_ version: FileVersion) -> ObjectAttributes {
    ObjectAttributes(
      contentType: version.contentType,
      userMetadata: userMetadata.merging(version.foreign, uniquingKeysWith: { own, _ in own }))
  }
}
