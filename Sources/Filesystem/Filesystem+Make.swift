import Basics
import Logging
import ObjectStore
public import SystemPackage

/// mkdir, symlink and mknod.
extension Filesystem {
  /// Longest target of a symbolic link, in bytes (PATH_MAX less the NUL).
  private static let longestTarget = 4095

  /// mkdir(2): a `name/` marker, so that an empty directory lasts.
  public func makeDirectory(
    _ parent: InodeID, _ name: FileName, mode: UInt32, _ context: CallContext
  ) throws(Errno) -> EntryReply {
    try claiming(name, in: parent, context) { path throws(Errno) in
      try requireFree(path, name, in: parent, context)
      let posix = newAttributes(mode: mode, .directory, context)
      do throws(ObjectStoreError) {
        try ensureMarked(parent, context.cancellation)
        try putMarker(
          path, posix, isMarked: marksNewDirectories, condition: .ifAbsent, context.cancellation)
      } catch {
        if error.code == .preconditionFailed { throw .fileExists }
        throw log.report("mkdir", error)
      }
      return try inserted(tree.insert(name, in: parent, type: .directory, posix: posix))
    }
  }

  /// symlink(2): an object whose body is the target, marked by its mode (s3fs's form).
  public func makeLink(
    _ parent: InodeID, _ name: FileName, target: String, _ context: CallContext
  ) throws(Errno) -> EntryReply {
    guard configuration.attributes != .never else { throw .notSupported }
    guard !target.isEmpty, target.utf8.count <= Self.longestTarget else { throw .fileNameTooLong }
    return try claiming(name, in: parent, context) { path throws(Errno) in
      try requireFree(path, name, in: parent, context)
      let posix = newAttributes(mode: 0o777, .link, context)
      let body = Array(target.utf8)
      let version: FileVersion
      do throws(ObjectStoreError) {
        let request = PutRequest(
          key(path), body: .bytes(body),
          attributes: ObjectAttributes(userMetadata: posix.userMetadata(type: .link)), condition: .ifAbsent)
        try ensureMarked(parent, context.cancellation)
        try conditions.admit(request.key, .ifAbsent, completesUpload: false, context.cancellation)
        let result = try store.put(request, context.cancellation)
        version = FileVersion(
          etag: result.etag, size: UInt64(body.count), lastModified: configuration.time.wall)
      } catch {
        if error.code == .preconditionFailed { throw .fileExists }
        throw log.report("symlink", error)
      }
      return try inserted(
        tree.insert(name, in: parent, type: .link, posix: posix, version: version, target: target))
    }
  }

  /// mknod(2) of a regular file: it is in the bucket when this returns, since nobody will close it.
  public func makeNode(
    _ parent: InodeID, _ name: FileName, mode: UInt32, _ context: CallContext
  ) throws(Errno) -> EntryReply {
    guard mode & FileType.mask == FileType.file.rawValue || mode & FileType.mask == 0 else {
      throw .notPermitted
    }
    let (entry, content) = try insertExclusively(parent, name, permissions: mode, context)
    // It is not open: nothing of it needs to stay here.
    if let inode = entry.inode { tree.dropContent(inode, content).map(discard) }
    return entry
  }

  /// EEXIST for a name that is taken. What the kernel believes may be as old as the metadata lifetime, so the bucket is
  /// asked once more; where a directory of that name was just found not to be there, only for the object.
  func requireFree(
    _ path: String, _ name: FileName, in parent: InodeID, _ context: CallContext
  ) throws(Errno) {
    if let known = tree.view(name, in: parent), known.isLocal { throw .fileExists }
    let start = tree.now
    let isAbsent = tree.knowsAbsent(name, in: parent)
    let remote = try remoteEntry(path, hint: isAbsent ? .object : nil, context.cancellation)
    guard let remote else { return }
    _ = tree.merge(name, in: parent, remote, askedAt: start, counts: false)
    throw .fileExists
  }

  private func newAttributes(mode: UInt32, _ type: FileType, _ context: CallContext) -> PosixAttributes {
    let now = configuration.time.wall
    var posix = PosixAttributes()
    posix.type = type
    guard configuration.attributes != .never else { return posix }
    posix.permissions = mode & 0o7777
    posix.uid = context.uid
    posix.gid = context.gid
    posix.modified = now
    posix.changed = now
    return posix
  }

  private func inserted(_ entry: EntryReply?) throws(Errno) -> EntryReply {
    guard let entry else { throw .noSuchFileOrDirectory }
    return entry
  }
}
