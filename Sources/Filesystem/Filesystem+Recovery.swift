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
    for intent in left.intents { rollForward(intent) }
    for abandoned in left.abandoned { abort(abandoned) }
    // What goes to the same key goes in the order in which it was closed.
    var byKey: [ObjectKey: [Left]] = [:]
    for file in left.pending {
      byKey[file.record.target.key, default: []].append(
        Left(file: file, staged: StagedFile(resuming: file, context: staging)))
    }
    let pool = WorkerPool(name: "waysfs-unsent", limit: configuration.parallelUploads)
    defer { pool.shutdown() }
    let _: [Result<Void, Never>] = fanOut(over: Array(byKey.values), limit: byKey.count) { files, done in
      pool.submit {
        self.sendInOrder(files[...], failures: 0)
        done(.success(()))
      }
    }
  }

  /// A file of an earlier mount.
  private struct Left: Sendable {
    var file: PendingFile
    var staged: StagedFile
  }

  /// Sends files of one key; after one that cannot be sent, it and those behind it wait.
  private func sendInOrder(_ files: ArraySlice<Left>, failures: Int) {
    var rest = files
    while let left = rest.first {
      guard send(left) else {
        let firstDelay = 4
        uploads.add(after: Self.delay(afterFailures: failures + firstDelay)) { [self, rest] in
          sendInOrder(rest, failures: failures + 1)
        }
        return
      }
      rest.removeFirst()
    }
  }

  /// - Returns: false when it is to be tried again.
  private func send(_ left: Left) -> Bool {
    let target = left.file.record.target
    do throws(WriteError) {
      try locks.withClaims([.one(path(target.key))]) { () throws(WriteError) in
        try sendOrKeepBoth(left.staged, left.file)
        if left.file.upload != nil { try keepAttributes(target) }
      }
      left.staged.forgetRecord()
      left.staged.discard()
      log.notice(
        "a file that an earlier mount could not send is in the bucket now", metadata: ["key": "\(target.key)"])
      return true
    } catch {
      log.error(
        "a file of an earlier mount still cannot be sent; it is kept",
        metadata: ["key": "\(target.key)", "kept": "\(left.file.entry.path)", "cause": "\(error)"])
      return false
    }
  }

  /// The path below the mount's root of a key, without a slash at its end.
  func path(_ key: ObjectKey) -> String {
    let bytes = key.string.utf8.dropFirst(configuration.prefix.utf8.count)
    return String(bytes.last == UInt8(ascii: "/") ? bytes.dropLast() : bytes) ?? ""
  }

  private func sendOrKeepBoth(_ staged: StagedFile, _ file: PendingFile) throws(WriteError) {
    let target = file.record.target
    do throws(WriteError) {
      // Closed, but not synced before the machine went down: what the disk has may not be what was written.
      if file.mayBeTorn {
        throw .store(ObjectStoreError(.preconditionFailed, "the machine went down", key: target.key))
      }
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

  /// The parts of a resumed upload left before the file was closed, with the attributes of that time.
  private func keepAttributes(_ target: UploadTarget) throws(WriteError) {
    do throws(ObjectStoreError) {
      let found = try store.head(target.key)
      guard found.userMetadata != target.attributes.userMetadata else { return }
      _ = try ServerSideCopy.copy(
        from: target.key, to: target.key, size: found.size, etag: found.etag, attributes: target.attributes, in: store)
    } catch {
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
}
