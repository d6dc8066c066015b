import Basics
public import Filesystem
public import SystemPackage

/// What is below a bucket: each call goes to the bucket, with its own numbers, and what it answers gets the mount's. At
/// the root there are no files.
extension AccountTree {
  /// Where a call about an inode below a bucket goes.
  /// - Throws: EPERM for the root.
  private func below(
    _ inode: InodeID, _ context: CallContext
  ) throws(Errno) -> (Branch, any FileOperations, InodeID) {
    guard let (branch, inBucket) = try branch(of: inode.value) else { throw .notPermitted }
    return (branch, try branch.operations(context), InodeID(inBucket))
  }

  /// Where a call about a file goes that is open.
  private func below(_ handle: HandleID) throws(Errno) -> (any FileOperations, HandleID) {
    guard let (branch, inBucket) = try branch(of: handle.value), let bucket = branch.ifOpen else {
      throw .badFileDescriptor
    }
    return (bucket.operations, HandleID(inBucket))
  }

  /// readlink(2).
  public func readLink(_ inode: InodeID, _ context: CallContext) throws(Errno) -> String {
    let (_, operations, inode) = try below(inode, context)
    return try operations.readLink(inode, context)
  }

  /// symlink(2).
  public func makeLink(
    _ parent: InodeID, _ name: FileName, target: String, _ context: CallContext
  ) throws(Errno) -> EntryReply {
    let (branch, operations, parent) = try below(parent, context)
    return try branch.entry(try operations.makeLink(parent, name, target: target, context))
  }

  /// mknod(2).
  public func makeNode(
    _ parent: InodeID, _ name: FileName, mode: UInt32, _ context: CallContext
  ) throws(Errno) -> EntryReply {
    let (branch, operations, parent) = try below(parent, context)
    return try branch.entry(try operations.makeNode(parent, name, mode: mode, context))
  }

  /// unlink(2).
  public func unlink(_ parent: InodeID, _ name: FileName, _ context: CallContext) throws(Errno) {
    let (_, operations, parent) = try below(parent, context)
    try operations.unlink(parent, name, context)
  }

  /// open(2) of a regular file that exists.
  public func open(_ inode: InodeID, _ mode: OpenMode, _ context: CallContext) throws(Errno) -> OpenReply {
    let (branch, operations, inode) = try below(inode, context)
    return try branch.open(try operations.open(inode, mode, context))
  }

  /// open(2) with O_CREAT of a name that was not there.
  public func create(
    _ parent: InodeID, _ name: FileName, permissions: UInt32, _ mode: OpenMode, _ context: CallContext
  ) throws(Errno) -> (entry: EntryReply, open: OpenReply) {
    let (branch, operations, parent) = try below(parent, context)
    let made = try operations.create(parent, name, permissions: permissions, mode, context)
    return (try branch.entry(made.entry), try branch.open(made.open))
  }

  /// read(2).
  public func read(
    _ handle: HandleID, offset: UInt64, count: Int, _ context: CallContext,
    _ completion: @escaping Completion<ReadBuffers, Errno>
  ) {
    do throws(Errno) {
      let (operations, handle) = try below(handle)
      operations.read(handle, offset: offset, count: count, context, completion)
    } catch {
      completion(.failure(error))
    }
  }

  /// write(2).
  public func write(
    _ handle: HandleID, offset: UInt64, _ bytes: UnsafeRawBufferPointer, _ context: CallContext
  ) throws(Errno) {
    let (operations, handle) = try below(handle)
    try operations.write(handle, offset: offset, bytes, context)
  }

  /// close(2) of one descriptor.
  public func flush(_ handle: HandleID, _ context: CallContext) throws(Errno) {
    let (operations, handle) = try below(handle)
    try operations.flush(handle, context)
  }

  /// fsync(2).
  public func sync(_ handle: HandleID, _ context: CallContext) throws(Errno) {
    let (operations, handle) = try below(handle)
    try operations.sync(handle, context)
  }

  /// The last descriptor of an open is gone.
  public func release(_ handle: HandleID) {
    guard let (operations, handle) = try? below(handle) else { return }
    operations.release(handle)
  }

  /// Brings a range of a file into the disk cache.
  public func warm(
    _ handle: HandleID, offset: UInt64, length: UInt64, _ context: CallContext
  ) throws(Errno) -> UInt64 {
    let (operations, handle) = try below(handle)
    return try operations.warm(handle, offset: offset, length: length, context)
  }

  func readDirectory(
    _ branch: Branch, _ handle: HandleID, offset: UInt64, plus: Bool, _ context: CallContext,
    add: (DirectoryEntry) -> Bool
  ) throws(Errno) {
    var failure: Errno?
    try branch.operations(context).readDirectory(handle, offset: offset, plus: plus, context) { entry in
      var entry = entry
      entry.fileNumber = branch.numbers.shown(entry.fileNumber)
      do throws(Errno) {
        entry.entry = try entry.entry.map { found throws(Errno) in try branch.entry(found) }
      } catch {
        failure = error
        return false
      }
      return add(entry)
    }
    if let failure { throw failure }
  }
}
