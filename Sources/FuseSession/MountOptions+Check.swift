extension MountOptions {
  /// Checks everything that `FuseSession.mount` checks, for callers who want to know before they connect to a server.
  ///
  /// - Returns: the mount point as an absolute path without symbolic links.
  /// - Throws: an error whose message says what to do.
  public func check() throws(FuseSessionError) -> String {
    try MountChecks(options: self).run()
  }
}

/// What mounts need of the machine, whatever is mounted. The errors say what to do.
public enum MachineCheck {
  /// The device `/dev/fuse` can be opened.
  public static func device() throws(FuseSessionError) { try MountChecks(options: options()).checkDevice() }

  /// The program `fusermount3` is there, which users other than root need to mount.
  public static func helper() throws(FuseSessionError) { try MountChecks(options: options()).checkUserRights() }

  /// Users other than root may let others into their mounts.
  public static func sharing() throws(FuseSessionError) {
    var options = options()
    options.allowOther = true
    try MountChecks(options: options).checkUserRights()
  }

  private static func options() -> MountOptions { MountOptions(mountpoint: "/", source: "") }
}
