import Basics
import ObjectStore
import SystemPackage
import WritePath

/// rename of a directory: everything below it is copied, and then removed under its old name.
extension Filesystem {
  /// - Parameter replaced: the empty directory that has the new name.
  func renameDirectory(
    _ view: NodeView, replacing replaced: NodeView?, _ move: Move, _ context: CallContext
  ) throws(Errno) {
    let dirty = tree.descendants(of: view.id).filter { $0.content?.isDirty ?? false }
    let failed = forEach(dirty, on: workers.claimed) { [self] file throws(Errno) in
      guard let content = file.content, let path = file.path else { return }
      try commitClaimed(file.id, content, to: path, context.cancellation)
    }
    if let first = failed.first { throw first.error }
    // Before anything is made: what cannot be learnt could not be put back.
    let there = replaced == nil ? nil : try markerToReplace(move, context)
    var intent = RenameIntent(
      source: markerKey(move.source), destination: markerKey(move.destination), isDirectory: true)
    let noted = try note(intent)
    var copies = TreeCopies()
    do throws(ObjectStoreError) {
      try copyTree(move, &copies, context.cancellation)
    } catch {
      // Should this process die meanwhile, the next mount does the whole rename.
      undo(move, copies, there, late(context.cancellation, seconds: 30))
      noted.map(end)
      throw log.report("rename of a directory", error)
    }
    adoptTree(view, copies.entries)
    settle(view, move, replaced)
    intent.phase = .deleting(nil)
    // Where that cannot be noted, the next mount finds out by itself what is copied.
    if let noted { try? update(noted, to: intent) }
    let copied = Dictionary(copies.entries.map { ($0.from.key, $0.from) }, uniquingKeysWith: { first, _ in first })
    if let error = removeOld(OldNames(move, copied, noted), late(context.cancellation, seconds: 30)) {
      throw log.report("rename of a directory: some names stay in both places", error)
    }
  }

  /// The marker of the empty directory that has the new name; it is put back if the rename fails.
  private func markerToReplace(_ move: Move, _ context: CallContext) throws(Errno) -> ObjectMetadata? {
    let there: ObjectMetadata?
    do throws(ObjectStoreError) {
      there = try marker(move.destination, context.cancellation)
    } catch {
      throw log.report("rename of a directory", error)
    }
    // Bytes that somebody keeps in a marker could not be.
    guard there?.size ?? 0 == 0 else { throw .directoryNotEmpty }
    return there
  }

  /// Copies everything below a directory, page by page, several objects at once.
  /// - Parameter copies: gets all that was begun.
  private func copyTree(
    _ move: Move, _ copies: inout TreeCopies, _ cancellation: Cancellation?
  ) throws(ObjectStoreError) {
    let source = markerKey(move.source)
    let destination = markerKey(move.destination)
    if move.newParent != move.parent { try ensureMarked(move.newParent, cancellation) }
    let late = late(cancellation, seconds: 10)
    // A directory that is only a prefix may be renamed too; its new name gets a marker in any case.
    let original = try marker(move.source, cancellation)
    copies.hasRoot = true
    let marker = try waitFor { (done: @escaping StoreCompletion<ETag>) in
      remakeMarker(original, source, to: destination, late, done)
    }
    var token: String?
    repeat {
      let page = try store.list(
        ListRequest(prefix: source.string, delimited: false, continuation: token), cancellation)
      var failure: ObjectStoreError?
      copies.entries += page.entries.filter { $0.key == source }
        .map { TreeCopy(from: $0, to: destination, etag: marker) }
      for entries in Self.waves(page.entries.filter { $0.key != source }) where failure == nil {
        let results: [Result<ETag, ObjectStoreError>] = fanOut(
          over: entries, limit: configuration.parallelRequests
        ) { entry, done in
          if cancellation?.isCancelled == true { return done(.failure(.interrupted)) }
          copy(entry, to: Self.moved(entry.key, source, destination), late, done)
        }
        for (entry, result) in zip(entries, results) {
          copies.entries.append(
            TreeCopy(from: entry, to: Self.moved(entry.key, source, destination), etag: try? result.get()))
          if case .failure(let error) = result { failure = error }
        }
      }
      if let failure { throw failure }
      token = page.continuation
    } while token != nil
  }

