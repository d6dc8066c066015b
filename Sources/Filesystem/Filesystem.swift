public import Basics
import Glibc
public import Logging
public import ObjectStore
public import ReadPath
import Synchronization
public import SystemPackage
public import WritePath

/// A bucket, or what lies below a prefix of it, as a filesystem.
///
/// The methods of `FileOperations` are in the extensions of this type, one file a concern. Thread-safe.
///
/// Lock order, outermost first: the gates of what earlier mounts left (`LeftBook`), key claims (`locks`; both held across
/// requests), then those of `markers`, `naming` (a gate; held while a record is written, whose bytes went to the disk
/// before where it is durable), a file's `staging` gate, the gates of its `StagedFile`; then the mutexes, none of which is
/// held across I/O, a reply or a call to the kernel: the tree's, a `FileContent`'s, a `StagedFile`'s. The handle table's
/// mutex is taken alone.
public final class Filesystem: FileOperations {
  let store: any ObjectStore
  let readPath: ReadPath
  /// Where files are kept while they are written; nil for a mount that is read only.
  let journal: Journal?
  let conditions: ConditionalWrites
  let workers: FilesystemWorkers
  let staging: StagingContext
  let uploads: UploadQueue
  let leftBook = LeftBook()
  let oldNames = OldNamesBook()
  /// Shared by who writes a name into the journal; alone, who changes which file has a name.
  let naming = AccessGate()
  let configuration: FilesystemConfiguration
  let log: Logger
  let tree: Tree
  let locks = KeyLocks()
  /// Who reads and then replaces the marker of a directory; nothing else is claimed by whoever holds one.
  let markers = KeyLocks()
  let handles = HandleTable()
  let listings = ListingThreads()
  let passthrough = PassthroughTable()
  let notices = NoticeBook()
  let failures: FailureBook
  let markersKeepAttributes = LearntFact()
  private let kernel = Mutex<(any KernelCache)?>(nil)

  /// Makes a filesystem over a bucket; asks nothing of it yet.
  /// - Parameters:
  ///   - store: the bucket.
  ///   - readPath: reads of that bucket.
  ///   - journal: where files that are being written are kept; nil makes every write an error.
  ///   - conditions: keeps writers of other machines from being overwritten.
  ///   - workers: do what blocks; shut down by the caller after the last operation.
  ///   - memory: what file contents may take of this process's memory on their way to the bucket.
  ///   - schedule: calls something after a number of seconds, on a thread where it must not block.
  public init(
    store: any ObjectStore, readPath: ReadPath, journal: Journal?, conditions: ConditionalWrites,
    workers: FilesystemWorkers, memory: ByteBudget, configuration: FilesystemConfiguration, log: Logger,
    schedule: @escaping @Sendable (_ seconds: Double, _ body: @escaping @Sendable () -> Void) -> Void
  ) {
    self.store = store
    self.readPath = readPath
    self.journal = journal
    self.conditions = conditions
    // In write-back mode only the journal's size keeps a writer back.
    let partsAhead = 16
    self.workers = workers
    staging = StagingContext(
      store: store, workers: workers.parts, memory: memory,
      partsAhead: configuration.writeMode == .close ? partsAhead : nil, log: log)
    uploads = UploadQueue(workers.uploads, schedule: schedule)
    self.configuration = configuration
    self.log = log
    failures = FailureBook(log: log, schedule: schedule)
    tree = Tree(configuration: configuration)
  }

  /// Tells the filesystem how to reach the kernel's caches, once there is a session.
  public func attach(_ kernelCache: any KernelCache) {
    kernel.withLock { $0 = kernelCache }
  }

  var kernelCache: (any KernelCache)? { kernel.withLock { $0 } }

  // MARK: Paths

  /// The key of the object at a path below the root.
  func key(_ path: String) -> ObjectKey { ObjectKey(configuration.prefix + path) }

