import Basics
import Logging
import ObjectStore
public import SystemPackage
import WritePath

/// rename: a copy made by the server, then a deletion. There is no moment without a whole copy.
extension Filesystem {
  /// What a rename is about.
  struct Move {
    var name: FileName
    var parent: InodeID
    var newName: FileName
    var newParent: InodeID
    var source: String
    var destination: String
  }

  /// rename(2).
  public func rename(
    _ parent: InodeID, _ name: FileName, to newParent: InodeID, _ newName: FileName, _ mode: RenameMode,
    _ context: CallContext
  ) throws(Errno) {
    while true {
      let move = Move(
        name: name, parent: parent, newName: newName, newParent: newParent, source: try newPath(name, in: parent),
        destination: try newPath(newName, in: newParent))
      if try rename(move, mode, context) { return }
    }
  }

  /// - Returns: false when a directory above was renamed while this waited for its turn.
  private func rename(_ move: Move, _ mode: RenameMode, _ context: CallContext) throws(Errno) -> Bool {
    let (name, parent, newName, newParent) = (move.name, move.parent, move.newName, move.newParent)
    guard !move.source.utf8.elementsEqual(move.destination.utf8) else { return true }
    let isDirectory = try found(name, in: parent, context).type == .directory
    let claims: [KeyClaim] =
      isDirectory
      ? [.tree(move.source), .tree(move.destination)] : [.one(move.source), .one(move.destination)]
    guard !isDirectory || !move.destination.utf8.starts(with: "\(move.source)/".utf8) else {
      throw .invalidArgument
    }
    // What an earlier mount left goes to the name that it was written under, with what is there as its base.
    let left = isDirectory ? left(below: move.source) : left(of: [move.source, move.destination])
    if let error = sendNow(left).first?.error { throw error }
    // The upload of what is about to be replaced is of no use.
    if !isDirectory { tree.view(newName, in: newParent)?.content?.cancelBackgroundUpload() }
    return try locks.withClaims(claims, context.cancellation, orThrow: .interrupted) { () throws(Errno) in
      guard try newPath(name, in: parent).utf8.elementsEqual(move.source.utf8),
        try newPath(newName, in: newParent).utf8.elementsEqual(move.destination.utf8)
      else { return false }
      let view = try found(name, in: parent, context)
      guard (view.type == .directory) == isDirectory else { throw .resourceBusy }
      let replaced = try target(of: move, mode, isDirectory, context)
      do throws(Errno) {
        if isDirectory {
          try renameDirectory(view, replacing: replaced, move, context)
        } else if let replaced {
          try leaving(replaced, move.destination, isRemoval: false, context) { () throws(Errno) in
            try renameFile(view, replacing: replaced, move, context)
          }
        } else {
          try renameFile(view, replacing: nil, move, context)
        }
      } catch {
        tree.distrust(move.name, in: move.parent)
        tree.distrust(move.newName, in: move.newParent)
        throw error
      }
      return true
    }
  }

  /// The bucket has the new names: so does this machine from now on, and its journal.
  func settle(_ view: NodeView, _ move: Move, _ replaced: NodeView?) {
    leftBook.noteStored(key(move.destination))
    let orphaned = naming.exclusive {
      tree.move(move.name, from: move.parent, to: move.newName, in: move.newParent)
      // Never closed perhaps, but what it replaces and the object of its old name are about to go.
      rewriteRecord(of: view.id, isNeeded: configuration.writeMode == .writeback)
      if view.type == .directory { for file in tree.descendants(of: view.id) { rewriteRecord(of: file.id) } }
      // The record of what was replaced goes last: there is none without an object, or one that takes its place.
      return replaced.flatMap { orphan($0) }
    }
    if let replaced, let orphaned { abandon(orphaned, of: replaced) }
  }

  /// Lets the journal know the name and the attributes that a file has now.
  /// - Parameter isNeeded: makes a record also where there was none.
  func rewriteRecord(of inode: InodeID, isNeeded: Bool = false) {
    guard let view = tree.view(inode), let path = view.path, let content = view.content, let staged = content.staged
    else { return }
    staged.renamed(to: key(path))
    guard content.isDirty, staged.isRecorded ? staged.isRecordCurrent : isNeeded else { return }
    let plan = commitPlan(view, content, path)
    do throws(WriteError) {
      try staged.record(for: plan.target, condition: plan.condition, as: .closed, durable: false)
    } catch {
      // The record of before has the bytes, if not the name.
      log.error(
        "the journal does not know a new name or new attributes",
        metadata: ["key": "\(key(path))", "cause": "\(error)"])
    }
  }

