import Glibc
import Logging
import SystemPackage

/// Raises how far the kernel reads ahead on a mount; INIT can only lower it from the default of 128 KiB.
///
/// Only root may. It makes reads faster and nothing else, so a failure is not an error.
func raiseReadAhead(of mount: MountTableEntry, toKiB size: Int, _ log: Logger) {
  let path = "/sys/class/bdi/\(mount.device)/read_ahead_kb"
  do {
    let file = try FileDescriptor.open(FilePath(path), .writeOnly, options: .closeOnExec)
    defer { try? file.close() }
    _ = try file.writeAll("\(max(size, 0))".utf8)
  } catch {
    log.debug("read-ahead stays at the kernel's default: \(path): \(error)")
  }
}
