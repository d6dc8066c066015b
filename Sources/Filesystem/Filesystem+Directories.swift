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
    let now = tree.now
    let (view, path) = try existing(inode)
    guard view.type == .directory else { throw .notDirectory }
    noteOpened(inode)
    return handles.add(DirectoryStream(inode: inode, path: path, tree.origin(of: inode), directorySource, now: now))
  }

  /// closedir(3).
  public func releaseDirectory(_ handle: HandleID) { handles.removeDirectory(handle)?.close() }

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
    if offset == 0 {
      let now = tree.now
      let path = tree.view(stream.inode)?.path ?? stream.path
      stream.rewind(directorySource, to: path, now: now) { tree.origin(of: stream.inode) }
    }
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
      try addNames(stream, from: position, plus: plus, context.cancellation, add)
    } catch {
      throw log.report("readdir", error)
    }
  }

  private func addNames(
    _ stream: DirectoryStream, from offset: UInt64, plus: Bool, _ cancellation: Cancellation?,
    _ add: (DirectoryEntry) -> Bool
  ) throws(ObjectStoreError) {
    let source = directorySource
    var position = Int(clamping: offset) - 2
    var isMarked: Bool?
    while let name = try stream.name(at: position, source, cancellation) {
      position += 1
      let marked: Bool
      if let isMarked { marked = isMarked } else { marked = try self.isMarked(stream, cancellation) }
      isMarked = marked
      let isTaken =
        plus
        ? offerWithAttributes(name, stream, position, isMarked: marked, source, cancellation, add)
        : offer(name, stream, position, isMarked: marked, add)
      guard isTaken else { return }
    }
    if let names = stream.complete { try remember(names, stream, cancellation) }
    try addLocalNames(stream, beyond: position, plus: plus, add)
  }

  private func isMarked(
    _ stream: DirectoryStream, _ cancellation: Cancellation?
  ) throws(ObjectStoreError) -> Bool {
    let isMarked = try stream.isMarked(cancellation) { marker, askedAt in
      tree.learnMark(of: stream.inode, marker, askedAt: askedAt)
    }
    return tree.asks(whenMarked: isMarked)
  }

  /// Keeps the whole listing, for lookups to be answered from.
  /// - Throws: `cancelled`, and nothing else; the next reader does it then.
  func remember(
    _ entries: [FileName: RemoteEntry], _ stream: DirectoryStream, _ cancellation: Cancellation?
  ) throws(ObjectStoreError) {
    tree.noteRead(stream.inode)
    let isMarked = try isMarked(stream, cancellation)
    guard stream.claimRemembering() else { return }
    tree.store(entries, for: stream.inode, isMarked: isMarked, askedAt: stream.startedAt)
  }

  /// Files that are being written and have no object yet come last.
  private func addLocalNames(
    _ stream: DirectoryStream, beyond position: Int, plus: Bool, _ add: (DirectoryEntry) -> Bool
  ) throws(ObjectStoreError) {
    let listed = (stream.complete ?? [:]).count
    let local = stream.localNames { tree.localNames(in: stream.inode, since: stream.startedAt) }
    for (index, name) in local.enumerated().dropFirst(max(0, position - listed)) {
      guard let view = tree.view(name, in: stream.inode) else { continue }
      let next = UInt64(listed + index + 3)
      guard offer(view, next, plus: plus, add) else { return }
    }
  }

  /// Hands one listed name to the kernel; false when there is no more room.
  private func offer(
    _ name: StreamedName, _ stream: DirectoryStream, _ position: Int, isMarked: Bool, _ add: (DirectoryEntry) -> Bool
  ) -> Bool {
    switch tree.peek(name.name, in: stream.inode, changedSince: stream.startedAt) {
    case .removed: true
    case .known(let fileNumber, let type): add(entry(name, position, fileNumber, type))
    case .unknown: add(entry(name, position, fileNumber(name, stream), type(of: name, isMarked: isMarked)))
    }
  }

  /// The same with the attributes, which are asked for where they are not known.
  private func offerWithAttributes(
    _ name: StreamedName, _ stream: DirectoryStream, _ position: Int, isMarked: Bool, _ source: DirectorySource,
    _ cancellation: Cancellation?, _ add: (DirectoryEntry) -> Bool
  ) -> Bool {
    let started = stream.startedAt
    let until = stream.until ?? tree.expiry(from: started)
    switch tree.listed(name, in: stream.inode, isMarked: isMarked, changedSince: started, until: until) {
    case .removed: return true
    case .entry(let reply): return offer(reply, name, position, add)
    case .ask: break
    }
    let bare = entry(name, position, fileNumber(name, stream), type(of: name, isMarked: isMarked))
    let now = tree.now
    // Under the path it had when it was listed, nothing is to be found any more.
    guard tree.view(stream.inode)?.path?.utf8.elementsEqual(stream.path.utf8) ?? false else { return add(bare) }
    let (askedAt, answer) = stream.metadata(at: position - 1, source, now: now, cancellation) {
      self.tree.asks($0, in: stream.inode)
    }
    // The name is listed; when they fail, who wants its attributes asks for it alone and gets the error.
    guard case .success(let metadata) = answer else { return add(bare) }
    let remote: RemoteEntry? = name.remote.isDirectory ? .directory(marker: metadata) : metadata.map { .file($0) }
    guard let merged = tree.merge(name.name, in: stream.inode, remote, askedAt: askedAt) else { return add(bare) }
    guard merged.inode != nil else { return true }
    return offer(merged, name, position, add)
  }

  private func offer(
    _ reply: EntryReply, _ name: StreamedName, _ position: Int, _ add: (DirectoryEntry) -> Bool
  ) -> Bool {
    var entry = entry(name, position, reply.attributes.fileNumber, reply.attributes.mode & FileType.mask)
    entry.entry = reply
    if add(entry) { return true }
    if let inode = reply.inode { tree.forget(inode, count: 1) }
    return false
  }

  private func entry(_ name: StreamedName, _ position: Int, _ fileNumber: UInt64, _ type: UInt32) -> DirectoryEntry {
    DirectoryEntry(name: name.name, nextOffset: UInt64(position + 2), fileNumber: fileNumber, type: type)
  }

  private func fileNumber(_ name: StreamedName, _ stream: DirectoryStream) -> UInt64 {
    NameRules.fileNumber(ofPath: NameRules.path(name.name, in: stream.path))
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
  private func type(of name: StreamedName, isMarked: Bool) -> UInt32 {
    let longestTarget: UInt64 = 4095
    switch name.remote {
    case .directory, .listedDirectory: return FileType.directory.rawValue
    case .listedFile(let entry): return isMarked && entry.size <= longestTarget ? 0 : FileType.file.rawValue
    case .file: return 0
    }
  }
}