  /// What the new name stands for now, when it may be replaced; nil for nothing.
  private func target(
    of move: Move, _ mode: RenameMode, _ isDirectory: Bool, _ context: CallContext
  ) throws(Errno) -> NodeView? {
    let view: NodeView
    do throws(Errno) {
      view = try found(move.newName, in: move.newParent, context)
    } catch {
      guard error == .noSuchFileOrDirectory else { throw error }
      return nil
    }
    guard mode == .replace else { throw .fileExists }
    if isDirectory {
      guard view.type == .directory else { throw .notDirectory }
      guard try isEmpty(view, move.destination, context.cancellation) else { throw .directoryNotEmpty }
    } else {
      guard view.type != .directory else { throw .isDirectory }
    }
    return view
  }

  // MARK: A file

  private func renameFile(
    _ view: NodeView, replacing replaced: NodeView?, _ move: Move, _ context: CallContext
  ) throws(Errno) {
    if let content = view.content, content.isDirty {
      if try renameHere(view, content, replacing: replaced, move, context) { return }
      // What was written since the last close goes to the old name first, with its conditions; then all of it moves.
      try commitClaimed(view.id, content, to: move.source, context.cancellation)
    }
    guard let version = tree.view(view.id)?.version ?? view.version else { throw .noSuchFileOrDirectory }
    let there = replaced.flatMap { $0.content?.objectVersion ?? $0.version?.etag }
    var intent = RenameIntent(
      source: key(move.source), destination: key(move.destination), isDirectory: false, sourceETag: version.etag,
      sourceSize: version.size, replaced: there.map { .version($0) } ?? .absent,
      supersedes: replaced.flatMap { tree.view($0.id)?.content?.staged?.recordSequence })
    let noted = try note(intent)
    defer { noted.map(end) }
    let begun = tree.now
    do throws(ObjectStoreError) {
      if move.newParent != move.parent { try ensureMarked(move.newParent, context.cancellation) }
      let moved = try self.move(view, version, to: key(move.destination)) { () throws(ObjectStoreError) in
        try ServerSideCopy.copy(
          from: key(move.source), to: key(move.destination), size: version.size, etag: version.etag, attributes: nil,
          storageClass: version.storageClass, in: store, context.cancellation
        ).etag
      }
      intent.phase = .deleting(moved.etag)
    } catch {
      throw log.report("rename", error)
    }
    if let noted { try update(noted, to: intent) }
    settle(view, move, replaced)
    do throws(ObjectStoreError) {
      // Nobody stops this any more: the file has its new name.
      try keepDirectory(move.parent, nil)
      try removeOld(move, version.etag, begun: begun)
    } catch {
      throw log.report("rename: both names stay", error)
    }
  }

  /// Removes the old name. What somebody else has stored under it meanwhile came after the rename, and stays.
  /// - Parameter begun: when the copy was asked for. A deletion right behind it needs no look at what it deletes: that
  ///   takes as long as the copy did.
  private func removeOld(_ move: Move, _ copied: ETag, begun: UInt64) throws(ObjectStoreError) {
    let moment: UInt64 = 1_000_000_000
    if tree.now > begun + moment, let found = try present(key(move.source)), found.etag != copied {
      log.warning(
        "a file was renamed while somebody else changed it; their version keeps the old name",
        metadata: ["bucket": "\(store.bucket)", "from": "\(key(move.source))", "to": "\(key(move.destination))"])
      return tree.distrust(move.name, in: move.parent)
    }
    try store.delete(key(move.source), nil)
  }

  // MARK: Intents

  /// Notes what is about to be done, so that the next mount ends it if this one cannot.
  func note(_ intent: RenameIntent) throws(Errno) -> JournalIntent? {
    do throws(Errno) {
      return try journal?.begin(intent)
    } catch {
      log.error("the journal cannot note a rename", metadata: ["cause": "\(error)"])
      throw error
    }
  }

  /// Notes how far it has come. When that fails, the next mount finds out by itself.
  func update(_ noted: JournalIntent, to intent: RenameIntent) throws(Errno) {
    do throws(Errno) {
      try journal?.update(noted, to: intent)
    } catch {
      log.error("the journal cannot note a rename", metadata: ["cause": "\(error)"])
      throw error
    }
  }

  /// Forgets a rename that has come to its end, before anybody can use its names again.
  func end(_ noted: JournalIntent) {
    do throws(Errno) {
      try journal?.end(noted)
    } catch {
      log.error(
        "the journal cannot forget a rename that has ended; the next mount may do it once more",
        metadata: [
          "from": "\(noted.intent.source)", "to": "\(noted.intent.destination)", "cause": "\(error)",
        ])
    }
  }
}
