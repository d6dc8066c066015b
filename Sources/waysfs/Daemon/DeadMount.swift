import FuseSession
import Glibc
import Logging

/// What a process leaves at its mount point when it is killed: a mount on which every call fails.
enum DeadMount {
  /// More than one is there when somebody mounted over a dead one.
  private static let most = 16

  /// Takes away the mounts at a path that are ours and dead, also while programs still have files open on them: those
  /// fail already. Leaves everything else alone.
  /// - Parameter path: absolute, without symbolic links.
  static func clear(at path: String, recordDirectories: [String], _ log: Logger) {
    for _ in 0..<most {
      guard let mount = (try? MountTable.current())?.top(at: path), mount.isWaysfs else { return }
      // Where a process is at work, it may be about to answer; it is not asked, since that could hang.
      let record = ForeignRecord(
        mountPoint: path,
        directories: recordDirectories + RuntimeDirectory.candidates(uid: mount.userID ?? 0, environment: [:]))
      if record?.isHeld == true || !isDisconnected(path) { return }
      do throws(FuseSessionError) {
        try mount.unmount(lazy: true)
      } catch {
        return log.warning("a dead mount cannot be cleared", metadata: ["on": "\(path)", "cause": "\(error)"])
      }
      record?.removeIfAbandoned()
      log.notice("a dead mount was cleared", metadata: ["on": "\(path)", "source": "\(mount.source)"])
    }
  }

  /// Whether the kernel knows that nobody serves the mount any more.
  private static func isDisconnected(_ path: String) -> Bool {
    var answer = statvfs()
    guard statvfs(path, &answer) != 0 else { return false }
    return errno == ENOTCONN || errno == ECONNABORTED
  }
}
