/// How a helper of mount(8) or umount(8) ends; the numbers are those of their manual pages.
enum HelperStatus: Int32, Sendable {
  case success = 0
  /// It was called in a wrong way, or by somebody who may not.
  case usage = 1
  /// The system refused something that has nothing to do with the mount.
  case system = 2
  case interrupted = 8
  /// The mount, or the unmount, failed.
  case failed = 32
  /// It was done in part: unmounted, but not everything could be uploaded.
  case partly = 64

  init(_ status: ExitStatus) {
    switch status {
    case .success: self = .success
    case .failed, .needsAttention: self = .failed
    case .unfinishedUploads: self = .partly
    case .usage: self = .usage
    }
  }
}
