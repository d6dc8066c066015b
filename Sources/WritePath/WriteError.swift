public import ObjectStore
public import SystemPackage

/// Why the write path could not do what was asked.
public enum WriteError: Error, Sendable, CustomStringConvertible {
  /// The staging file on this machine failed; the bytes of that write are not kept.
  case staging(Errno)
  /// An earlier write to this file failed, so it is not whole and will not be uploaded.
  case incomplete(Errno)
  /// The version that was to be uploaded was changed meanwhile.
  case superseded
  /// The store failed.
  case store(ObjectStoreError)

  /// One line for the log.
  public var description: String {
    switch self {
    case .staging(let errno): "the staging file failed: \(errno)"
    case .incomplete(let errno): "an earlier write failed (\(errno)); the file is not whole and is not uploaded"
    case .superseded: "the file was changed again before it was uploaded"
    case .store(let error): "\(error)"
    }
  }
}
