import Logging
public import ObjectStore
public import SystemPackage
import WritePath

extension Errno {
  /// The errno a system call shows for a failure of the store. Unreachable never means deleted: only the server's own
  /// word that there is no object becomes ENOENT.
  public init(_ error: ObjectStoreError) {
    self =
      switch error.code {
      case .notFound: .noSuchFileOrDirectory
      case .noSuchBucket: .noSuchAddressOrDevice
      case .preconditionFailed: .staleNFSFileHandle
      case .accessDenied, .invalidCredentials: .permissionDenied
      case .invalidRequest: .invalidArgument
      case .nameTooLong: .fileNameTooLong
      case .invalidSize: .fileTooLarge
      case .unsupported: .notSupported
      case .throttled, .conflict: .resourceBusy
      case .timedOut: .timedOut
      case .cancelled: .interrupted
      case .noSuchUpload, .wrongRegion, .invalidRange, .serverError, .connectionFailed, .tlsFailed, .corruptResponse,
        .localReadFailed:
        .ioError
      }
  }

  /// The errno for a failure of the write path.
  init(_ error: WriteError) {
    switch error {
    case .staging(let errno), .incomplete(let errno): self = errno
    case .superseded: self = .resourceBusy
    case .store(let error): self.init(error)
    }
  }
}

extension ObjectStoreError {
  /// The caller gave up while it waited for others of this mount.
  static var interrupted: ObjectStoreError { ObjectStoreError(.cancelled, "The caller was interrupted.") }
}

extension Logger {
  /// Logs a failure with what it was about, and gives the errno to answer. What a program asks for that is just not
  /// there, or gives up itself, is no news.
  func report(_ operation: String, _ error: ObjectStoreError) -> Errno {
    let quiet = error.code == .notFound || error.code == .cancelled
    log(level: quiet ? .debug : .warning, "\(operation) failed", metadata: ["cause": "\(error)"])
    return Errno(error)
  }

  func report(_ operation: String, key: ObjectKey?, _ error: WriteError) -> Errno {
    if case .store(let cause) = error { return report(operation, cause) }
    warning("\(operation) failed", metadata: ["key": "\(key?.string ?? "(removed)")", "cause": "\(error)"])
    return Errno(error)
  }
}
