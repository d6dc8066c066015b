import Basics
public import Filesystem
import Logging
public import SystemPackage

/// Making, removing and renaming: at the root buckets, below it what the bucket does.
extension AccountTree {
  /// mkdir(2).
  public func makeDirectory(
    _ parent: InodeID, _ name: FileName, mode: UInt32, _ context: CallContext
  ) throws(Errno) -> EntryReply {
    if let (branch, inode) = try branch(of: parent.value) {
      let operations = try branch.operations(context)
      return try branch.entry(try operations.makeDirectory(InodeID(inode), name, mode: mode, context))
    }
    try requireChanges()
    if let problem = BucketName.problem(with: name.string) { throw problem }
    // An answer of this moment: not every server minds that it makes a bucket which is there already.
    list.expire()
    guard try list.current(.all, context.cancellation).bucket(name) == nil else { throw .fileExists }
    let bucket = try changing { () throws(Errno) in try directory.make(name.string, context.cancellation) }
    list.made(bucket)
    noteChanged()
    log.notice("made a bucket", metadata: ["bucket": "\(name)"])
    return try entry(bucket, lifetime: list.view.lifetime)
  }

  /// rmdir(2).
  public func removeDirectory(_ parent: InodeID, _ name: FileName, _ context: CallContext) throws(Errno) {
    if let (branch, inode) = try branch(of: parent.value) {
      return try branch.operations(context).removeDirectory(InodeID(inode), name, context)
    }
    try requireChanges()
    guard try list.current(.all, context.cancellation).bucket(name) != nil else { throw .noSuchFileOrDirectory }
    try branch(name).bucket(context.cancellation).prepareRemoval(context.cancellation)
    try changing { () throws(Errno) in try directory.remove(name.string, context.cancellation) }
    list.removed(name)
    removed(name)
    noteChanged()
    log.notice("removed a bucket", metadata: ["bucket": "\(name)"])
  }

  /// After an attempt that failed nobody knows what there is.
  private func changing<Value>(_ body: () throws(Errno) -> Value) throws(Errno) -> Value {
    do throws(Errno) {
      return try body()
    } catch {
      list.expire()
      throw error
    }
  }

  private func requireChanges() throws(Errno) {
    guard !configuration.readOnly else { throw .readOnlyFileSystem }
    guard configuration.allowsBucketChanges else { throw .notPermitted }
  }

  /// rename(2): within one bucket only.
  public func rename(
    _ parent: InodeID, _ name: FileName, to newParent: InodeID, _ newName: FileName, _ mode: RenameMode,
    _ context: CallContext
  ) throws(Errno) {
    // A bucket's name is for good, and nothing but buckets is at the root.
    guard let (branch, inode) = try branch(of: parent.value),
      let (newBranch, newInode) = try self.branch(of: newParent.value)
    else { throw .notPermitted }
    guard branch === newBranch else { throw .improperLink }
    try branch.operations(context).rename(
      InodeID(inode), name, to: InodeID(newInode), newName, mode, context)
  }
}
