import Basics
import CFuse
import Filesystem
import Glibc
import SystemPackage

extension FileName {
  /// A name from the kernel.
  ///
  /// - Throws: ENAMETOOLONG for more than 255 bytes, EILSEQ for bytes that are not UTF-8.
  init(kernel name: UnsafePointer<CChar>) throws(Errno) {
    guard strnlen(name, 256) <= 255 else { throw .fileNameTooLong }
    self.init(try text(name))
  }

  /// Whether the kernel takes it as a name in a directory; one that it does not take would fail the whole listing.
  var isValid: Bool {
    let bytes = string.utf8
    return (1...255).contains(bytes.count) && !bytes.contains(0) && !bytes.contains(UInt8(ascii: "/"))
  }
}

/// Text from the kernel.
///
/// - Throws: EILSEQ for bytes that are not UTF-8.
func text(_ bytes: UnsafePointer<CChar>) throws(Errno) -> String {
  guard let text = String(validatingCString: bytes) else { throw .illegalByteSequence }
  return text
}

extension waysfs_attributes {
  init(_ attributes: FileAttributes) {
    self.init(
      file_number: attributes.fileNumber, mode: attributes.mode, links: attributes.links, uid: attributes.uid,
      gid: attributes.gid, size: attributes.size, accessed: attributes.accessed.seconds,
      modified: attributes.modified.seconds, changed: attributes.changed.seconds,
      accessed_nanoseconds: attributes.accessed.nanoseconds, modified_nanoseconds: attributes.modified.nanoseconds,
      changed_nanoseconds: attributes.changed.nanoseconds)
  }
}

extension waysfs_entry {
  init(_ entry: EntryReply) {
    self.init(
      inode: entry.inode?.value ?? 0, generation: entry.generation, lifetime: entry.lifetime,
      attributes: waysfs_attributes(entry.attributes))
  }
}

extension waysfs_open {
  init(_ open: OpenReply) {
    self.init(
      handle: open.handle.value, keep_cache: open.keepCache, direct_io: open.directIO,
      backing: open.backing?.value ?? 0)
  }
}

extension AttributeChanges {
  init(_ changes: waysfs_changes) {
    self.init()
    func has(_ bit: UInt32) -> Bool { changes.set & bit != 0 }
    if has(WAYSFS_SET_MODE) { mode = changes.mode & 0o7777 }
    if has(WAYSFS_SET_UID) { uid = changes.uid }
    if has(WAYSFS_SET_GID) { gid = changes.gid }
    if has(WAYSFS_SET_SIZE) { size = changes.size }
    if has(WAYSFS_SET_ACCESSED) {
      accessed = .at(Timestamp(seconds: changes.accessed, nanoseconds: changes.accessed_nanoseconds))
    }
    if has(WAYSFS_SET_MODIFIED) {
      modified = .at(Timestamp(seconds: changes.modified, nanoseconds: changes.modified_nanoseconds))
    }
    // After the values: the kernel sends both bits for utimensat(2) with UTIME_NOW.
    if has(WAYSFS_SET_ACCESSED_NOW) { accessed = .now }
    if has(WAYSFS_SET_MODIFIED_NOW) { modified = .now }
  }
}

extension OpenMode {
  /// From the flags of open(2). Access mode 3, which only ioctl(2) wants, allows neither reads nor writes.
  init(openFlags flags: Int32) {
    let access = flags & O_ACCMODE
    self.init(
      reads: access == O_RDONLY || access == O_RDWR, writes: access == O_WRONLY || access == O_RDWR,
      truncates: flags & O_TRUNC != 0, appends: flags & O_APPEND != 0, exclusive: flags & O_EXCL != 0)
  }
}

extension RenameMode {
  /// From the flags of renameat2(2).
  ///
  /// - Throws: EINVAL for an exchange and for a whiteout, as renameat2(2) says of a file system without them.
  init(renameFlags flags: UInt32) throws(Errno) {
    switch flags {
    case 0: self = .replace
    case 1: self = .noReplace
    default: throw .invalidArgument
    }
  }
}
