import Basics
import Logging
import ObjectStore
public import SystemPackage

/// Reading directories.
extension Filesystem {
  var directorySource: DirectorySource {
    DirectorySource(
      store: store, prefix: configuration.prefix, parallelRequests: configuration.parallelRequests,
      unshowable: { self.noticeUnshowable($0) }, hidden: { self.noticeHidden($0) })
  }

  /// opendir(3).
  public func openDirectory(_ inode: InodeID, _ context: CallContext) throws(Errno) -> HandleID {
    let (view, path) = try existing(inode)
    guard view.type == .directory else { throw .notDirectory }
    return handles.add(DirectoryStream(inode: inode, path: path, startedAt: tree.now))
  }

  /// closedir(3).
  public func releaseDirectory(_ handle: HandleID) { handles.removeDirectory(handle) }

  /// fsync(2) of a directory: everything below it that was closed or synced is in the bucket, or the first error.
  public func syncDirectory(_ handle: HandleID, _ context: CallContext) throws(Errno) {
    guard let stream = handles.directory(handle) else { throw .badFileDescriptor }
    let waiting = tree.descendants(of: stream.inode).filter { $0.content?.awaitsUpload ?? false }
    let ofBefore = tree.view(stream.inode)?.path.map(left) ?? []
    guard let error = sendNow(ofBefore).first?.error ?? uploadAll(waiting).first?.error else { return }
    throw error
  }

  /// readdir(3). Offsets: 1 after `.`, 2 after `..`, then one more for each name.
  public func readDirectory(
    _ handle: HandleID, offset: UInt64, plus: Bool, _ context: CallContext, add: (DirectoryEntry) -> Bool
  ) throws(Errno) {
    guard let stream = handles.directory(handle) else { throw .badFileDescriptor }
    if offset == 0 { stream.rewind(at: tree.now) }
    var position = offset
    while position < 2 {
      let name = FileName(position == 0 ? "." : "..")
      let number = tree.view(stream.inode)?.attributes.fileNumber ?? 1
      let entry = DirectoryEntry(
        name: name, nextOffset: position + 1, fileNumber: number, type: FileType.directory.rawValue)
      guard add(entry) else { return }
      position += 1
    }
    do throws(ObjectStoreError) {
      try addNames(stream, from: position, plus: plus, add)
    } catch {
      throw log.report("readdir", error)
    }
  }

  private func addNames(
    _ stream: DirectoryStream, from offset: UInt64, plus: Bool, _ add: (DirectoryEntry) -> Bool
  ) throws(ObjectStoreError) {
    let source = directorySource
    var position = Int(clamping: offset) - 2
    while let name = try stream.name(at: position, source) {
      position += 1
      if tree.wasRemoved(name.name, from: stream.inode, since: stream.startedAt) { continue }
      guard offer(name, stream, position, plus: plus, add) else { return }
    }
    if let names = stream.complete { remember(names, stream) }
    try addLocalNames(stream, beyond: position, plus: plus, add)
  }

  /// Keeps the whole listing, for lookups to be answered from.
  private func remember(_ names: [StreamedName], _ stream: DirectoryStream) {
    guard stream.claimRemembering() else { return }
    let entries = Dictionary(names.map { ($0.name, $0.remote) }, uniquingKeysWith: { $0.isDirectory ? $0 : $1 })
    tree.store(entries, for: stream.inode, askedAt: stream.startedAt)
  }

  /// Files that are being written and have no object yet come last.
  private func addLocalNames(
    _ stream: DirectoryStream, beyond position: Int, plus: Bool, _ add: (DirectoryEntry) -> Bool
  ) throws(ObjectStoreError) {
    let listed = (stream.complete ?? []).count
    let local = stream.localNames { tree.localNames(in: stream.inode, since: stream.startedAt) }
    for (index, name) in local.enumerated().dropFirst(max(0, position - listed)) {
      guard let view = tree.view(name, in: stream.inode) else { continue }
      let next = UInt64(listed + index + 3)
      guard offer(view, next, plus: plus, add) else { return }
    }
  }

  /// Hands one listed name to the kernel; false when there is no more room.
  private func offer(
    _ name: StreamedName, _ stream: DirectoryStream, _ position: Int, plus: Bool, _ add: (DirectoryEntry) -> Bool
  ) -> Bool {
    let next = UInt64(position + 2)
    if let view = tree.view(name.name, in: stream.inode), !plus || view.isFresh || view.isLocal {
      return offer(view, next, plus: plus, add)
    }
    var entry = DirectoryEntry(
      name: name.name, nextOffset: next,
      fileNumber: NameRules.fileNumber(ofPath: NameRules.path(name.name, in: stream.path)), type: type(of: name))
    guard plus else { return add(entry) }
    if tree.confirm(name, in: stream.inode, askedAt: stream.startedAt) {
      if let view = tree.view(name.name, in: stream.inode) { return offer(view, next, plus: true, add) }
    }
    let (askedAt, answer) = stream.metadata(at: position - 1, directorySource, now: tree.now) {
      self.tree.asks($0, in: stream.inode)
    }
    guard case .success(let metadata) = answer else {
      // The name is listed; who wants its attributes asks for it alone and gets the error.
      return add(entry)
    }
    let remote: RemoteEntry? = name.remote.isDirectory ? .directory(marker: metadata) : metadata.map { .file($0) }
    guard let merged = tree.merge(name.name, in: stream.inode, remote, askedAt: askedAt) else {
      return add(entry)
    }
    guard let inode = merged.inode else { return true }
    entry.entry = merged
    entry.fileNumber = merged.attributes.fileNumber
    entry.type = merged.attributes.mode & FileType.mask
    if add(entry) { return true }
    tree.forget(inode, count: 1)
    return false
  }

  private func offer(_ view: NodeView, _ next: UInt64, plus: Bool, _ add: (DirectoryEntry) -> Bool) -> Bool {
    var entry = DirectoryEntry(
      name: view.name, nextOffset: next, fileNumber: view.attributes.fileNumber, type: view.type.rawValue)
    guard plus, let counted = tree.count(view.id) else { return add(entry) }
    entry.entry = counted
    if add(entry) { return true }
    tree.forget(view.id, count: 1)
    return false
  }

  /// A small object may be a symbolic link, whose target is its body: only its metadata tells.
  private func type(of name: StreamedName) -> UInt32 {
    let longestTarget: UInt64 = 4095
    switch name.remote {
    case .directory, .listedDirectory: return FileType.directory.rawValue
    case .listedFile(let entry): return entry.size > longestTarget ? FileType.file.rawValue : 0
    case .file: return 0
    }
  }
}
