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
    let left = journal.takeUp(log: log)
    let done = Set(
      left.intents.filter { noted in
        guard !isNotBegun(noted.intent, left.pending) else {
          journal.end(noted)
          return false
        }
        return rollForward(noted)
      }.map(\.intent.destination))
    for abandoned in left.abandoned { abort(abandoned) }
    for scratch in left.scratch { remove(scratch) }
    var byKey: [ObjectKey: [Left]] = [:]
    for file in left.pending {
      byKey[file.record.target.key, default: []].append(
        Left(file: file, staged: StagedFile(resuming: file, context: staging)))
    }
    let pool = WorkerPool(name: "waysfs-unsent", limit: configuration.parallelUploads)
    defer { pool.shutdown() }
    let _: [Result<Void, Never>] = fanOut(over: Array(byKey), limit: byKey.count) { group, finished in
      pool.submit {
        self.sendInOrder(self.wanted(group.value, isReplaced: done.contains(group.key)), failures: 0)
        finished(.success(()))
      }
    }
  }

  /// Whether a file that waits was to get another name, and still has its old one in the journal: the object of the old
  /// name is what its upload replaces.
  private func isNotBegun(_ intent: RenameIntent, _ pending: [PendingFile]) -> Bool {
    guard !intent.isDirectory, intent.phase == .deleting(nil), let etag = intent.sourceETag else { return false }
    return pending.contains { file in
      file.record.target.key == intent.source
        && (file.record.condition == .ifMatch(etag) || file.expected.contains(etag))
    }
  }

  /// Of the files of one key, in the order in which they were closed, those that are to be sent.
  private func wanted(_ files: [Left], isReplaced: Bool) -> ArraySlice<Left> {
    guard let last = files.last else { return [] }
    return files.filter { left in
      guard left.file.record.state == .replaced else { return true }
      // The later one, made from the same version, took the name of the earlier.
      let isSuperseded = left.staged !== last.staged && left.file.record.condition == last.file.record.condition
      guard isSuperseded || isReplaced else { return true }
      left.drop()
      return false
    }[...]
  }

  /// A file of an earlier mount.
  private struct Left: Sendable {
    var file: PendingFile
    var staged: StagedFile

    /// Nobody needs it any more.
    func drop() {
      staged.forgetRecord()
      staged.discard()
    }
  }

  /// Sends a version that was closed in the background: what came after it is not whole.
  func sendClosed(_ file: PendingFile) {
    let left = Left(file: file, staged: StagedFile(resuming: file, context: staging))
    uploads.add(after: 0) { [self] in sendInOrder([left], failures: 0) }
  }

  /// What became of a file of an earlier mount.
  private enum Sending { case done, failed, hopeless }

  /// Sends files of one key; after one that cannot be sent now, it and those behind it wait.
  private func sendInOrder(_ files: ArraySlice<Left>, failures: Int) {
    var rest = files
    while let left = rest.first {
      guard send(left) != .failed else {
        let firstDelay = 4
        uploads.add(after: Self.delay(afterFailures: failures + firstDelay)) { [self, rest] in
          sendInOrder(rest, failures: failures + 1)
        }
        return
      }
      rest.removeFirst()
    }
  }

  private func send(_ left: Left) -> Sending {
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
      return .done
    } catch {
      log.error(
        "a file of an earlier mount still cannot be sent; it is kept",
        metadata: ["key": "\(target.key)", "kept": "\(left.file.entry.path)", "cause": "\(error)"])
      // The version it changes is gone: waiting does not bring it back, and what comes behind must not wait.
      if case .store(let cause) = error, [.preconditionFailed, .notFound].contains(cause.code) { return .hopeless }
      return .failed
    }
  }

  /// The path below the mount's root of a key, without a slash at its end.
  func path(_ key: ObjectKey) -> String {
    let bytes = key.string.utf8.dropFirst(configuration.prefix.utf8.count)
    return String(bytes.last == UInt8(ascii: "/") ? bytes.dropLast() : bytes) ?? ""
  }

  /// A program wanted the file gone: its object, if it is one of its own versions, goes too.
  private func endRemoval(_ left: Left) throws(WriteError) {
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
      // Closed, but not synced before the machine went down: what the disk has may not be what was written.
      if file.mayBeTorn {
        throw .store(ObjectStoreError(.preconditionFailed, "the machine went down", key: target.key))
      }
      try markDirectory(of: target)
      _ = try upload(staged, UploadOrder(target, condition: file.record.condition, conditions: conditions))
    } catch {
      guard case .store(let cause) = error, cause.code == .preconditionFailed else { throw error }
      let kept = try Conflict.store(
        staged, target, host: configuration.host, time: configuration.time, conditions: conditions)
      log.warning(
        file.mayBeTorn
          ? "a file was closed, but not synced, before the machine went down, and may be damaged; it is kept beside"
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
        from: stored.key, to: stored.key, size: found.size, etag: found.etag, attributes: target.attributes, in: store)
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

  /// What a mount tried the server with has at most one byte; anything else under that key is somebody's.
  private func remove(_ scratch: ScratchObject) {
    do throws(ObjectStoreError) {
      if let found = try present(scratch.key), found.size <= 1 { try store.delete(scratch.key) }
      scratch.done()
    } catch {
      log.debug("a scratch object is left to the next mount", metadata: ["cause": "\(error)"])
    }
  }
}
