extension MountOptions {
  /// Checks everything that `FuseSession.mount` checks, for callers who want to know before they connect to a server.
  ///
  /// - Returns: the mount point as an absolute path without symbolic links.
  /// - Throws: an error whose message says what to do.
  public func check() throws(FuseSessionError) -> String {
    try MountChecks(options: self).run()
  }
}
