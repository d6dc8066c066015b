import CLinux
import Glibc

/// The program when it is called as a helper of mount(8), umount(8) or mount.fuse3(8).
enum HelperProgram {
  /// Carries out the call that the arguments make; nil when they are for the commands of `waysfs`.
  static func run(_ arguments: [String]) -> HelperStatus? {
    let name = arguments.first?.split(separator: "/").last.map(String.init) ?? "mount.waysfs"
    let call: HelperCall
    do throws(UsageError) {
      guard let read = try HelperCall(arguments) else { return nil }
      call = read
    } catch {
      printError("\(name): \(error.message)\n\(usage)")
      return .usage
    }
    // Ctrl-C ends the wait, and with it the process that mounts; mount(8) has a status for that.
    for number in [SIGINT, SIGTERM] { signal(number) { _ in _exit(HelperStatus.interrupted.rawValue) } }
    if let namespace = call.namespace {
      let code = clinux_enter_mount_namespace(namespace)
      if code != 0 {
        printError("\(name): cannot enter the mount namespace \(namespace): \(describe(errno: code))")
        return .system
      }
    }
    return carryOut(call, name)
  }

  private static func carryOut(_ call: HelperCall, _ name: String) -> HelperStatus {
    let what: String
    do throws(Failure) {
      switch call.action {
      case .showHelp:
        writeAll(STDOUT_FILENO, Array("\(usage)\n".utf8))
        return .success
      case .showVersion:
        writeAll(STDOUT_FILENO, Array("waysfs \(Waysfs.version)\n".utf8))
        return .success
      case .mount(let source):
        what = "mount \(source) on \(call.directory)"
        try MountHelper(call: call, source: source).run()
      case .unmount:
        what = "unmount \(call.directory)"
        try UmountHelper(call: call).run()
      }
      return .success
    } catch {
      printError("\(name): cannot \(what): \(error.description)")
      return HelperStatus(error.exitCode)
    }
  }

  private static let usage = """
    usage: mount.waysfs BUCKET[:PREFIX] DIRECTORY [-sfnv] [-N NAMESPACE] [-o OPTION[,OPTION...]]
           umount.fuse.waysfs DIRECTORY [-nlfrv] [-N NAMESPACE]
    They are called by mount(8) and umount(8); see mount.waysfs(8) and waysfs(1).
    """
}
