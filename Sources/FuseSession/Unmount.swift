import Glibc
import SystemPackage

extension MountTableEntry {
  /// Unmounts, if this mount is still the one that is seen at its path.
  ///
  /// - Parameter lazy: detaches a mount that is in use: it is gone for everybody who has not opened it yet, and ends
  ///   when the last file is closed.
  public func unmount(lazy: Bool) throws(FuseSessionError) {
    let table: MountTable
    do throws(Errno) { table = try .current() } catch {
      throw FuseSessionError(.unmountFailed, "cannot read the mount table", cause: error)
    }
    guard let top = table.top(at: mountpoint), top.mountID == mountID else {
      throw FuseSessionError(.notMounted, "\(mountpoint) is not mounted any more, or something else is mounted over it")
    }
    if umount2(mountpoint, Int32(UMOUNT_NOFOLLOW | (lazy ? MNT_DETACH : 0))) == 0 { return }
    let error = Errno(rawValue: errno)
    switch error {
    case .notPermitted: try unmountWithHelper(lazy: lazy)
    case .resourceBusy: throw busy
    default: throw FuseSessionError(.unmountFailed, "cannot unmount \(mountpoint)", cause: error)
    }
  }

  private func unmountWithHelper(lazy: Bool) throws(FuseSessionError) {
    let result: ProgramResult
    do throws(Errno) {
      // Where Debian has it, whatever PATH a service was given; the name alone for other systems.
      let helper = access("/usr/bin/fusermount3", X_OK) == 0 ? "/usr/bin/fusermount3" : "fusermount3"
      result = try runProgram([helper, "-u"] + (lazy ? ["-z"] : []) + ["--", mountpoint])
    } catch {
      throw FuseSessionError(
        .helperMissing,
        "cannot run fusermount3, which users other than root need to unmount: install the package fuse3",
        cause: error)
    }
    if result.status == 0 { return }
    if result.message.contains("busy") { throw busy }
    throw FuseSessionError(.unmountFailed, "fusermount3 could not unmount \(mountpoint): \(result.message)")
  }

  private var busy: FuseSessionError {
    FuseSessionError(
      .busy, "\(mountpoint) is in use; close what uses it (fuser -vm \(mountpoint) shows it) or unmount lazily",
      cause: .resourceBusy)
  }
}
