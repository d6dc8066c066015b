import CFuse
import Filesystem
import SystemPackage

extension FuseConnection: KernelPassthrough {
  func openBacking(_ file: FileDescriptor) throws(Errno) -> BackingID {
    let result = waysfs_session_open_backing(raw, file.rawValue)
    guard result > 0 else {
      log.debug("the kernel does not read a file by itself: errno \(-result)")
      throw Errno(rawValue: -result)
    }
    return BackingID(result)
  }

  func closeBacking(_ id: BackingID) {
    // What could fail is the connection, and with it the number is gone.
    _ = waysfs_session_close_backing(raw, id.value)
  }
}
