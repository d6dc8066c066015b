public import Basics
import Glibc
public import SystemPackage

/// The number under which the kernel knows a file (FUSE: nodeid). Never used twice within a mount; the root is 1.
public struct InodeID: Hashable, Sendable, CustomStringConvertible {
  /// The number.
  public let value: UInt64
  /// Wraps a number.
  public init(_ value: UInt64) { self.value = value }
  /// The root directory.
  public static let root = InodeID(1)
  /// The number.
  public var description: String { "\(value)" }
}

/// An open file or directory.
public struct HandleID: Hashable, Sendable {
  /// The number.
  public let value: UInt64
  /// Wraps a number.
  public init(_ value: UInt64) { self.value = value }
}

/// One component of a path: 1 to 255 bytes, no `/`, no NUL, valid UTF-8. Compared byte by byte.
public struct FileName: ByteName {
  /// The name as text.
  public let string: String
  /// Wraps a name that the kernel or a listing gave; nothing is checked.
  public init(_ string: String) { self.string = string }
}

/// Who calls, and whether they still wait.
public struct CallContext: Sendable {
  /// User id of the caller.
  public var uid: UInt32
  /// Group id of the caller.
  public var gid: UInt32
  /// Fires when the kernel interrupts the call.
  public var cancellation: Cancellation?
  /// Whether this process asks itself, to see whether it answers: that is to be answered from memory.
  public var isOwn = false
  /// Whether this is the kernel, which writes pages of a mapping back, and no program that calls write(2).
  public var isWriteback = false

  /// Makes a context.
  public init(uid: UInt32, gid: UInt32, cancellation: Cancellation? = nil) {
    self.uid = uid
    self.gid = gid
    self.cancellation = cancellation
  }
}

/// What `stat` shows.
public struct FileAttributes: Hashable, Sendable {
  /// The number `stat` shows (st_ino): stable across mounts, unlike `InodeID`.
  public var fileNumber: UInt64
  /// Type and permission bits (st_mode).
  public var mode: UInt32
  /// Link count: 1, or 2 for a directory.
  public var links: UInt32
  /// Owner.
  public var uid: UInt32
  /// Group.
  public var gid: UInt32
  /// Length in bytes.
  public var size: UInt64
  /// Last access, as far as it is kept.
  public var accessed: Timestamp
  /// Last change of the contents.
  public var modified: Timestamp
  /// Last change of contents or attributes.
  public var changed: Timestamp

  /// Makes attributes.
  public init(
    fileNumber: UInt64, mode: UInt32, links: UInt32, uid: UInt32, gid: UInt32, size: UInt64, accessed: Timestamp,
    modified: Timestamp, changed: Timestamp
  ) {
    self.fileNumber = fileNumber
    self.mode = mode
    self.links = links
    self.uid = uid
    self.gid = gid
    self.size = size
    self.accessed = accessed
    self.modified = modified
    self.changed = changed
  }
}

/// Attributes and for how long the kernel may believe them.
public struct AttributeReply: Hashable, Sendable {
  /// The attributes.
  public var attributes: FileAttributes
  /// Seconds the kernel may answer `stat` by itself.
  public var lifetime: Double

  /// Makes a reply.
  public init(attributes: FileAttributes, lifetime: Double) {
    self.attributes = attributes
    self.lifetime = lifetime
  }
}

/// The answer to a lookup. Each one counts: the kernel gives the count back with `forget`.
public struct EntryReply: Hashable, Sendable {
  /// The file; nil for "there is none", to be remembered for `lifetime`.
  public var inode: InodeID?
  /// Distinguishes two uses of the same inode number, for NFS.
  public var generation: UInt64
  /// Its attributes; meaningless for a negative entry.
  public var attributes: FileAttributes
  /// Seconds the kernel may resolve the name and answer `stat` by itself.
  public var lifetime: Double

