import Basics
public import Filesystem
import Logging
import Synchronization
public import SystemPackage

/// The root, and the directories that stand for buckets: names, attributes, numbers.
extension AccountTree {
  private static let directoryType: UInt32 = 0o040000

  /// Finds a name.
  public func lookup(_ parent: InodeID, _ name: FileName, _ context: CallContext) throws(Errno) -> EntryReply {
    if let (branch, inode) = try branch(of: parent.value) {
      return try branch.entry(try branch.operations(context).lookup(InodeID(inode), name, context))
    }
    guard BucketName.canBeListed(name.string) else { return absent(lifetime: configuration.metadataLifetime) }
    let view = list.current(.bucket(name), context.cancellation)
    guard let bucket = try view.bucket(name) else { return absent(lifetime: view.lifetime) }
    return try entry(bucket, lifetime: view.lifetime)
  }

  /// Gives back lookups.
  public func forget(_ inode: InodeID, count: UInt64) {
    // Nothing counts those of the directories that stand for buckets.
    guard let (branch, inBucket) = try? branch(of: inode.value), inBucket != InodeID.root.value else { return }
    branch.ifOpen?.operations.forget(InodeID(inBucket), count: count)
  }

  /// stat(2).
  public func getAttributes(
    _ inode: InodeID, _ handle: HandleID?, _ context: CallContext
  ) throws(Errno) -> AttributeReply {
    guard let (branch, inBucket) = try branch(of: inode.value) else {
      return AttributeReply(attributes: rootAttributes, lifetime: configuration.metadataLifetime)
    }
    guard inBucket == InodeID.root.value else {
      let operations = try branch.operations(context)
      return branch.attributes(try operations.getAttributes(InodeID(inBucket), try own(handle, branch), context))
    }
    let view = list.current(.bucket(branch.name), context.cancellation)
    // The kernel looks the name up again.
    guard !branch.isRemoved, let bucket = try view.bucket(branch.name) else { throw .staleNFSFileHandle }
    return AttributeReply(attributes: attributes(bucket, branch), lifetime: view.lifetime)
  }

  /// chmod(2), chown(2), truncate(2), utimensat(2).
  public func setAttributes(
    _ inode: InodeID, _ changes: AttributeChanges, _ handle: HandleID?, _ context: CallContext
  ) throws(Errno) -> AttributeReply {
    guard let (branch, inBucket) = try branch(of: inode.value) else { throw .notPermitted }
    let operations = try branch.operations(context)
    let reply = try operations.setAttributes(InodeID(inBucket), changes, try own(handle, branch), context)
    guard inBucket == InodeID.root.value else { return branch.attributes(reply) }
    return try getAttributes(inode, nil, context)
  }

  /// What the mount holds, or the bucket that is asked about.
  public func statistics(_ inode: InodeID, _ context: CallContext) throws(Errno) -> FilesystemStatistics {
    let view = context.isOwn ? list.view : list.current(.roughly, context.cancellation)
    guard let (branch, _) = try branch(of: inode.value) else {
      return view.buckets.values.reduce(Usage()) { $0 + $1.usage }.statistics
    }
    return (view.buckets[branch.name]?.usage ?? Usage()).statistics
  }

  /// access(2).
  public func access(_ inode: InodeID, mask: UInt32, _ context: CallContext) throws(Errno) {
    if let (branch, inBucket) = try branch(of: inode.value) {
      return try branch.operations(context).access(InodeID(inBucket), mask: mask, context)
    }
    let mayWrite = configuration.allowsBucketChanges && !configuration.readOnly
    try rootAttributes.check(mask, context, isWritable: mayWrite)
  }

  // MARK: Extended attributes

  /// getxattr(2).
  public func extendedAttribute(
    _ inode: InodeID, _ name: String, _ context: CallContext
  ) throws(Errno) -> String {
    if let (branch, inBucket) = try branch(of: inode.value), inBucket != InodeID.root.value {
      return try branch.operations(context).extendedAttribute(InodeID(inBucket), name, context)
    }
    guard let attribute = try shownAttributes(inode, context).first(where: { $0.name == name }) else { throw .noData }
    return attribute.value
  }

  /// listxattr(2): of the directories that stand for buckets. Never ENOSYS, which the kernel would believe of the whole
  /// mount.
  public func extendedAttributes(_ inode: InodeID, _ context: CallContext) throws(Errno) -> [String] {
    try shownAttributes(inode, context).map(\.name)
  }

  private func shownAttributes(
    _ inode: InodeID, _ context: CallContext
  ) throws(Errno) -> [(name: String, value: String)] {
    guard let (branch, inBucket) = try branch(of: inode.value), inBucket == InodeID.root.value else { return [] }
    let bucket = try list.current(.bucket(branch.name), context.cancellation).bucket(branch.name)
    return bucket.map { list.details(of: $0, context.cancellation).extendedAttributes } ?? []
  }

  // MARK: What is shown

  private var rootAttributes: FileAttributes { directoryAttributes(number: InodeID.root.value, changedAt) }

  private func attributes(_ bucket: AccountBucket, _ branch: Branch) -> FileAttributes {
    directoryAttributes(
      number: branch.numbers.shown(InodeID.root.value), bucket.created ?? Timestamp(seconds: 0))
  }

  private func directoryAttributes(number: UInt64, _ time: Timestamp) -> FileAttributes {
    FileAttributes(
      fileNumber: number, mode: Self.directoryType | configuration.directoryMode, links: 2, uid: configuration.uid,
      gid: configuration.gid, size: 0, accessed: time, modified: time, changed: time)
  }

