/// How far the upload of a file is.
public struct UploadProgress: Hashable, Sendable {
  /// Length of the file in bytes.
  public var size: UInt64
  /// Bytes in parts that the server has; a part that was changed since counts until it is sent again.
  public var sent: UInt64
  /// Whether something of it is being sent.
  public var isUnderWay: Bool
}

extension StagedFile {
  /// How far its upload is. Does not block.
  public var progress: UploadProgress {
    let parts = session.withLock { $0 }?.progress
    let (size, uploads) = state.withLock { ($0.size, $0.uploads) }
    return UploadProgress(
      size: size, sent: min(size, parts?.sent ?? 0), isUnderWay: uploads > 0 || parts?.isSending ?? false)
  }

  /// Bytes of the file that are on this machine: written, or fetched from its base. Does not block.
  public var presentBytes: UInt64 { state.withLock { $0.present.byteCount } }
}