  /// Makes a reply.
  public init(inode: InodeID?, generation: UInt64, attributes: FileAttributes, lifetime: Double) {
    self.inode = inode
    self.generation = generation
    self.attributes = attributes
    self.lifetime = lifetime
  }
}

/// The answer to an open.
public struct OpenReply: Hashable, Sendable {
  /// The handle.
  public var handle: HandleID
  /// Whether pages the kernel has from an earlier open are still right (FOPEN_KEEP_CACHE).
  public var keepCache: Bool
  /// Whether the page cache is passed by (FOPEN_DIRECT_IO).
  public var directIO: Bool
  /// The file that the kernel reads by itself instead of asking (FOPEN_PASSTHROUGH); the other two count for nothing then.
  public var backing: BackingID?

  /// Makes a reply.
  public init(handle: HandleID, keepCache: Bool, directIO: Bool = false, backing: BackingID? = nil) {
    self.handle = handle
    self.keepCache = keepCache
    self.directIO = directIO
    self.backing = backing
  }
}

/// What `setattr` is to change; nil leaves it.
public struct AttributeChanges: Hashable, Sendable {
  /// A time to set.
  public enum Time: Hashable, Sendable {
    /// The time of the call.
    case now
    /// A given time.
    case at(Timestamp)
  }
  /// New length.
  public var size: UInt64?
  /// New permission bits.
  public var mode: UInt32?
  /// New owner.
  public var uid: UInt32?
  /// New group.
  public var gid: UInt32?
  /// New access time.
  public var accessed: Time?
  /// New modification time.
  public var modified: Time?

  /// Changes nothing.
  public init() {}
}

/// One name in a directory.
public struct DirectoryEntry: Hashable, Sendable {
  /// Its name.
  public var name: FileName
  /// Where to go on after it; opaque, greater than 0.
  public var nextOffset: UInt64
  /// The number `stat` shows.
  public var fileNumber: UInt64
  /// Type bits of st_mode.
  public var type: UInt32
  /// For readdirplus: the entry as a lookup would answer it, without the count.
  public var entry: EntryReply?

  /// Makes an entry.
  public init(name: FileName, nextOffset: UInt64, fileNumber: UInt64, type: UInt32, entry: EntryReply? = nil) {
    self.name = name
    self.nextOffset = nextOffset
    self.fileNumber = fileNumber
    self.type = type
    self.entry = entry
  }
}

/// What `statfs` shows.
public struct FilesystemStatistics: Hashable, Sendable {
  /// Bytes in a block.
  public var blockSize: UInt64
  /// Blocks in all, and free.
  public var blocks: UInt64
  /// Blocks that are free.
  public var freeBlocks: UInt64
  /// Files in all.
  public var files: UInt64
  /// Files that can still be made.
  public var freeFiles: UInt64

  /// Makes statistics.
  public init(blockSize: UInt64, blocks: UInt64, freeBlocks: UInt64, files: UInt64, freeFiles: UInt64) {
    self.blockSize = blockSize
    self.blocks = blocks
    self.freeBlocks = freeBlocks
    self.files = files
    self.freeFiles = freeFiles
  }
}

/// How `rename` treats an existing target (renameat2(2)).
public enum RenameMode: Hashable, Sendable {
  /// An existing target is replaced.
  case replace
  /// An existing target is EEXIST.
  case noReplace
}

/// How a file is opened.
public struct OpenMode: Hashable, Sendable {
  /// Whether reads are allowed.
  public var reads: Bool
  /// Whether writes are allowed.
  public var writes: Bool
  /// Whether the file is cut to nothing.
  public var truncates: Bool
  /// Whether every write goes to the end.
  public var appends: Bool
  /// Whether an existing file is an error (create only).
  public var exclusive: Bool

  /// Makes a mode.
  public init(reads: Bool, writes: Bool, truncates: Bool = false, appends: Bool = false, exclusive: Bool = false) {
    self.reads = reads
    self.writes = writes
    self.truncates = truncates
    self.appends = appends
    self.exclusive = exclusive
  }

