import Basics
import Logging
import ObjectStore
public import SystemPackage
import WritePath

/// unlink and rmdir.
extension Filesystem {
  /// unlink(2). Who has the file open can go on reading: what of it is not on this machine is fetched first.
  public func unlink(_ parent: InodeID, _ name: FileName, _ context: CallContext) throws(Errno) {
    tree.view(name, in: parent)?.content?.cancelBackgroundUpload()
    try claiming(name, in: parent, context) { path throws(Errno) in
      let view = try found(name, in: parent, context)
      guard view.type != .directory else { throw .isDirectory }
      try leaving(view, path, isRemoval: true, context) { () throws(Errno) in
        do throws(ObjectStoreError) {
          if view.version != nil || view.content?.mayHaveObject ?? false {
            try keepDirectory(parent, context.cancellation)
            try store.delete(key(path), context.cancellation)
          }
        } catch {
          tree.distrust(name, in: parent)
          throw log.report("unlink", error)
        }
      }
      let orphaned = naming.exclusive {
        defer { tree.remove(name, from: parent) }
        return orphan(view)
      }
      orphaned.map { abandon($0, of: view) }
    }
  }

  /// rmdir(2).
  public func removeDirectory(_ parent: InodeID, _ name: FileName, _ context: CallContext) throws(Errno) {
    try claiming(name, in: parent, withAllBelow: true, context) { path throws(Errno) in
      let view = try found(name, in: parent, context)
      guard view.type == .directory else { throw .notDirectory }
      guard try isEmpty(view, path, context.cancellation) else { throw .directoryNotEmpty }
      do throws(ObjectStoreError) {
        try keepDirectory(parent, context.cancellation)
        try store.delete(markerKey(path), context.cancellation)
      } catch {
        tree.distrust(name, in: parent)
        throw log.report("rmdir", error)
      }
      tree.remove(name, from: parent)
    }
  }

  /// The child a change is about, asked for when it is not known.
  func found(_ name: FileName, in parent: InodeID, _ context: CallContext) throws(Errno) -> NodeView {
    if let view = tree.view(name, in: parent), view.isFresh || view.isLocal { return view }
    let entry = try lookup(parent, name, context)
    guard let inode = entry.inode else { throw .noSuchFileOrDirectory }
    defer { tree.forget(inode, count: 1) }
    guard let view = tree.view(inode) else { throw .noSuchFileOrDirectory }
    return view
  }

  /// Whether a directory holds nothing but its marker, in the bucket and here. Takes away what nobody sees in it.
  func isEmpty(_ view: NodeView, _ path: String, _ cancellation: Cancellation?) throws(Errno) -> Bool {
    if tree.descendants(of: view.id).contains(where: \.isLocal) { return false }
    do throws(ObjectStoreError) {
      guard let own = try onlyOwn(below: markerKey(path), cancellation) else { return false }
      for key in own { try store.delete(key, cancellation) }
      return true
    } catch {
      throw log.report("listing", error)
    }
  }

  /// A directory that is only a common prefix would vanish with its last object: it gets a marker first.
  func keepDirectory(_ directory: InodeID, _ cancellation: Cancellation?) throws(ObjectStoreError) {
    guard let known = tree.view(directory), let path = known.path, !path.isEmpty, !known.hasMarker else { return }
    try markers.withClaims([.one(path)], cancellation, orThrow: .interrupted) { () throws(ObjectStoreError) in
      // Who had the claim before may have made it.
      guard let view = tree.view(directory), !view.hasMarker else { return }
      // A listing of the directory above did not tell whether it has one, or nothing but this keeps what is there.
      if !view.attributesKnown || conditions.areIgnored, try marker(path, cancellation) != nil { return }
      do throws(ObjectStoreError) {
        try putMarker(
          path, view.posix, isMarked: view.isMarked, condition: .ifAbsent, cancellation)
      } catch {
        guard error.code == .preconditionFailed else { throw error }
      }
    }
    _ = tree.update(directory) { $0.hasMarker = true }
  }

  /// Takes the object of a file away with `remove`: who has it open keeps its bytes, and nobody opens it meanwhile, since
  /// nothing would be left to read.
  /// - Parameter isRemoval: nothing takes its place. Should this process die in the middle, the next mount must not take
  ///   the file for somebody else's, or bring it back.
  func leaving(
    _ view: NodeView, _ path: String, isRemoval: Bool, _ context: CallContext, _ remove: () throws(Errno) -> Void
  ) throws(Errno) {
    _ = tree.update(view.id) { $0.isLeaving = true }
    do throws(Errno) {
      try preserve(view, path, context)
      if isRemoval { try mark(view, .removed) }
      try remove()
    } catch {
      if isRemoval { unmark(view, path) }
      _ = tree.update(view.id) { $0.isLeaving = false }
      throw error
    }
  }

  private func mark(_ view: NodeView, _ kind: JournalRecord.State) throws(Errno) {
    guard let staged = tree.view(view.id)?.content?.staged else { return }
    do throws(WriteError) {
      try staged.markRecord(kind)
    } catch {
      throw log.report("noting a removal", key: nil, error)
    }
  }

  /// The file stays after all, and so the next mount must not end its removal.
  private func unmark(_ view: NodeView, _ path: String) {
    guard let staged = tree.view(view.id)?.content?.staged else { return }
    do throws(WriteError) {
      try staged.markRecord(.closed)
    } catch {
      log.error(
        "the journal cannot take back that a file is removed; until it is uploaded, a crash may lose it",
        metadata: ["key": "\(key(path))", "cause": "\(error)"])
    }
  }

  /// Brings the bytes of an open file here before its object goes away.
  private func preserve(_ view: NodeView, _ path: String, _ context: CallContext) throws(Errno) {
    guard let content = tree.view(view.id)?.content else { return }
    let open = handles.files(of: view.id)
    let (opens, epoch) = content.withState { ($0.opens, $0.epoch) }
    // An open that is counted and has no handle yet may be one to read.
    guard opens > open.count || open.contains(where: { $0.mode.reads && $0.epoch == epoch }) else { return }
    // The last handle may go before there is a staged file for it to discard.
    defer { tree.dropContent(view.id, content).map(discard) }
    let staged = try staged(content, of: view.id)
    do throws(WriteError) {
      try staged.fill(0..<staged.size, context.cancellation)
    } catch {
      throw log.report("keeping a removed file readable", key: key(path), error)
    }
  }

  /// Nothing of the file goes to the bucket any more; it lives as long as it is open.
  /// - Returns: what `abandon` is to be called with once the name is gone.
  func orphan(_ view: NodeView) -> FileContent? {
    // Asked anew: it may have been opened since.
    guard let content = tree.view(view.id)?.content else { return nil }
    let staged: StagedFile? = content.withState { state in
      state.orphaned = true
      return state.staged
    }
    staged?.forgetRecord()
    return content
  }

  /// Stops the upload of a file that was orphaned, and lets go of its bytes when nobody has it open.
  func abandon(_ content: FileContent, of view: NodeView) {
    content.staged?.giveUpUpload()
    if content.withState({ $0.opens == 0 }) { tree.dropContent(view.id, content).map(discard) }
  }
}
