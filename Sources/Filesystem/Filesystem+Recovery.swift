import Basics
import Logging
import ObjectStore
import SystemPackage
import WritePath

/// What earlier mounts could not end: renames, uploads, and parts that nobody will ever put together.
extension Filesystem {
  /// Ends it; blocks. To be called once, before or while the mount serves. What cannot be sent now is tried again later,
  /// and by the next mount.
  public func takeUpUnsent() {
    guard let journal else { return }
    let groups = leftBook.takingUp.exclusive {
      let left = journal.takeUp(log: log)
      var byKey: [ObjectKey: [LeftFile]] = [:]
      for file in left.pending { byKey[file.record.target.key, default: []].append(LeftFile(file, staging)) }
      let groups = byKey.map { LeftFiles(key: $0.key, $0.value) }
      // Known from here on, so that nobody believes that nothing is pending.
      leftBook.add(groups)
      let done = left.intents.filter { noted in
        guard !isNotBegun(noted.intent, groups) else {
          end(noted)
          return false
        }
        return rollForward(noted)
      }
      for abandoned in left.abandoned { abort(abandoned) }
      for scratch in left.scratch { remove(scratch) }
      for group in groups { dropSuperseded(in: group, by: left.pending, done) }
      return groups
    }
    _ = sendNow(groups) { [self] group, error in if error != nil { sendLater(group) } }
  }

  /// Whether a file that waits was to get another name, and still has its old one in the journal: the object of the old
  /// name is what its upload replaces.
  private func isNotBegun(_ intent: RenameIntent, _ groups: [LeftFiles]) -> Bool {
    guard !intent.isDirectory, intent.phase == .deleting(nil), let etag = intent.sourceETag else { return false }
    return groups.first { $0.key == intent.source }?.withState(\.files).contains { left in
      left.file.record.condition == .ifMatch(etag) || left.staged.mayHaveMade(etag)
    } ?? false
  }

  /// Lets go of files whose name another one has taken: the journal has a record of that one, or the bucket has it.
  private func dropSuperseded(in group: LeftFiles, by pending: [PendingFile], _ done: [JournalIntent]) {
    let superseded = group.withState { state in
      let superseded = state.files.filter { left in
        pending.contains(where: left.file.isSuperseded) || done.contains(where: left.file.isSuperseded)
      }
      state.files.removeAll { left in superseded.contains { $0.staged === left.staged } }
      return superseded
    }
    for left in superseded { left.drop() }
  }

  // MARK: Sending

  /// Sends a version that was closed in the background: what came after it is not whole.
  func sendClosed(_ file: PendingFile) {
    let group = LeftFiles(key: file.record.target.key, [LeftFile(file, staging)])
    leftBook.add([group])
    uploads.add(after: 0) { [self] in if sendInOrder(group) != nil { sendLater(group) } }
  }

  /// Sends what earlier mounts left, several keys at once; blocks. Not for who holds a claim.
  /// - Parameter ended: called for each key, with the error for one of which not everything could be sent.
  /// - Returns: the errors.
  func sendNow(
    _ groups: [LeftFiles], _ ended: @escaping @Sendable (LeftFiles, Errno?) -> Void = { _, _ in }
  ) -> [(group: LeftFiles, error: Errno)] {
    guard !groups.isEmpty else { return [] }
    let results: [Result<Void, Errno>] = fanOut(over: groups, limit: groups.count) { group, finished in
      workers.flushes.submit {
        let error = self.sendInOrder(group)
        ended(group, error)
        finished(error.map { .failure($0) } ?? .success(()))
      }
    }
    return zip(groups, results).compactMap { group, result in
      guard case .failure(let error) = result else { return nil }
      return (group, error)
    }
  }

  /// What earlier mounts left below a directory, as soon as it is known what of it is to be sent.
  func left(below path: String) -> [LeftFiles] {
    leftBook.takingUp.shared {}
    let start = markerKey(path).string
    return leftBook.all.filter { $0.key.string.utf8.starts(with: start.utf8) }
  }

  /// The same for some files.
  func left(of paths: [String]) -> [LeftFiles] {
    leftBook.takingUp.shared {}
    let keys = paths.map(key)
    return leftBook.all.filter { keys.contains($0.key) }
  }

  private func sendLater(_ group: LeftFiles) {
    let firstDelay = 4
    let delay = Self.delay(afterFailures: group.withState { $0.failures } - 1 + firstDelay)
    uploads.add(after: delay) { [self] in if sendInOrder(group) != nil { sendLater(group) } }
  }

  /// Sends files of one key; after one that cannot be sent now, it and those behind it wait.
  /// - Returns: why one could not be sent.
  private func sendInOrder(_ group: LeftFiles) -> Errno? {
    group.sending.exclusive {
      while let left = group.first {
        if let error = send(left) {
          let now = configuration.time.wall
          return group.withState { state in
            state.failures += 1
            state.trouble = UploadTrouble(error, after: state.trouble, at: now)
            state.error = Errno(error)
            return state.error
          }
        }
        group.withState { state in
          state.files.removeFirst()
          (state.failures, state.error, state.trouble) = (0, nil, nil)
        }
      }
      leftBook.tidy()
      return nil
    }
  }