  /// Whether the file may be another one when it is closed: one that is opened only to be read may be cut, too.
  var changes: Bool { writes || truncates }
}

/// The buffers of a finished read, in order; they are valid only until the completion returns.
public struct ReadBuffers: @unchecked Sendable {
  // Sendable: it only travels to the completion that is being called, which keeps nothing of it.
  /// The memory.
  public let buffers: [UnsafeRawBufferPointer]
  /// Wraps memory.
  public init(_ buffers: [UnsafeRawBufferPointer]) { self.buffers = buffers }
}

/// The kernel's view of a filesystem: one method for each request, as `FuseSession` delivers them.
///
/// All methods may be called from any thread at the same time. Those that throw may block their caller; `read` answers
/// by its completion, from any thread, exactly once, at once when the bytes are at hand. Errors are the errno the
/// caller of the system call sees; what led to them was logged before they are thrown.
public protocol FileOperations: Sendable {
  /// Finds a name; the lookup count of the inode grows by one.
  func lookup(_ parent: InodeID, _ name: FileName, _ context: CallContext) throws(Errno) -> EntryReply
  /// Gives back `count` lookups.
  func forget(_ inode: InodeID, count: UInt64)
  /// stat(2); `handle` where the caller has the file open.
  func getAttributes(_ inode: InodeID, _ handle: HandleID?, _ context: CallContext) throws(Errno) -> AttributeReply
  /// chmod(2), chown(2), truncate(2), utimensat(2).
  func setAttributes(
    _ inode: InodeID, _ changes: AttributeChanges, _ handle: HandleID?, _ context: CallContext
  ) throws(Errno) -> AttributeReply
  /// readlink(2).
  func readLink(_ inode: InodeID, _ context: CallContext) throws(Errno) -> String
  /// symlink(2).
  func makeLink(
    _ parent: InodeID, _ name: FileName, target: String, _ context: CallContext
  ) throws(Errno) -> EntryReply
  /// mkdir(2).
  func makeDirectory(
    _ parent: InodeID, _ name: FileName, mode: UInt32, _ context: CallContext
  ) throws(Errno) -> EntryReply
  /// mknod(2); only regular files can be made.
  func makeNode(
    _ parent: InodeID, _ name: FileName, mode: UInt32, _ context: CallContext
  ) throws(Errno) -> EntryReply
  /// unlink(2).
  func unlink(_ parent: InodeID, _ name: FileName, _ context: CallContext) throws(Errno)
  /// rmdir(2).
  func removeDirectory(_ parent: InodeID, _ name: FileName, _ context: CallContext) throws(Errno)
  /// rename(2).
  func rename(
    _ parent: InodeID, _ name: FileName, to newParent: InodeID, _ newName: FileName, _ mode: RenameMode,
    _ context: CallContext
  ) throws(Errno)
  /// open(2) of a regular file that exists.
  func open(_ inode: InodeID, _ mode: OpenMode, _ context: CallContext) throws(Errno) -> OpenReply
  /// open(2) with O_CREAT of a name that was not there. The lookup count grows by one.
  func create(
    _ parent: InodeID, _ name: FileName, permissions: UInt32, _ mode: OpenMode, _ context: CallContext
  ) throws(Errno) -> (entry: EntryReply, open: OpenReply)
  /// read(2): up to `count` bytes from `offset`, fewer only at the end of the file.
  func read(
    _ handle: HandleID, offset: UInt64, count: Int, _ context: CallContext,
    _ completion: @escaping Completion<ReadBuffers, Errno>)
  /// write(2): all of `bytes`, or an error.
  func write(
    _ handle: HandleID, offset: UInt64, _ bytes: UnsafeRawBufferPointer, _ context: CallContext
  ) throws(Errno)
  /// close(2) of one descriptor: in write mode `close` the object is in the bucket when this returns.
  func flush(_ handle: HandleID, _ context: CallContext) throws(Errno)
  /// fsync(2).
  func sync(_ handle: HandleID, _ context: CallContext) throws(Errno)
  /// The last descriptor of an open is gone.
  func release(_ handle: HandleID)
  /// opendir(3).
  func openDirectory(_ inode: InodeID, _ context: CallContext) throws(Errno) -> HandleID
  /// readdir(3): calls `add` with entries after `offset` (0: from the start) until it returns false (no more room; that
  /// entry was not taken) or the directory ends. With `plus`, entries carry attributes, and each one taken, other than
  /// `.` and `..`, counts as a lookup.
  func readDirectory(
    _ handle: HandleID, offset: UInt64, plus: Bool, _ context: CallContext, add: (DirectoryEntry) -> Bool
  ) throws(Errno)
  /// fsync(2) of a directory.
  func syncDirectory(_ handle: HandleID, _ context: CallContext) throws(Errno)
  /// closedir(3).
  func releaseDirectory(_ handle: HandleID)
  /// statfs(2), of what the inode belongs to.
  func statistics(_ inode: InodeID, _ context: CallContext) throws(Errno) -> FilesystemStatistics
  /// Brings a range of a file into the disk cache, and blocks until it is there; EOPNOTSUPP without a disk cache.
  /// - Returns: how many bytes of the range are there now, in units of 64 KiB.
  func warm(_ handle: HandleID, offset: UInt64, length: UInt64, _ context: CallContext) throws(Errno) -> UInt64
  /// getxattr(2) of a name that begins with `user.waysfs.`; ENODATA when the file has none of that name.
  func extendedAttribute(_ inode: InodeID, _ name: String, _ context: CallContext) throws(Errno) -> String
  /// listxattr(2); ENOSYS, as without an implementation, makes the kernel ask no more on this mount.
  func extendedAttributes(_ inode: InodeID, _ context: CallContext) throws(Errno) -> [String]
  /// access(2), where the kernel does not check permissions itself.
  func access(_ inode: InodeID, mask: UInt32, _ context: CallContext) throws(Errno)
}

