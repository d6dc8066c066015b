import Basics
import Logging
import ObjectStore
import SystemPackage
import WritePath

/// Putting what was written into the bucket.
extension Filesystem {
  /// Uploads a file that has changed; returns when the object is there.
  /// - Parameter background: for the queue: only the version that was closed or synced last, and only as long as nobody
  ///   writes to the file again; ends soon when it is cancelled.
  func commit(
    _ inode: InodeID, _ content: FileContent, inBackground background: Cancellation? = nil
  ) throws(Errno) {
    while content.isDirty, let path = tree.view(inode)?.path {
      let isDone = try locks.withClaims([.one(path)]) { () throws(Errno) in
        // It may have been renamed while this waited.
        guard let current = tree.view(inode)?.path, current.utf8.elementsEqual(path.utf8) else { return false }
        try commitClaimed(inode, content, to: path, inBackground: background)
        return true
      }
      if isDone { return }
    }
  }

  /// `commit`, for a caller who has claimed the path.
  /// - Parameter cancellation: ends an upload that is not in the background.
  func commitClaimed(
    _ inode: InodeID, _ content: FileContent, to path: String, inBackground background: Cancellation? = nil,
    _ cancellation: Cancellation? = nil
  ) throws(Errno) {
    guard content.isDirty, let view = tree.view(inode), let staged = content.staged else { return }
    let version = background == nil ? nil : staged.recordedChanges
    guard background == nil || version != nil else { return }
    let plan = commitPlan(view, content, path)
    let outcome: UploadOutcome
    if background == nil { journal?.space.beginFreeing() }
    defer { if background == nil { endFreeing() } }
    if configuration.probesEarly, staged.size > PartLayout.firstPartSize {
      conditions.prepareCompletion(on: staging.workers)
    }
    content.withState { $0.uploads += 1 }
    do throws(WriteError) {
      try markDirectory(of: view, for: plan)
      outcome = try upload(
        staged,
        UploadOrder(
          plan.target, condition: plan.condition, conditions: conditions, version: version, background ?? cancellation))
    } catch {
      content.withState { $0.uploads -= 1 }
      if case .superseded = error { return }
      let code: ObjectStoreError.Code? = if case .store(let cause) = error { cause.code } else { nil }
      // Removed by somebody, the version that it is a change of is as gone as one that was replaced.
      if code == .preconditionFailed || (code == .notFound && staged.needsBase) {
        guard let errno = keepBoth(inode, content, staged, plan.target, version) else { return }
        note(error, on: content)
        throw errno
      }
      note(error, on: content)
      // A refused one has made nothing: what has the name is somebody else's.
      content.withState { $0.mayExist = true }
      // Interrupted, and nothing is wrong: what a program is still writing, its close brings into the journal, whole.
      if code == .cancelled, content.withState({ $0.opens > 0 }) { throw Errno(error) }
      throw keep(staged, plan.target, plan.condition, isRecorded: background != nil, error)
    }
    let (stored, posix, unkept) = finish(outcome, plan)
    tree.committed(inode, stored, posix: posix, content) { state in
      state.uploads -= 1
      state.version = stored
      state.replaces = nil
      state.isPlaceholder = false
      state.mayExist = false
      state.background.noteSuccess()
      state.trouble = nil
      guard !staged.isDirty else { return }
      state.modified = nil
      state.attributesPending = false
      state.timeIsExplicit = false
    }
    leftBook.noteStored(plan.target.key)
    // A copy in the server, or a tag from a HEAD, may be of what somebody else stored meanwhile.
    if stored.etag == outcome.etag { keepForReading(staged, stored, under: plan.target.key) }
    staged.forgetRecordIfUploaded()
    // A program was told that its attributes are set: that they are not is an error of this close.
    if let unkept { throw log.report("keeping the attributes of a stored file", unkept) }
  }

  /// Objects with attributes are only where listings say so.
  private func markDirectory(of view: NodeView, for plan: CommitPlan) throws(WriteError) {
    guard !plan.target.attributes.userMetadata.isEmpty else { return }
    do throws(ObjectStoreError) {
      try ensureMarked(view.parent, nil)
    } catch {
      throw .store(error)
    }
  }

