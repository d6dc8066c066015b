public import SystemPackage

/// Why a filesystem could not be mounted, served or unmounted.
public struct FuseSessionError: Error, Hashable, Sendable, CustomStringConvertible {
  /// What went wrong, for programs.
  public enum Code: Hashable, Sendable {
    /// libfuse does not know an option.
    case badOption
    /// There is no such directory.
    case mountPointMissing
    /// The mount point is a file.
    case notADirectory
    /// The mount point has entries.
    case notEmpty
    /// A mount whose process died is in the way.
    case staleMount
    /// waysfs is already mounted there.
    case alreadyMounted
    /// The user may not mount there.
    case mountPointForbidden
    /// There is no /dev/fuse.
    case deviceMissing
    /// /dev/fuse may not be opened.
    case deviceForbidden
    /// There is no fusermount3.
    case helperMissing
    /// /etc/fuse.conf does not let users share their mounts.
    case allowOtherForbidden
    /// Mounting failed for another reason.
    case mountFailed
    /// There is nothing to unmount.
    case notMounted
    /// Somebody uses the mount.
    case busy
    /// Unmounting failed for another reason.
    case unmountFailed
    /// The kernel and libfuse did not agree on a protocol, or the device failed.
    case connectionFailed
    /// A method was called out of turn.
    case outOfTurn
  }

  /// What went wrong, for programs.
  public var code: Code
  /// What went wrong and what to do about it, for people.
  public var message: String
  /// The error of the system call behind it, if there was one.
  public var cause: Errno?

  /// Makes an error.
  public init(_ code: Code, _ message: String, cause: Errno? = nil) {
    self.code = code
    self.message = message
    self.cause = cause
  }

  /// The message, and the cause if there was one.
  public var description: String {
    guard let cause else { return message }
    return "\(message) (\(cause))"
  }
}
