import Glibc

/// What `umount.fuse.waysfs` does: `umount` then means what `waysfs umount` does, and waits for the uploads. So does
/// systemd when it stops a mount unit, before the network goes.
struct UmountHelper {
  let call: HelperCall

  func run() throws(Failure) {
    if call.isForced || call.makesReadOnly { throw leaveToUmount() }
    try Umount(lazy: call.isLazy).run(call.directory, ProcessContext.current())
    if call.isVerbose { writeAll(STDOUT_FILENO, Array("umount.waysfs: \(call.directory) is unmounted\n".utf8)) }
  }

  /// Whoever forces it does not want to wait: umount(8) does it alone, without this helper (`-i`). Returns only when that
  /// cannot be run.
  private func leaveToUmount() -> Failure {
    var arguments = ["umount", "-i"]
    if call.isForced { arguments.append("-f") }
    if call.isLazy { arguments.append("-l") }
    if call.makesReadOnly { arguments.append("-r") }
    arguments += ["--", call.directory]
    let vector: [UnsafeMutablePointer<CChar>?] = arguments.map { strdup($0) } + [nil]
    execvp("umount", vector)
    return Failure("cannot run umount: \(describe(errno: errno))")
  }
}