  /// Ends the hope of writers for whom the journal is full a moment later: the space becomes free when the program's
  /// descriptor is gone.
  func endFreeing() {
    guard let space = journal?.space else { return }
    guard space.isTight else { return space.endFreeing() }
    let moment = 1.0
    uploads.add(after: moment) { space.endFreeing() }
  }

  /// Uploads a file. What looks like somebody else's change may be an earlier upload of the same file, of which nobody
  /// heard that it had succeeded: then it goes on from there.
  func upload(_ staged: StagedFile, _ order: UploadOrder) throws(WriteError) -> UploadOutcome {
    do throws(WriteError) {
      return try staged.upload(order)
    } catch {
      guard case .store(let cause) = error, cause.code == .preconditionFailed,
        let found = try ownVersion(staged, order.target.key)
      else { throw error }
      if order.version == nil, let outcome = staged.confirmStored(found, under: order.target.key) { return outcome }
      guard staged.rebase(on: found.etag, size: found.size) else { throw error }
      var order = order
      order.condition = .ifMatch(found.etag)
      return try staged.upload(order)
    }
  }

  /// What the bucket has under a key, when it is what an earlier upload of this file made; nil for somebody else's.
  func ownVersion(_ staged: StagedFile, _ key: ObjectKey) throws(WriteError) -> ObjectMetadata? {
    guard staged.mayHaveUploads else { return nil }
    do throws(ObjectStoreError) {
      return try present(key).flatMap { staged.mayHaveMade($0.etag) ? $0 : nil }
    } catch {
      // As long as that cannot be told, it is no conflict.
      throw .store(error)
    }
  }

  struct CommitPlan {
    var target: UploadTarget
    var condition: WriteCondition
    var posix: PosixAttributes
    var timeIsExplicit: Bool
  }

  /// Where a file goes, what is stored with it, and what must hold for it.
  func commitPlan(_ view: NodeView, _ content: FileContent, _ path: String) -> CommitPlan {
    let (replaced, modified, timeIsExplicit) = content.withState {
      ($0.objectVersion, $0.modified, $0.timeIsExplicit)
    }
    var posix = view.posix
    // Without attributes before, the listing shows the time of the upload.
    if configuration.attributes != .never || posix.modified != nil {
      posix.modified = modified ?? posix.modified
      // The same for the same state of the file, so that the journal sees whether anything is new.
      posix.changed = [posix.changed, modified].compactMap { $0 }.max() ?? configuration.time.wall
    }
    let attributes = ObjectAttributes(posix, keeping: view.version)
    return CommitPlan(
      target: UploadTarget(key: key(path), attributes: attributes),
      condition: replaced.map { .ifMatch($0) } ?? .ifAbsent, posix: posix,
      timeIsExplicit: timeIsExplicit)
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
    return ObjectAttributes(posix, keeping: version)
  }

  /// Makes the stored attributes agree with the file's, and tells how the new version looks.
  private func finish(
    _ outcome: UploadOutcome, _ plan: CommitPlan
  ) -> (FileVersion, PosixAttributes, unkept: ObjectStoreError?) {
    var version = FileVersion(etag: outcome.etag, size: outcome.size, lastModified: configuration.time.wall)
    version.contentType = plan.target.attributes.contentType
    version.headers = plan.target.attributes.headers
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
          from: key, to: key, size: outcome.size, etag: outcome.etag, attributes: plan.target.attributes,
          storageClass: nil, in: store
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
}

extension ObjectAttributes {
  /// What a file is stored with.
  /// - Parameter version: what it replaces, whose foreign headers and type it keeps.
  fileprivate init(_ posix: PosixAttributes, keeping version: FileVersion?) {
    self.init(
      contentType: version?.contentType, headers: version?.headers ?? [:],
      userMetadata: posix.userMetadata(type: .file, keeping: version?.foreign ?? [:]))
  }

  /// With the foreign headers and the type that a version keeps.
  fileprivate func merging(_ version: FileVersion) -> ObjectAttributes {
    ObjectAttributes(
      contentType: version.contentType, headers: version.headers,
      userMetadata: userMetadata.merging(version.foreign, uniquingKeysWith: { own, _ in own }))
  }
}