  /// - Returns: why it could not be sent, and is to be tried again.
  private func send(_ left: LeftFile) -> WriteError? {
    let target = left.file.record.target
    do throws(WriteError) {
      try locks.withClaims([.one(path(target.key))]) { () throws(WriteError) in
        if left.file.record.state == .removed { return try endRemoval(left) }
        // It may have been sent already, and only its attributes not.
        if left.staged.isDirty { try sendOrKeepBoth(left.staged, left.file) }
        if left.file.upload != nil, let stored = left.staged.base { try keepAttributes(target, of: stored) }
      }
      left.drop()
      log.notice(
        left.file.record.state == .removed
          ? "a removal that an earlier mount had begun is done"
          : "a file that an earlier mount could not send is in the bucket now", metadata: ["key": "\(target.key)"])
      return nil
    } catch {
      // Waiting does not bring its base back, and what comes behind must not wait.
      if strand(left.staged, target, error, version: nil) { return nil }
      log.error(
        "a file of an earlier mount still cannot be sent; it is kept",
        metadata: ["key": "\(target.key)", "kept": "\(left.file.entry.path)", "cause": "\(error)"])
      return error
    }
  }

  /// The path below the mount's root of a key, without a slash at its end.
  func path(_ key: ObjectKey) -> String {
    let bytes = key.string.utf8.dropFirst(configuration.prefix.utf8.count)
    return String(bytes.last == UInt8(ascii: "/") ? bytes.dropLast() : bytes) ?? ""
  }

  /// A program wanted the file gone: its object, if it is one of its own versions, goes too.
  private func endRemoval(_ left: LeftFile) throws(WriteError) {
    let record = left.file.record
    do throws(ObjectStoreError) {
      guard let found = try present(record.target.key) else { return }
      guard record.condition == .ifMatch(found.etag) || left.staged.mayHaveMade(found.etag) else { return }
      try store.delete(record.target.key, nil)
    } catch {
      throw .store(error)
    }
  }

  private func sendOrKeepBoth(_ staged: StagedFile, _ file: PendingFile) throws(WriteError) {
    let target = file.record.target
    do throws(WriteError) {
      // Closed, but not synced before the machine or its disk failed: what the disk has may not be what was written.
      if file.mayBeTorn {
        throw .store(ObjectStoreError(.preconditionFailed, "the bytes may be damaged", key: target.key))
      }
      try markDirectory(of: target)
      _ = try upload(staged, UploadOrder(target, condition: file.record.condition, conditions: conditions))
    } catch {
      guard case .store(let cause) = error, cause.code == .preconditionFailed else { throw error }
      // The program had gone on, and nobody heard that what it did next is stored.
      if let own = try ownVersion(staged, target.key), staged.isOlder(than: own, under: target.key) { return }
      let kept = try Conflict.store(
        staged, target, host: configuration.host, time: configuration.time, conditions: conditions)
      log.warning(
        file.mayBeTorn
          ? "a file was closed, but not synced, before machine or disk failed, and may be damaged; it is kept beside"
          : "the object was changed since; both versions are kept",
        metadata: ["bucket": "\(store.bucket)", "key": "\(target.key)", "ours": "\(kept)"])
    }
  }

  private func markDirectory(of target: UploadTarget) throws(WriteError) {
    guard !target.attributes.userMetadata.isEmpty else { return }
    do throws(ObjectStoreError) {
      try ensureMarked(above: target.key)
    } catch {
      throw .store(error)
    }
  }

  /// The parts of a resumed upload left before the file was closed, with the attributes of that time.
  private func keepAttributes(_ target: UploadTarget, of stored: StagingBase) throws(WriteError) {
    do throws(ObjectStoreError) {
      guard let found = try present(stored.key), found.etag == stored.etag,
        found.userMetadata != target.attributes.userMetadata
      else { return }
      _ = try ServerSideCopy.copy(
        from: stored.key, to: stored.key, size: found.size, etag: found.etag, attributes: target.attributes,
        storageClass: found.storageClass, in: store)
    } catch {
      // Somebody else's version has no place for ours.
      guard error.code != .preconditionFailed else { return }
      throw .store(error)
    }
  }

  private func abort(_ abandoned: AbandonedUpload) {
    do throws(ObjectStoreError) {
      try store.abortUpload(abandoned.upload)
      abandoned.done()
    } catch {
      log.warning(
        "parts of an upload that was given up are still in the bucket; the next mount tries again",
        metadata: ["key": "\(abandoned.upload.key)", "cause": "\(error)"])
    }
  }

  /// What a mount tried the server with has at most one byte; anything else under that key is somebody's. So are uploads
  /// to it, whose beginning it may not have heard of.
  private func remove(_ scratch: ScratchObject) {
    do throws(ObjectStoreError) {
      for upload in try uploads(to: scratch.key) { try store.abortUpload(upload) }
      if let found = try present(scratch.key), found.size <= 1 { try store.delete(scratch.key) }
      scratch.done()
    } catch {
      log.debug("a scratch object is left to the next mount", metadata: ["cause": "\(error)"])
    }
  }

  private func uploads(to key: ObjectKey) throws(ObjectStoreError) -> [MultipartUpload] {
    do throws(ObjectStoreError) {
      return try store.listUploads(prefix: key.string).filter { $0.key == key }
    } catch {
      // A server that does not tell has none, as far as anybody can help it.
      guard [.unsupported, .invalidRequest, .accessDenied].contains(error.code) else { throw error }
      return []
    }
  }
}
