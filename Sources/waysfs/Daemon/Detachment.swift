import CLinux
import Glibc

/// Cuts the daemon's ties to where it was started.
enum Detachment {
  /// At the start of the background process: away from descriptors that were open by chance (a lock that a script holds
  /// on descriptor 9 would be held for as long as the mount lasts).
  ///
  /// Not yet away from its process group: when systemd mounts because somebody has looked into an automount point, the
  /// kernel lets only that group through to it, and all others wait until it is mounted.
  static func begin() {
    rename()
    _ = clinux_close_from(Readiness.descriptor + 1)
  }

  /// It was started as /proc/self/exe, and so ps and killall would know it as "exe".
  private static func rename() {
    // Not /proc/self: that is root's where dumps are forbidden.
    let file = open("/proc/thread-self/comm", O_WRONLY | O_CLOEXEC)
    guard file >= 0 else { return }
    writeAll(file, Array("waysfs".utf8))
    close(file)
  }

  /// When the mount answers: away from the terminal, whose signals are for others; nobody reads these descriptors any
  /// more, and the working directory must not keep a filesystem busy.
  static func complete() {
    setsid()
    _ = chdir("/")
    let null = open("/dev/null", O_RDWR | O_CLOEXEC)
    guard null >= 0 else { return }
    for descriptor in [STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO] { dup2(null, descriptor) }
    if null > STDERR_FILENO { close(null) }
  }
}