  /// The key of the marker of the directory at a path; what all keys below it start with.
  func markerKey(_ path: String) -> ObjectKey {
    path.isEmpty ? ObjectKey(configuration.prefix) : ObjectKey(configuration.prefix + path + "/")
  }

  /// Whether a name is that of the object that marks the root of the bucket.
  func isReserved(_ name: FileName, in parent: InodeID) -> Bool {
    parent == .root && configuration.prefix.isEmpty && NameRules.isRootMark(name)
  }

  /// An inode that must be there and in the tree.
  func existing(_ id: InodeID) throws(Errno) -> (view: NodeView, path: String) {
    guard let view = tree.view(id) else { throw .staleNFSFileHandle }
    guard let path = view.path else { throw .noSuchFileOrDirectory }
    return (view, path)
  }

  /// The path a new name gets, when the name and the key can be.
  func newPath(_ name: FileName, in parent: InodeID) throws(Errno) -> String {
    try requireWritable()
    let (view, directory) = try existing(parent)
    guard view.type == .directory else { throw .notDirectory }
    guard NameRules.canShow(name.string) else {
      throw name.string.utf8.count > NameRules.longestName ? .fileNameTooLong : .invalidArgument
    }
    guard !isReserved(name, in: parent) else { throw .notPermitted }
    let path = NameRules.path(name, in: directory)
    // One byte is left for the slash of a marker.
    guard configuration.prefix.utf8.count + path.utf8.count < NameRules.longestKey else { throw .fileNameTooLong }
    return path
  }

  /// Claims a name for a change, under the path it has by then: a directory above it may be renamed while this waits.
  func claiming<Value>(
    _ name: FileName, in parent: InodeID, withAllBelow: Bool = false, _ context: CallContext,
    _ body: (String) throws(Errno) -> Value
  ) throws(Errno) -> Value {
    while true {
      let path = try newPath(name, in: parent)
      let claim: KeyClaim = withAllBelow ? .tree(path) : .one(path)
      let done: Value? = try locks.withClaims([claim], context.cancellation, orThrow: .interrupted) {
        () throws(Errno) -> Value? in
        guard try newPath(name, in: parent).utf8.elementsEqual(path.utf8) else { return nil }
        return try body(path)
      }
      if let done { return done }
    }
  }

  func requireWritable() throws(Errno) {
    guard !configuration.readOnly, journal != nil else { throw .readOnlyFileSystem }
  }

  // MARK: statfs, access

  /// An object store has no size: the numbers say "a lot", so that programs that look before they write go on.
  public func statistics(_ inode: InodeID, _ context: CallContext) throws(Errno) -> FilesystemStatistics {
    let blockSize: UInt64 = 4096
    let blocks = (1 << 50) / blockSize
    return FilesystemStatistics(
      blockSize: blockSize, blocks: blocks, freeBlocks: blocks, files: 1 << 40, freeFiles: 1 << 40)
  }

  /// access(2).
  public func access(_ inode: InodeID, mask: UInt32, _ context: CallContext) throws(Errno) {
    let isWritable = !configuration.readOnly && journal != nil
    try getAttributes(inode, nil, context).attributes.check(mask, context, isWritable: isWritable)
  }

  /// Gives back lookups.
  public func forget(_ inode: InodeID, count: UInt64) { tree.forget(inode, count: count) }
}

/// Messages that are worth one line, not one for each time. Thread-safe.
final class NoticeBook: Sendable {
  private let seen = Mutex<Set<String>>([])

  /// Whether this is the first time; past a few thousand different ones everything counts as known.
  func isNew(_ notice: String) -> Bool {
    seen.withLock { $0.count < 4096 && $0.insert(notice).inserted }
  }
}

/// Something found out once. Thread-safe.
final class LearntFact: Sendable {
  private let known = Mutex(false)

  var isKnown: Bool { known.withLock { $0 } }

  func note() { known.withLock { $0 = true } }
}
