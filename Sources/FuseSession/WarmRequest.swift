import CFuse
public import SystemPackage

/// What any process may ask of a mount about a file that it has open.
public enum WarmRequest {
  /// Has a range of the file brought into the disk cache of its mount, and blocks until it is there.
  /// - Returns: how many bytes of the range are there now, counted in units of 64 KiB: fewer than asked for when the
  ///   cache has no room or its disk fails.
  /// - Throws: ENOTTY when the file is on no mount that understands this, EOPNOTSUPP when that has no disk cache, EBUSY
  ///   for a file with changes that are not in the bucket yet.
  public static func send(_ file: FileDescriptor, offset: UInt64, length: UInt64) throws(Errno) -> UInt64 {
    var cached: UInt64 = 0
    let result = waysfs_warm(file.rawValue, offset, length, &cached)
    guard result == 0 else { throw Errno(rawValue: -result) }
    return cached
  }
}