  /// The directory that stands for a bucket.
  func entry(_ bucket: AccountBucket, lifetime: Double) throws(Errno) -> EntryReply {
    let branch = try branch(FileName(bucket.name))
    return EntryReply(
      inode: branch.slot.directory, generation: 0, attributes: attributes(bucket, branch), lifetime: lifetime)
  }

  private func absent(lifetime: Double) -> EntryReply {
    EntryReply(inode: nil, generation: 0, attributes: rootAttributes, lifetime: lifetime)
  }

  // MARK: Reading the root

  /// opendir(3).
  public func openDirectory(_ inode: InodeID, _ context: CallContext) throws(Errno) -> HandleID {
    if let (branch, inBucket) = try branch(of: inode.value) {
      return try branch.slot.handle(try branch.operations(context).openDirectory(InodeID(inBucket), context))
    }
    return streams.open(list.current(.all, context.cancellation))
  }

  /// readdir(3). Offsets in the root: 1 after `.`, 2 after `..`, then one more for each bucket.
  public func readDirectory(
    _ handle: HandleID, offset: UInt64, plus: Bool, _ context: CallContext, add: (DirectoryEntry) -> Bool
  ) throws(Errno) {
    if let (branch, inBucket) = try branch(of: handle.value) {
      return try readDirectory(branch, HandleID(inBucket), offset: offset, plus: plus, context, add: add)
    }
    if offset == 0 { streams.rewind(handle, to: list.current(.all, context.cancellation)) }
    guard let stream = streams[handle] else { throw .badFileDescriptor }
    var position = offset
    while position < 2 {
      let name = FileName(position == 0 ? "." : "..")
      let entry = DirectoryEntry(
        name: name, nextOffset: position + 1, fileNumber: InodeID.root.value, type: Self.directoryType)
      guard add(entry) else { return }
      position += 1
    }
    // As it is now: the stream may have been opened long ago, and the kernel is not to believe for longer than this
    // mount does.
    let view = list.view
    for bucket in stream.buckets.dropFirst(Int(clamping: position - 2)) {
      position += 1
      let isThere = view.buckets[FileName(bucket.name)] != nil
      // One without a place cannot be looked up either.
      guard let entry = try? entry(bucket, lifetime: isThere ? view.lifetime : 0) else { continue }
      let shown = DirectoryEntry(
        name: FileName(bucket.name), nextOffset: position, fileNumber: entry.attributes.fileNumber,
        type: Self.directoryType, entry: plus && isThere ? entry : nil)
      guard add(shown) else { return }
    }
  }

  /// fsync(2) of a directory; of the root: what was closed or synced in any bucket is there, or the first error.
  public func syncDirectory(_ handle: HandleID, _ context: CallContext) throws(Errno) {
    if let (branch, inBucket) = try branch(of: handle.value) {
      return try branch.operations(context).syncDirectory(HandleID(inBucket), context)
    }
    // Also those nobody has gone to of which an earlier mount has left something to be sent.
    let left = try unsent().map { name throws(Errno) in try branch(FileName(name)) }
    let open = known.filter { branch in branch.ifOpen != nil || left.contains { $0 === branch } }
    guard !open.isEmpty else { return }
    // Threads of its own: each waits for the network.
    let pool = WorkerPool(name: "waysfs-sync", limit: min(open.count, 64))
    defer { pool.shutdown() }
    let results: [Result<Void, Errno>] = fanOut(over: open, limit: open.count) { branch, done in
      pool.submit { done(Result { () throws(Errno) in try branch.operations(context).syncRoot(context) }) }
    }
    for result in results { try result.get() }
  }

  /// closedir(3).
  public func releaseDirectory(_ handle: HandleID) {
    guard let found = try? branch(of: handle.value) else { return streams.close(handle) }
    found.branch.ifOpen?.operations.releaseDirectory(HandleID(found.inBucket))
  }

  /// A handle as its bucket knows it.
  func own(_ handle: HandleID?, _ branch: Branch) throws(Errno) -> HandleID? {
    guard let handle else { return nil }
    let (slot, inBucket) = Slot.split(handle.value)
    guard slot == branch.slot else { throw .badFileDescriptor }
    return HandleID(inBucket)
  }
}

extension FileOperations {
  /// fsync(2) of the root directory.
  fileprivate func syncRoot(_ context: CallContext) throws(Errno) {
    let handle = try openDirectory(.root, context)
    defer { releaseDirectory(handle) }
    try syncDirectory(handle, context)
  }
}

/// The root while it is being read: what it showed at the start, so that nothing is shown twice or left out.
/// Thread-safe.
final class RootStreams: Sendable {
  struct Stream: Sendable {
    /// By name.
    var buckets: [AccountBucket]

    init(_ view: BucketList.View) {
      buckets = view.buckets.sorted { $0.key < $1.key }.map(\.value)
    }
  }

  private struct State {
    var next: UInt64 = 1
    var open: [HandleID: Stream] = [:]
  }

  private let state = Mutex(State())

  func open(_ view: BucketList.View) -> HandleID {
    let stream = Stream(view)
    return state.withLock { state in
      defer { state.next += 1 }
      state.open[HandleID(state.next)] = stream
      return HandleID(state.next)
    }
  }

  func rewind(_ handle: HandleID, to view: BucketList.View) {
    let stream = Stream(view)
    state.withLock { state in
      if state.open[handle] != nil { state.open[handle] = stream }
    }
  }

  subscript(handle: HandleID) -> Stream? { state.withLock { $0.open[handle] } }

  func close(_ handle: HandleID) { _ = state.withLock { $0.open.removeValue(forKey: handle) } }
}
