import Basics
import Logging
import ObjectStore
public import SystemPackage
import WritePath

/// rename: a copy made by the server, then a deletion. There is no moment without a whole copy.
extension Filesystem {
  /// What a rename is about.
  private struct Move {
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
    // The upload of what is about to be replaced is of no use.
    if !isDirectory { tree.view(newName, in: newParent)?.content?.cancelBackgroundUpload() }
    return try locks.withClaims(claims) { () throws(Errno) in
      guard try newPath(name, in: parent).utf8.elementsEqual(move.source.utf8),
        try newPath(newName, in: newParent).utf8.elementsEqual(move.destination.utf8)
      else { return false }
      let view = try found(name, in: parent, context)
      guard (view.type == .directory) == isDirectory else { throw .resourceBusy }
      let replaced = try target(of: move, mode, isDirectory, context)
      do throws(Errno) {
        if isDirectory {
          try renameDirectory(view, move, context)
          settle(view, move, replaced)
        } else if let replaced {
          try leaving(replaced, move.destination, as: .replaced, context) { () throws(Errno) in
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
  /// - Parameter change: what else changes in that moment.
  private func settle(_ view: NodeView, _ move: Move, _ replaced: NodeView?, _ change: () -> Void = {}) {
    let orphaned = naming.exclusive {
      change()
      tree.move(move.name, from: move.parent, to: move.newName, in: move.newParent)
      // Never closed perhaps, but what it replaces and the object of its old name are about to go.
      rewriteRecord(of: view.id, isNeeded: configuration.writeMode == .writeback)
      if view.type == .directory { for file in tree.descendants(of: view.id) { rewriteRecord(of: file.id) } }
      // The record of what was replaced goes last: there is none without one that takes its place.
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
      if canRenameHere(content) { return try renameHere(view, content, replacing: replaced, move, context) }
      // What was written since the last close goes to the old name first, with its conditions; then all of it moves.
      try commitClaimed(view.id, content, to: move.source)
    }
    guard let version = tree.view(view.id)?.version ?? view.version else { throw .noSuchFileOrDirectory }
    let there = replaced.flatMap { $0.content?.objectVersion ?? $0.version?.etag }
    var intent = RenameIntent(
      source: key(move.source), destination: key(move.destination), isDirectory: false, sourceETag: version.etag,
      sourceSize: version.size, replaced: there.map { .version($0) } ?? .absent)
    let noted = try note(intent)
    defer { noted.map { journal?.end($0) } }
    do throws(ObjectStoreError) {
      if move.newParent != move.parent { try ensureMarked(move.newParent, context.cancellation) }
      let moved = try self.move(view, version, to: key(move.destination)) { () throws(ObjectStoreError) in
        try ServerSideCopy.copy(
          from: key(move.source), to: key(move.destination), size: version.size, etag: version.etag, attributes: nil,
          in: store, context.cancellation
        ).etag
      }
      intent.phase = .deleting(moved.etag)
    } catch {
      throw log.report("rename", error)
    }
    if let noted { try update(noted, to: intent) }
    settle(view, move, replaced)
    do throws(ObjectStoreError) {
      try keepDirectory(move.parent, context.cancellation)
      try store.delete(key(move.source), nil)
    } catch {
      throw log.report("rename: both names stay", error)
    }
  }

  /// Whether a file that waits for its upload can simply wait for it under another name.
  private func canRenameHere(_ content: FileContent) -> Bool {
    guard configuration.writeMode == .writeback, let staged = content.staged, !staged.hasUpload else { return false }
    return content.withState { $0.version == nil || $0.isPlaceholder } && (!staged.isRecorded || staged.isRecordCurrent)
  }

  /// Renames a file that the bucket does not have, or only as an empty one: its upload goes to the new name.
  private func renameHere(
    _ view: NodeView, _ content: FileContent, replacing replaced: NodeView?, _ move: Move, _ context: CallContext
  ) throws(Errno) {
    // Asked for before anything changes: without an answer nothing has happened.
    let source: ETag?
    do throws(ObjectStoreError) {
      source = try ownObject(content, key(move.source))
    } catch {
      throw log.report("rename", error)
    }
    let noted = try source.flatMap { etag throws(Errno) in
      try note(
        RenameIntent(
          source: key(move.source), destination: key(move.destination), isDirectory: false, sourceETag: etag,
          phase: .deleting(nil)))
    }
    defer { noted.map { journal?.end($0) } }
    settle(view, move, replaced) {
      let (there, mayExist): (ETag?, Bool) =
        replaced.map { replaced in
          let state = replaced.content?.withState { ($0.objectVersion, $0.mayExist) }
          return (state?.0 ?? replaced.version?.etag, state?.1 ?? false)
        } ?? (nil, false)
      // An upload of the replaced file that nobody heard of is no stranger's.
      if let old = replaced?.content?.staged { content.staged?.inheritExpected(from: old) }
      content.withState { state in
        state.version = nil
        state.isPlaceholder = false
        state.replaces = there
        state.mayExist = mayExist
      }
      _ = tree.update(view.id) { $0.version = nil }
    }
    guard source != nil else { return }
    do throws(ObjectStoreError) {
      try keepDirectory(move.parent, context.cancellation)
      try store.delete(key(move.source), nil)
    } catch {
      throw log.report("rename: both names stay", error)
    }
  }

  /// The object that this mount has under the name of a file; nil when there is none, or it is somebody else's.
  private func ownObject(_ content: FileContent, _ key: ObjectKey) throws(ObjectStoreError) -> ETag? {
    let (known, mayExist, staged) = content.withState { ($0.objectVersion, $0.mayExist, $0.staged) }
    guard known == nil, mayExist, let staged else { return known }
    // An upload failed, and may have been applied all the same.
    guard let found = try present(key)?.etag, staged.mayHaveMade(found) else { return nil }
    return found
  }

  // MARK: Intents

  /// Notes what is about to be done, so that the next mount ends it if this one cannot.
  private func note(_ intent: RenameIntent) throws(Errno) -> JournalIntent? {
    do throws(Errno) {
      return try journal?.begin(intent)
    } catch {
      log.error("the journal cannot note a rename", metadata: ["cause": "\(error)"])
      throw error
    }
  }

  /// Notes how far it has come. When that fails, the next mount finds out by itself.
  private func update(_ noted: JournalIntent, to intent: RenameIntent) throws(Errno) {
    do throws(Errno) {
      try journal?.update(noted, to: intent)
    } catch {
      log.error("the journal cannot note a rename", metadata: ["cause": "\(error)"])
      throw error
    }
  }

  // MARK: A directory

  private func renameDirectory(_ view: NodeView, _ move: Move, _ context: CallContext) throws(Errno) {
    let dirty = tree.descendants(of: view.id).filter { $0.content?.isDirty ?? false }
    let failed = forEach(dirty) { [self] file throws(Errno) in
      guard let content = file.content, let path = file.path else { return }
      try commitClaimed(file.id, content, to: path)
    }
    if let first = failed.first { throw first.error }
    var intent = RenameIntent(
      source: markerKey(move.source), destination: markerKey(move.destination), isDirectory: true)
    let noted = try note(intent)
    defer { noted.map { journal?.end($0) } }
    var moved: [(from: ListEntry, to: ObjectKey, etag: ETag)] = []
    do throws(ObjectStoreError) {
      try copyTree(move, &moved, context.cancellation)
    } catch {
      let made = moved.map(\.to)
      _ = try? deleteAll(made)
      throw log.report("rename of a directory", error)
    }
    adoptTree(view, move, moved)
    intent.phase = .deleting(nil)
    if let noted { try update(noted, to: intent) }
    do throws(ObjectStoreError) {
      try keepDirectory(move.parent, context.cancellation)
      try deleteAll(moved.map(\.from.key) + [markerKey(move.source)])
    } catch {
      throw log.report("rename of a directory: some names stay in both places", error)
    }
  }

  /// Copies everything below a directory, page by page, several objects at once.
  private func copyTree(
    _ move: Move, _ moved: inout [(from: ListEntry, to: ObjectKey, etag: ETag)], _ cancellation: Cancellation?
  ) throws(ObjectStoreError) {
    let source = markerKey(move.source)
    let destination = markerKey(move.destination)
    if move.newParent != move.parent { try ensureMarked(move.newParent, cancellation) }
    // A directory that is only a prefix may be renamed too; its new name gets a marker in any case.
    let marker = try marker(move.source, cancellation)
    try putMarker(
      move.destination, marker.map { PosixAttributes($0) } ?? PosixAttributes(),
      isMarked: marker.map { DirectoryMark.isSet(on: $0) } ?? false, keeping: marker?.userMetadata ?? [:],
      condition: .none, cancellation)
    var token: String?
    repeat {
      let page = try store.list(
        ListRequest(prefix: source.string, delimited: false, continuation: token), cancellation)
      var failure: ObjectStoreError?
      for entries in Self.waves(page.entries.filter { $0.key != source }) where failure == nil {
        let results: [Result<ETag, ObjectStoreError>] = fanOut(
          over: entries, limit: configuration.parallelRequests
        ) { entry, done in
          copy(entry, to: Self.moved(entry.key, source, destination), cancellation, done)
        }
        for (entry, result) in zip(entries, results) {
          switch result {
          case .success(let etag): moved.append((entry, Self.moved(entry.key, source, destination), etag))
          case .failure(let error): failure = error
          }
        }
      }
      if let failure { throw failure }
      token = page.continuation
    } while token != nil
  }

  /// What may be made at the same time. A server that keeps real directories (SeaweedFS) loses what a marker carries when
  /// something below it is made in the same moment, so the markers come first, those further up before those below.
  private static func waves(_ entries: [ListEntry]) -> [[ListEntry]] {
    var objects: [ListEntry] = []
    var markers: [Int: [ListEntry]] = [:]
    for entry in entries {
      let key = entry.key.string.utf8
      guard key.last == UInt8(ascii: "/") else {
        objects.append(entry)
        continue
      }
      markers[key.count { $0 == UInt8(ascii: "/") }, default: []].append(entry)
    }
    return markers.sorted { $0.key < $1.key }.map(\.value) + [objects]
  }

  private static func moved(_ key: ObjectKey, _ source: ObjectKey, _ destination: ObjectKey) -> ObjectKey {
    ObjectKey(destination.string + (String(key.string.utf8.dropFirst(source.string.utf8.count)) ?? ""))
  }

  private func copy(
    _ entry: ListEntry, to newKey: ObjectKey, _ cancellation: Cancellation?,
    _ done: @escaping StoreCompletion<ETag>
  ) {
    if entry.key.string.hasSuffix("/") {
      return copyMarker(entry.key, to: newKey, cancellation, done)
    }
    if entry.size <= ServerSideCopy.singleCopyLimit {
      let request = CopyRequest(from: entry.key, to: newKey, sourceMatch: entry.etag)
      return store.copy(request, cancellation) { done($0.map(\.etag)) }
    }
    // Many requests for one object: its own thread of control.
    staging.workers.submit {
      done(
        Result { () throws(ObjectStoreError) in
          try ServerSideCopy.copy(
            from: entry.key, to: newKey, size: entry.size, etag: entry.etag, attributes: nil, in: self.store,
            cancellation
          ).etag
        })
    }
  }

  /// A marker is made anew: some servers cannot copy a key that ends in a slash.
  func copyMarker(
    _ key: ObjectKey, to newKey: ObjectKey, _ cancellation: Cancellation?, _ done: @escaping StoreCompletion<ETag>
  ) {
    store.head(key, cancellation) { answer in
      switch answer {
      case .failure(let error) where error.code != .notFound: done(.failure(error))
      case .failure, .success:
        let metadata = try? answer.get()
        let posix = metadata.map { PosixAttributes($0) } ?? PosixAttributes()
        let attributes = posix.markerAttributes(
          keeping: metadata?.userMetadata ?? [:], isMarked: metadata.map { DirectoryMark.isSet(on: $0) } ?? false)
        let request = PutRequest(newKey, body: .bytes([]), attributes: attributes)
        self.store.put(request, cancellation) { done($0.map(\.etag)) }
      }
    }
  }

  private func adoptTree(
    _ view: NodeView, _ move: Move, _ moved: [(from: ListEntry, to: ObjectKey, etag: ETag)]
  ) {
    let byKey = Dictionary(moved.map { ($0.from.key, $0) }, uniquingKeysWith: { first, _ in first })
    for file in tree.descendants(of: view.id) where file.type != .directory {
      guard let path = file.path, let copy = byKey[key(path)],
        var version = file.content?.version ?? file.version, version.etag == copy.from.etag
      else { continue }
      let old = version.etag
      version.etag = copy.etag
      adopt(version, file, copy.to, from: old)
    }
  }

  private func deleteAll(_ keys: [ObjectKey]) throws(ObjectStoreError) {
    let perRequest = 1000
    // Markers last, the deepest first: a server that keeps real directories refuses to remove one that is not empty.
    let sorted = keys.filter { !$0.string.hasSuffix("/") } + keys.filter { $0.string.hasSuffix("/") }.sorted(by: >)
    for start in stride(from: 0, to: sorted.count, by: perRequest) {
      let failed = try store.deleteMany(Array(sorted[start..<min(start + perRequest, sorted.count)]), nil)
      if let error = failed.values.first { throw error }
    }
  }
}
