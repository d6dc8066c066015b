import Basics
import ObjectStore
import SystemPackage
import WritePath

/// rename of a directory: everything below it is copied, and then removed under its old name.
extension Filesystem {
  func renameDirectory(_ view: NodeView, _ move: Move, _ context: CallContext) throws(Errno) {
    let dirty = tree.descendants(of: view.id).filter { $0.content?.isDirty ?? false }
    let failed = forEach(dirty) { [self] file throws(Errno) in
      guard let content = file.content, let path = file.path else { return }
      try commitClaimed(file.id, content, to: path)
    }
    if let first = failed.first { throw first.error }
    var intent = RenameIntent(
      source: markerKey(move.source), destination: markerKey(move.destination), isDirectory: true)
    let noted = try note(intent)
    defer { noted.map(end) }
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
    if entry.key.isMarker {
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
    let sorted = keys.filter { !$0.isMarker } + keys.filter { $0.isMarker }.sorted(by: >)
    for start in stride(from: 0, to: sorted.count, by: perRequest) {
      let failed = try store.deleteMany(Array(sorted[start..<min(start + perRequest, sorted.count)]), nil)
      if let error = failed.values.first { throw error }
    }
  }
}
