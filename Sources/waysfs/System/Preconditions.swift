import Glibc

/// What must hold on this machine before a mount is tried. Every check throws a `Failure` that says what to do.
enum Preconditions {
  /// The mount point is an empty directory on which nothing of ours is mounted.
  /// - Parameter path: resolved, see `MountPath`.
  static func checkMountPoint(_ path: String, mounts: MountTable, uid: UInt32) throws(Failure) {
    var information = stat()
    let code = stat(path, &information) == 0 ? 0 : errno
    if code == ENOTCONN || code == ECONNABORTED {
      throw Failure(
        "a dead mount is left on \(path)", remedy: "Clear it with 'waysfs umount \(path)' and mount again")
    }
    if let mount = mounts.top(at: path), mount.isWaysfs {
      throw Failure(
        "\(path) is busy: \(mount.source) is already mounted there",
        remedy: "Unmount it with 'waysfs umount \(path)', or choose another directory")
    }
    switch code {
    case 0: break
    case ENOENT: throw Failure("\(path) is not there", remedy: "Make it with 'mkdir -p \(path)'")
    case EACCES: throw Failure("\(path) cannot be reached: permission denied")
    default: throw Failure("\(path): \(describe(errno: code))")
    }
    guard information.st_mode & S_IFMT == S_IFDIR else {
      throw Failure("\(path) is not a directory", remedy: "A mount point is an empty directory")
    }
    guard uid == 0 || access(path, W_OK) == 0 else {
      throw Failure("\(path) is not writable for you", remedy: "Mount on a directory of your own")
    }
    try checkEmpty(path)
  }

  private static func checkEmpty(_ path: String) throws(Failure) {
    guard let directory = opendir(path) else { throw Failure("\(path): \(describe(errno: errno))") }
    defer { closedir(directory) }
    while let entry = readdir(directory) {
      let name = withUnsafePointer(to: &entry.pointee.d_name) { pointer in
        pointer.withMemoryRebound(to: CChar.self, capacity: Int(NAME_MAX) + 1) { String(cString: $0) }
      }
      guard name == "." || name == ".." else {
        throw Failure(
          "\(path) is not empty (it contains '\(name)')",
          remedy: "Mounting would hide the files there: move them away, or choose an empty directory")
      }
    }
  }

  /// The kernel's FUSE device can be opened.
  static func checkFuseDevice(_ device: String = "/dev/fuse") throws(Failure) {
    let descriptor = open(device, O_RDWR | O_CLOEXEC)
    guard descriptor < 0 else {
      close(descriptor)
      return
    }
    switch errno {
    case ENOENT, ENODEV, ENXIO:
      throw Failure(
        "\(device) is missing",
        remedy: "Load the kernel module with 'modprobe fuse', or give the container --device /dev/fuse")
    case let code:
      throw Failure(
        "\(device) cannot be opened: \(describe(errno: code))",
        remedy: "The user needs read and write access to it; a container needs --device /dev/fuse")
    }
  }

  /// Users other than root mount through a helper of libfuse.
  static func checkHelper(uid: UInt32, searchPath: String?) throws(Failure) {
    guard uid != 0 else { return }
    let directories = (searchPath ?? "").split(separator: ":").map(String.init) + ["/usr/bin", "/bin"]
    guard directories.contains(where: { access("\($0)/fusermount3", X_OK) == 0 }) else {
      throw Failure("fusermount3 is not installed", remedy: "Install the package fuse3")
    }
  }

  /// Users other than root may let others in only where the administrator allows it (mount.fuse3(8)).
  static func checkAllowOther(_ wanted: Bool, uid: UInt32, configuration: FileText) throws(Failure) {
    guard wanted, uid != 0 else { return }
    if case .text(let text) = configuration,
      text.split(whereSeparator: \.isNewline).contains(where: { $0.trimmed == "user_allow_other" })
    {
      return
    }
    throw Failure(
      "--allow-other is not permitted to you", remedy: "Add the line 'user_allow_other' to /etc/fuse.conf")
  }

  /// A file of ours below the mount point would make the daemon wait for itself.
  static func checkOutside(_ path: String?, _ what: String, mountPoint: String) throws(Failure) {
    guard let path else { return }
    guard path.utf8.elementsEqual(mountPoint.utf8) || path.utf8.starts(with: "\(mountPoint)/".utf8) else { return }
    throw Failure("\(what) (\(path)) lies in the mount point", remedy: "Choose a place outside of it")
  }
}
