import Basics
import Logging
import ObjectStore
import SystemPackage
import WritePath

/// When a file cannot be uploaded, or not under its name.
extension Filesystem {
  /// Keeps the bytes on this machine for the next try, the next mount included.
  /// - Parameter isRecorded: the journal has the version that could not be uploaded.
  func keep(
    _ staged: StagedFile, _ target: UploadTarget, _ condition: WriteCondition, isRecorded: Bool = false,
    _ error: WriteError
  ) -> Errno {
    if case .incomplete = error { return log.report("upload", key: target.key, error) }
    if case .store(let cause) = error, cause.code == .cancelled, isRecorded { return Errno(error) }
    guard let journal else { return log.report("upload", key: target.key, error) }
    do throws(WriteError) {
      if !isRecorded { try staged.record(for: target, condition: condition, as: .closed, durable: true) }
      if case .store(let cause) = error, cause.code == .cancelled { return Errno(error) }
      log.error(
        "an upload failed; the bytes are kept, and tried again",
        metadata: ["kept": "\(journal.directory)", "cause": "\(error)"])
    } catch let second {
      log.error(
        "an upload failed, and the bytes are kept only as long as this mount lives",
        metadata: ["cause": "\(error)", "journal": "\(second)"])
    }
    return Errno(error)
  }

  /// Somebody else changed the object first: it stays, and this machine's bytes are stored beside it.
  /// - Parameter version: the recorded bytes to store; nil: the newest.
  /// - Returns: nil, and nothing has happened, when that version was changed: the next is dealt with when it is recorded.
  func keepBoth(
    _ inode: InodeID, _ content: FileContent, _ staged: StagedFile, _ target: UploadTarget, _ version: UInt64?
  ) -> Errno? {
    do throws(WriteError) {
      let kept = try Conflict.store(
        staged, target, host: configuration.host, time: configuration.time, conditions: conditions, version: version)
      log.warning(
        "somebody else changed the object first; both versions are kept",
        metadata: ["bucket": "\(store.bucket)", "key": "\(target.key)", "ours": "\(kept)"])
    } catch {
      if case .superseded = error { return nil }
      if strand(staged, target, error, version: version) {
        letGo(inode, content)
        return .staleNFSFileHandle
      }
      return keep(staged, target, .ifAbsent, isRecorded: version != nil, error)
    }
    staged.forgetRecord()
    letGo(inode, content)
    return .staleNFSFileHandle
  }

  /// Parts a file from its name, which belongs to somebody else's version now, and from its open handles.
  private func letGo(_ inode: InodeID, _ content: FileContent) {
    naming.exclusive { tree.disown(inode, content) }
    // Nobody may have it open: then nothing else takes the local bytes away.
    tree.dropContent(inode, content).map(discard)
    kernelCache?.invalidate(inode)
  }

  /// Gives up a change of an object that somebody has replaced: what this machine does not have of it is gone, so there
  /// is no whole file to store. The journal keeps the changed bytes for a person, and nobody tries again.
  /// - Returns: false, and nothing has happened, when that is not why it failed, or when the journal cannot take it.
  func strand(_ staged: StagedFile, _ target: UploadTarget, _ error: WriteError, version: UInt64?) -> Bool {
    guard case .store(let cause) = error, [.preconditionFailed, .notFound].contains(cause.code), staged.needsBase else {
      return false
    }
    do throws(WriteError) {
      try staged.strand(target, version: version)
    } catch {
      log.error("the journal cannot note that a file is not to be sent", metadata: ["cause": "\(error)"])
      return false
    }
    leftBook.giveUp(target.key)
    log.error(
      """
      somebody else replaced the object that a change was made to; the changed bytes are kept and not sent: \
      'waysfs recover --export DIRECTORY' saves them, 'waysfs recover --discard NAME' gives them up
      """,
      metadata: ["bucket": "\(store.bucket)", "key": "\(target.key)", "kept": "\(journal?.directory.string ?? "")"])
    return true
  }

  // MARK: At the end

  /// How many files the bucket does not have as they are, as told by `unsentFiles`, and how many of their bytes the server
  /// has not got yet.
  public func pending() -> PendingFiles {
    let uploads = unsentFiles()
    let failed = uploads.compactMap(\.trouble)
    return PendingFiles(
      paths: uploads.map(\.path), bytes: uploads.reduce(0) { $0 + ($1.size - min($1.size, $1.sent)) },
      failed: failed.count,
      lastError: failed.max { $0.time < $1.time }?.errno)
  }

  /// Uploads everything that is not in the bucket yet; called when no more requests come.
  /// - Returns: the paths of files that could not be sent, now or ever, whose bytes are kept in the journal, and the old
  ///   ones of renamed directories that are still in the bucket.
  public func drain() -> [String] {
    let files = tree.filesInUse(where: \.isDirty)
    let left = sendNow(left(below: "")).map { path($0.group.key) }
    let failed = uploadAll(files).map { $0.file.path ?? "(removed)" }
    let old = oldNames.all.filter { !removeAgain($0) }.map(\.move.source)
    return left + failed + leftBook.givenUp.map(path) + old
  }

  /// Ends the uploads in the background, and removes the local bytes of what is in the bucket. The last call: nothing may
  /// use this filesystem afterwards.
  public func shutDown() {
    uploads.close()
    listings.close()
    for view in tree.filesInUse() {
      guard let content = view.content, !content.isDirty else { continue }
      let staged: StagedFile? = content.withState { state in
        defer { state.staged = nil }
        return state.staged
      }
      staged.map(discard)
    }
  }
}

/// What is not in the bucket yet.
public struct PendingFiles: Sendable {
  /// Paths below the mount's root.
  public var paths: [String]
  /// How many bytes of these files are still to be sent; fewer with each part of a large one.
  public var bytes: UInt64
  /// How many of them could not be uploaded at the last try.
  public var failed = 0
  /// Why one of them could not.
  public var lastError: Errno?
}
