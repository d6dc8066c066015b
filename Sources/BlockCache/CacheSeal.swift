import Basics

/// Says of the file with the bytes of a large object that all of them were found right, and in what state the file was
/// then: as long as it is in that state, nobody has to look again.
///
/// ```
/// "whole" 0 0 1 | inode, 8 | length, 8 | last write: seconds, 8; nanoseconds, 8 | last change: the same |
/// CRC-32C of the header's CRC and all this, 4 | zeros, 4 |
/// ```
///
/// The time of the last change is one that no program can set, and that of the last write is one that no write sets
/// (`CachedFiles.stamp`). It is written when the bytes are on the disk, so that no
/// crash leaves a seal on bytes that are not there.
struct CacheSeal: Hashable, Sendable {
  /// In bytes.
  static let length = 64
  private static let magic: [UInt8] = Array("whole".utf8) + [0, 0, 1]

  private let number: UInt64
  private let size: UInt64
  private let modified: Timestamp
  /// When the file was last changed.
  let changed: Timestamp

  /// The state of a file.
  init(_ status: CacheDisk.Status) {
    number = status.number
    size = status.length
    modified = status.modified
    changed = status.changed
  }

  /// What is written beside the file of an object.
  func bytes(of identity: CacheIdentity) -> [UInt8] {
    var bytes = Self.magic + CacheIdentity.bytes(number) + CacheIdentity.bytes(size)
    for time in [modified, changed] {
      bytes += CacheIdentity.bytes(time.seconds) + CacheIdentity.bytes(UInt64(time.nanoseconds))
    }
    return bytes + CacheIdentity.bytes(identity.sum(bytes)) + [0, 0, 0, 0]
  }
}
