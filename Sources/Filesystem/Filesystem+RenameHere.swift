import Basics
import Logging
import ObjectStore
import SystemPackage
import WritePath

/// rename of a file that the bucket does not have, or only as an empty object: its upload goes to the new name.
extension Filesystem {
  /// Renames a file that waits for its upload, if it can simply wait for it under another name.
  /// - Returns: false, and nothing has happened, when it cannot.
  func renameHere(
    _ view: NodeView, _ content: FileContent, replacing replaced: NodeView?, _ move: Move, _ context: CallContext
  ) throws(Errno) -> Bool {
    guard let staged = content.staged, canRenameHere(content, staged) else { return false }
    // Asked for before anything changes: without an answer nothing has happened.
    let source: ObjectOfName
    do throws(ObjectStoreError) {
      source = try object(of: content, under: key(move.source))
    } catch {
      throw log.report("rename", error)
    }
    let noted: JournalIntent?
    if case .own(let etag) = source {
      noted = try note(
        RenameIntent(
          source: key(move.source), destination: key(move.destination), isDirectory: false, sourceETag: etag,
          phase: .deleting(nil)))
    } else {
      noted = nil
    }
    defer { noted.map(end) }
    // Its record will be as durable as that of what it replaces; not with the names held.
    if staged.isRecordDurable || replaced?.content?.staged?.isRecordDurable ?? false { staged.syncAhead() }
    guard try takeName(view, content, staged, replacing: replaced, move) else { return false }
    if case .foreign = source { tree.distrust(move.name, in: move.parent) }
    guard noted != nil else { return true }
    do throws(ObjectStoreError) {
      // Nobody stops this any more: the file has its new name.
      try keepDirectory(move.parent, nil)
      try store.delete(key(move.source), nil)
    } catch {
      throw log.report("rename: both names stay", error)
    }
    return true
  }

  private func canRenameHere(_ content: FileContent, _ staged: StagedFile) -> Bool {
    guard configuration.writeMode == .writeback, !staged.hasUpload else { return false }
    return content.withState { $0.version == nil || $0.isPlaceholder } && (!staged.isRecorded || staged.isRecordCurrent)
  }

  /// Gives a file its new name here: in the journal first, since the record of what it replaces goes then.
  /// - Returns: false, and nothing has happened, when somebody was writing to it: there may be no record then of what was
  ///   closed before.
  private func takeName(
    _ view: NodeView, _ content: FileContent, _ staged: StagedFile, replacing replaced: NodeView?, _ move: Move
  ) throws(Errno) -> Bool {
    let orphaned: FileContent?
    do throws(WriteError) {
      orphaned = try naming.exclusive { () throws(WriteError) -> FileContent? in
        let state = replaced?.content?.withState { ($0.objectVersion, $0.mayExist) }
        let there = state?.0 ?? replaced?.version?.etag
        let mayExist = state?.1 ?? false
        // An upload of the replaced file that nobody heard of is no stranger's.
        if let old = replaced?.content?.staged { staged.inheritExpected(from: old) }
        try recordUnderNewName(view, content, staged, replacing: replaced, there, move)
        content.withState { state in
          state.version = nil
          state.isPlaceholder = false
          state.replaces = there
          state.mayExist = mayExist
        }
        _ = tree.update(view.id) { $0.version = nil }
        tree.move(move.name, from: move.parent, to: move.newName, in: move.newParent)
        staged.renamed(to: key(move.destination))
        return replaced.flatMap { orphan($0) }
      }
    } catch {
      if case .superseded = error { return false }
      throw log.report("rename", key: key(move.source), error)
    }
    if let replaced, let orphaned { abandon(orphaned, of: replaced) }
    return true
  }

  /// - Parameter there: the version that its upload will replace.
  private func recordUnderNewName(
    _ view: NodeView, _ content: FileContent, _ staged: StagedFile, replacing replaced: NodeView?, _ there: ETag?,
    _ move: Move
  ) throws(WriteError) {
    let plan = commitPlan(tree.view(view.id) ?? view, content, move.destination)
    let superseded = replaced.flatMap { tree.view($0.id)?.content?.staged }
    do throws(WriteError) {
      try staged.recordRename(
        to: plan.target, condition: there.map { .ifMatch($0) } ?? .ifAbsent, superseding: superseded?.recordSequence,
        durable: superseded?.isRecordDurable ?? false)
    } catch {
      // Where only the last wait for the disk failed, it has the new name: it must have that of before.
      rewriteRecord(of: view.id)
      throw error
    }
  }

  /// Whose object has the name of a file.
  private enum ObjectOfName {
    case nobody
    /// This mount has made it, or the file is to replace it.
    case own(ETag)
    /// Somebody else stored it since.
    case foreign
  }

  private func object(of content: FileContent, under key: ObjectKey) throws(ObjectStoreError) -> ObjectOfName {
    let (known, mayExist, staged) = content.withState { ($0.objectVersion, $0.mayExist, $0.staged) }
    // Without an upload that failed, and may have been applied all the same, there is none.
    guard known != nil || mayExist, let found = try present(key)?.etag else { return .nobody }
    return found == known || staged?.mayHaveMade(found) ?? false ? .own(found) : .foreign
  }
}