  /// A server goes on with a copy whose asker has gone, and would make it when what is there was taken back. So a signal
  /// begins no more of them, and those under way get a while to come to their end.
  func late(_ cancellation: Cancellation?, seconds: Double) -> Cancellation? {
    cancellation.map { cancellation in
      let late = Cancellation()
      cancellation.addHandler { [uploads] in uploads.add(after: seconds) { late.cancel() } }
      return late
    }
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
    if entry.key.isMarker {
      return copyMarker(entry.key, to: newKey, cancellation, done)
    }
    if entry.size <= ServerSideCopy.singleCopyLimit {
      let request = CopyRequest(
        from: entry.key, to: newKey, sourceMatch: entry.etag,
        storageClass: ObjectAttributes.storageClass(ofCopyFrom: entry.storageClass))
      return store.copy(request, cancellation) { done($0.map(\.etag)) }
    }
    // Many requests for one object: its own thread of control.
    staging.workers.submit {
      done(
        Result { () throws(ObjectStoreError) in
          try ServerSideCopy.copy(
            from: entry.key, to: newKey, size: entry.size, etag: entry.etag, attributes: nil,
            storageClass: entry.storageClass, in: self.store, cancellation
          ).etag
        })
    }
  }

  func copyMarker(
    _ key: ObjectKey, to newKey: ObjectKey, _ cancellation: Cancellation?, _ done: @escaping StoreCompletion<ETag>
  ) {
    store.head(key, cancellation) { answer in
      switch answer {
      case .failure(let error) where error.code != .notFound: done(.failure(error))
      case .failure, .success: self.remakeMarker(try? answer.get(), key, to: newKey, cancellation, done)
      }
    }
  }

  /// A marker is made anew: some servers cannot copy a key that ends in a slash. One that has bytes is copied all the same:
  /// a server that refuses that is better than one that loses them.
  /// - Parameter original: the marker with the old key; nil when there is none.
  private func remakeMarker(
    _ original: ObjectMetadata?, _ key: ObjectKey, to newKey: ObjectKey, _ cancellation: Cancellation?,
    _ done: @escaping StoreCompletion<ETag>
  ) {
    let posix = original.map { PosixAttributes($0) } ?? PosixAttributes()
    let attributes = posix.markerAttributes(
      keeping: original?.userMetadata ?? [:], isMarked: original.map { DirectoryMark.isSet(on: $0) } ?? false)
    if let original, original.size > 0 {
      let request = CopyRequest(from: key, to: newKey, sourceMatch: original.etag, attributes: attributes)
      return store.copy(request, cancellation) { done($0.map(\.etag)) }
    }
    let request = PutRequest(newKey, body: .bytes([]), attributes: attributes)
    store.put(request, cancellation) { done($0.map(\.etag)) }
  }

  private func adoptTree(_ view: NodeView, _ copies: [TreeCopy]) {
    let byKey = Dictionary(copies.map { ($0.from.key, $0) }, uniquingKeysWith: { first, _ in first })
    for file in tree.descendants(of: view.id) where file.type != .directory {
      guard let path = file.path, let copy = byKey[key(path)], let etag = copy.etag,
        var version = file.content?.version ?? file.version, version.etag == copy.from.etag
      else { continue }
      let old = version.etag
      version.etag = etag
      adopt(version, file, copy.to, from: old)
    }
  }
}

/// What the rename of a directory has begun to make.
struct TreeCopies: Sendable {
  /// Whether the directory itself, its marker, may have its new name.
  var hasRoot = false
  /// The copies of what is below it, and of its marker.
  var entries: [TreeCopy] = []
}

/// A copy that the rename of a directory has begun.
struct TreeCopy: Sendable {
  /// The object of the old name, as it was listed.
  var from: ListEntry
  /// The new name.
  var to: ObjectKey
  /// The version that was made; nil when nobody heard of one.
  var etag: ETag?

  /// Whether what is under the new name is this copy.
  func made(_ found: ListEntry) -> Bool {
    if let etag { return found.etag == etag }
    // A copy of an object made of parts has another tag.
    return found.size == from.size && (found.etag == from.etag || from.etag.isOfParts)
  }
}
