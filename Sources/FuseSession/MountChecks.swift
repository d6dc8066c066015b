import Glibc
import SystemPackage

/// What is looked at before mounting, so that the message can say what to do.
struct MountChecks {
  var options: MountOptions
  var userID: uid_t = geteuid()
  var device = "/dev/fuse"
  var configuration = "/etc/fuse.conf"
  var helper = "fusermount3"
  var searchPath: String = environmentValue("PATH") ?? "/usr/bin:/bin"

  /// Checks everything; returns the mount point as an absolute path without symbolic links.
  func run() throws(FuseSessionError) -> String {
    try checkDevice()
    if userID != 0 { try checkUserRights() }
    return try checkMountPoint()
  }

  func checkMountPoint() throws(FuseSessionError) -> String {
    let path = options.mountpoint
    let resolved = try resolve(path)
    let mount = (try? MountTable.current())?.top(at: resolved)
    if let mount, mount.type == "fuse.\(options.subtype)" {
      throw FuseSessionError(
        .alreadyMounted, "\(resolved): \(mount.source) is already mounted here; unmount it first: umount \(resolved)")
    }
    var status = stat()
    guard stat(resolved, &status) == 0 else { throw unusable(path, Errno(rawValue: errno)) }
    guard status.st_mode & S_IFMT == S_IFDIR else { throw unusable(path, .notDirectory) }
    if userID != 0 && access(resolved, W_OK) != 0 {
      throw FuseSessionError(
        .mountPointForbidden, "\(path): a user other than root can only mount on a directory that user may write to",
        cause: Errno(rawValue: errno))
    }
    // Who looks into an automount point waits for what is to be mounted there, which is this mount.
    if !options.hidesEntries && mount?.type != "autofs" { try checkEmpty(resolved) }
    return resolved
  }

  private func resolve(_ path: String) throws(FuseSessionError) -> String {
    guard let resolved = realpath(path, nil) else { throw unusable(path, Errno(rawValue: errno)) }
    defer { free(resolved) }
    return String(cString: resolved)
  }

  private func unusable(_ path: String, _ cause: Errno) -> FuseSessionError {
    switch cause {
    case .noSuchFileOrDirectory:
      FuseSessionError(.mountPointMissing, "\(path): there is no such directory; make it first: mkdir -p \(path)")
    case .notDirectory:
      FuseSessionError(.notADirectory, "\(path) is not a directory; a mount point has to be one")
    case .socketNotConnected:
      FuseSessionError(
        .staleMount,
        "\(path): a mount whose process has died is still here (\(cause)); remove it first: umount -l \(path)")
    default:
      FuseSessionError(.mountPointForbidden, "\(path) cannot be mounted on", cause: cause)
    }
  }

  private func checkEmpty(_ path: String) throws(FuseSessionError) {
    guard let directory = opendir(path) else { throw unusable(path, Errno(rawValue: errno)) }
    defer { closedir(directory) }
    while let entry = readdir(directory) {
      let name = withUnsafePointer(to: &entry.pointee.d_name) {
        $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
      }
      if name != "." && name != ".." {
        throw FuseSessionError(
          .notEmpty,
          "\(path) is not empty; choose an empty directory, or allow it with -o nonempty (its files are hidden meanwhile)"
        )
      }
    }
  }

  func checkDevice() throws(FuseSessionError) {
    let descriptor = open(device, O_RDWR | O_CLOEXEC)
    if descriptor >= 0 {
      close(descriptor)
      return
    }
    let cause = Errno(rawValue: errno)
    switch cause {
    case .noSuchFileOrDirectory, .noSuchAddressOrDevice, .operationNotSupportedByDevice:
      throw FuseSessionError(
        .deviceMissing,
        "\(device) is missing: load the kernel module (modprobe fuse), or start the container with "
          + "--device /dev/fuse --cap-add SYS_ADMIN", cause: cause)
    default:
      throw FuseSessionError(
        .deviceForbidden, "\(device) cannot be opened: its permissions should be 0666 (chmod 0666 \(device) as root)",
        cause: cause)
    }
  }

  func checkUserRights() throws(FuseSessionError) {
    if options.followsNoLinks {
      throw FuseSessionError(
        .badOption,
        "only root can mount with nosymfollow, which fusermount3 does not know: leave it out, or mount as root")
    }
    let found = searchPath.split(separator: ":").contains { access("\($0)/\(helper)", X_OK) == 0 }
    guard found || access("/usr/bin/\(helper)", X_OK) == 0 else {
      throw FuseSessionError(
        .helperMissing, "\(helper) is missing, which users other than root need to mount: install the package fuse3")
    }
    guard options.allowOther || options.fuseOptions.contains("allow_root") else { return }
    let text = String(decoding: (try? readWholeFile(configuration)) ?? [], as: UTF8.self)
    let allowed = text.split(separator: "\n").contains { line in
      line.split(whereSeparator: { $0 == " " || $0 == "\t" || $0 == "\r" }) == ["user_allow_other"]
    }
    guard allowed else {
      throw FuseSessionError(
        .allowOtherForbidden,
        "users other than root may not share a mount: add a line user_allow_other to \(configuration), "
          + "or leave out allow_other")
    }
  }
}

private func environmentValue(_ name: String) -> String? {
  getenv(name).map { String(cString: $0) }
}