extension FileOperations {
  /// There are none.
  public func extendedAttribute(
    _ inode: InodeID, _ name: String, _ context: CallContext
  ) throws(Errno) -> String { throw .notSupported }

  /// There is no disk cache.
  public func warm(
    _ handle: HandleID, offset: UInt64, length: UInt64, _ context: CallContext
  ) throws(Errno) -> UInt64 { throw .notSupported }

  /// None is listed.
  public func extendedAttributes(_ inode: InodeID, _ context: CallContext) throws(Errno) -> [String] {
    throw .noFunction
  }
}

extension FileAttributes {
  /// Permission bits against the caller, for access(2); the kernel does this itself under `default_permissions`.
  /// - Parameter isWritable: whether anything can be changed at all.
  /// - Throws: EROFS or EACCES.
  public func check(_ mask: UInt32, _ context: CallContext, isWritable: Bool) throws(Errno) {
    if mask & UInt32(W_OK) != 0, !isWritable { throw .readOnlyFileSystem }
    if context.uid == 0 {
      let isExecutable = mode & 0o111 != 0 || mode & FileType.mask == FileType.directory.rawValue
      guard mask & UInt32(X_OK) == 0 || isExecutable else { throw .permissionDenied }
      return
    }
    let shift: UInt32 = context.uid == uid ? 6 : context.gid == gid ? 3 : 0
    guard (mode >> shift) & mask & 0o7 == mask & 0o7 else { throw .permissionDenied }
  }
}

/// How the filesystem tells the kernel that what it remembers is out of date. Never called with a lock held. Thread-safe.
public protocol KernelCache: Sendable {
  /// Forget the pages and attributes of a file; some time after this returned.
  func invalidate(_ inode: InodeID)
  /// Forget the attributes of a file, before this returns: also in the middle of a request for it, whose caller then
  /// finds it done.
  func invalidateAttributes(_ inode: InodeID)
  /// Forget that `name` in `parent` leads somewhere.
  func invalidate(_ name: FileName, in parent: InodeID)
}
