public import Basics
import ObjectStore
public import SystemPackage
import WritePath

/// How far what a file holds is in the bucket.
public enum FileState: String, Hashable, Sendable, CaseIterable {
  /// The bucket has it as it is.
  case clean
  /// The bucket lacks something of it, and nothing has gone wrong.
  case dirty
  /// Something of it is being sent.
  case uploading
  /// The last upload has failed, or a write, after which the file is not whole.
  case failed
  /// Somebody else changed the object first: it is the copy that was stored beside theirs, or a change of it is kept in
  /// the journal.
  case conflict
}

/// Why an upload failed the last time.
public struct UploadTrouble: Hashable, Sendable {
  /// What the program was told, or will be.
  public var errno: Errno
  /// One clause for a person, without secrets.
  public var reason: String
  /// When it was.
  public var time: Timestamp
  /// Failures since the last success.
  public var failures: Int

  init(_ error: WriteError, after last: UploadTrouble?, at time: Timestamp) {
    errno = Errno(error)
    reason = Self.reason(error)
    self.time = time
    failures = (last?.failures ?? 0) + 1
  }

  private static func reason(_ error: WriteError) -> String {
    switch error {
    case .staging(let errno), .incomplete(let errno): return "a write failed: \(errno)"
    case .superseded: return "the file was changed meanwhile"
    case .store(let error):
      let words = error.message.hasSuffix(".") ? String(error.message.dropLast()) : error.message
      let details = [error.httpStatus.map { "HTTP \($0)" }, error.serverCode].compactMap { $0 }
      return details.isEmpty ? words : "\(words) (\(details.joined(separator: ", ")))"
    }
  }
}

/// A file that the bucket does not have as it is, or, without a length, the old name of a renamed directory whose objects
/// the bucket still has under it.
public struct FileUpload: Hashable, Sendable {
  /// Below the mount's root.
  public var path: String
  /// How far it is: `dirty`, `uploading` or `failed`.
  public var state: FileState
  /// Length in bytes.
  public var size: UInt64
  /// Bytes that the server has already in parts of an upload.
  public var sent: UInt64
  /// When it was changed last; nil when not known.
  public var changed: Timestamp?
  /// Why the last upload failed; also while the next one is under way.
  public var trouble: UploadTrouble?
}

extension Filesystem {
  /// The files that the bucket does not have as they are, those of earlier mounts included, and old names of directories
  /// that wait for their removal. Does not block for I/O.
  public func unsentFiles() -> [FileUpload] {
    let files = tree.filesInUse(where: \.isDirty).compactMap { view in view.content.flatMap { upload(view, $0) } }
    return files + oldNames.all.map(unfinished)
      + leftBook.all.flatMap { group in
        let (files, trouble) = group.withState { ($0.files, $0.trouble) }
        return files.enumerated().map { position, left in
          let progress = left.staged.progress
          return FileUpload(
            path: path(group.key), state: progress.isUnderWay ? .uploading : trouble == nil ? .dirty : .failed,
            size: progress.size, sent: progress.sent, changed: Timestamp(seconds: left.file.record.time),
            // Those behind the first wait for it.
            trouble: position == 0 ? trouble : nil)
        }
      }
  }

  private func unfinished(_ old: OldNames) -> FileUpload {
    FileUpload(
      path: old.move.source, state: .failed, size: 0, sent: 0, changed: old.trouble?.time, trouble: old.trouble)
  }

  /// Nil for a file that the bucket has as it is.
  func upload(_ view: NodeView, _ content: FileContent) -> FileUpload? {
    guard content.isDirty else { return nil }
    let (staged, modified, trouble) = content.withState { ($0.staged, $0.modified, $0.trouble) }
    let progress = staged?.progress
    let write = staged?.failure.map { UploadTrouble(.incomplete($0), after: trouble, at: configuration.time.wall) }
    let last = trouble ?? write
    return FileUpload(
      path: view.path ?? "(removed)", state: progress?.isUnderWay == true ? .uploading : last == nil ? .dirty : .failed,
      size: progress?.size ?? view.attributes.size, sent: progress?.sent ?? 0, changed: modified, trouble: last)
  }

  /// Remembers why an upload failed, for those who ask how the mount does. One that was stopped has not failed.
  func note(_ error: WriteError, on content: FileContent) {
    if case .store(let cause) = error, cause.code == .cancelled { return }
    let now = configuration.time.wall
    content.withState { $0.trouble = UploadTrouble(error, after: $0.trouble, at: now) }
  }
}
