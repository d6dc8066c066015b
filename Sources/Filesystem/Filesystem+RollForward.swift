import Basics
import Logging
import ObjectStore
import WritePath

/// Renames that a daemon was in the middle of when it died: they are ended, as far as nobody has touched the names since.
extension Filesystem {
  /// - Returns: whether everything has its new name.
  func rollForward(_ noted: JournalIntent) -> Bool {
    let intent = noted.intent
    do throws(ObjectStoreError) {
      let claims: [KeyClaim] =
        intent.isDirectory
        ? [.tree(path(intent.source)), .tree(path(intent.destination))]
        : [.one(path(intent.source)), .one(path(intent.destination))]
      let isDone = try locks.withClaims(claims) { () throws(ObjectStoreError) in
        if intent.phase == .copying { try ensureMarked(above: intent.destination) }
        return intent.isDirectory ? try rollForwardDirectory(intent) : try rollForwardFile(intent)
      }
      end(noted)
      let metadata: Logger.Metadata = ["from": "\(intent.source)", "to": "\(intent.destination)"]
      if isDone {
        log.notice("a rename that an earlier mount had begun is done", metadata: metadata)
      } else {
        log.warning(
          "a rename that an earlier mount had begun is left as it is: somebody changed the files since",
          metadata: metadata)
      }
      return isDone
    } catch {
      log.error(
        "a rename that an earlier mount had begun cannot be ended now; the next mount tries again",
        metadata: ["from": "\(intent.source)", "to": "\(intent.destination)", "cause": "\(error)"])
      return false
    }
  }

  func present(_ key: ObjectKey) throws(ObjectStoreError) -> ObjectMetadata? {
    do throws(ObjectStoreError) {
      return try store.head(key)
    } catch {
      guard error.code == .notFound else { throw error }
      return nil
    }
  }

  /// - Returns: false when it cannot be told any more what the program wanted.
  private func rollForwardFile(_ intent: RenameIntent) throws(ObjectStoreError) -> Bool {
    // Gone before it was copied: somebody else removed it.
    guard let source = try present(intent.source) else { return intent.phase != .copying }
    guard source.etag == intent.sourceETag else { return false }
    // Only an empty object that held the name.
    if intent.phase == .deleting(nil) {
      try store.delete(intent.source)
      return true
    }
    let destination = try present(intent.destination)
    var isDone = intent.isCopied(source, destination)
    if !isDone { isDone = try isCopy(intent.destination, of: intent.source, intent) }
    if !isDone {
      guard intent.mayReplace(destination) else { return false }
      _ = try ServerSideCopy.copy(
        from: intent.source, to: intent.destination, size: source.size, etag: source.etag, attributes: nil,
        storageClass: source.storageClass, in: store)
    }
    try store.delete(intent.source)
    return true
  }

  /// Whether the destination is a copy that nobody has noted as whole, of an object made of parts: its tag is another.
  private func isCopy(
    _ destination: ObjectKey, of source: ObjectKey, _ intent: RenameIntent
  ) throws(ObjectStoreError) -> Bool {
    guard intent.phase == .copying, let original = try present(source), original.etag.isOfParts,
      let copy = try present(destination), copy.size == original.size, copy.userMetadata == original.userMetadata
    else { return false }
    return try ServerSideComparison.isSame(
      (source, original.etag), (destination, copy.etag), size: copy.size, in: store, noting: journal)
  }

  private func rollForwardDirectory(_ intent: RenameIntent) throws(ObjectStoreError) -> Bool {
    let made = Dictionary(
      try everything(below: intent.destination).map { ($0.key, $0) }, uniquingKeysWith: { first, _ in first })
    var copied: [ObjectKey: ListEntry] = [:]
    for entry in try everything(below: intent.source) {
      let key = intent.moved(entry.key)
      var isCopied = false
      if let copy = made[key] {
        isCopied = intent.isCopied(entry, copy)
        if !isCopied { isCopied = try isCopy(key, of: entry.key, intent) }
      } else if intent.phase == .copying {
        if entry.key.isMarker {
          try remakeMarker(entry.key, at: key)
        } else {
          _ = try ServerSideCopy.copy(
            from: entry.key, to: key, size: entry.size, etag: entry.etag, attributes: nil,
            storageClass: entry.storageClass, in: store)
        }
        isCopied = true
      }
      // Without a copy though everything had its new name once, it is somebody's since.
      if isCopied { copied[entry.key] = entry }
    }
    return try removeCopied(below: intent.source, copied)
  }

  private func remakeMarker(_ key: ObjectKey, at newKey: ObjectKey) throws(ObjectStoreError) {
    _ = try waitFor { (done: @escaping StoreCompletion<ETag>) in copyMarker(key, to: newKey, nil, done) }
  }
}

extension RenameIntent {
  /// Whether the destination is the copy.
  fileprivate func isCopied(_ source: ObjectMetadata, _ destination: ObjectMetadata?) -> Bool {
    guard let destination else { return false }
    switch phase {
    // Whoever has stored something there since did so after the rename.
    case .deleting: return true
    case .copying: return destination.etag == source.etag && destination.size == source.size
    }
  }

  /// Whether one below the destination is the copy of one below the source.
  fileprivate func isCopied(_ entry: ListEntry, _ copy: ListEntry) -> Bool {
    // Markers are made anew, and the empty ones look alike.
    if entry.key.isMarker { return phase == .copying || copy.lastModified >= entry.lastModified }
    guard copy.size == entry.size else { return false }
    // Once everything was copied, what is newer than its copy was stored since, whatever its bytes are.
    if copy.etag == entry.etag { return phase == .copying || copy.lastModified >= entry.lastModified }
    // The copy of an object made of parts has another tag.
    return phase != .copying && entry.etag.isOfParts && copy.lastModified >= entry.lastModified
  }

  /// Whether the destination is still what the program saw when it asked for the rename.
  fileprivate func mayReplace(_ destination: ObjectMetadata?) -> Bool {
    guard phase == .copying else { return false }
    switch replaced {
    case .unknown: return false
    case .absent: return destination == nil
    case .version(let etag): return destination?.etag == etag
    }
  }

  /// The new key of one below the source.
  fileprivate func moved(_ key: ObjectKey) -> ObjectKey {
    ObjectKey(destination.string + (String(key.string.utf8.dropFirst(source.string.utf8.count)) ?? ""))
  }
}

extension ETag {
  /// Whether it is the form that S3 gives to objects that were uploaded in parts.
  var isOfParts: Bool { value.utf8.contains(UInt8(ascii: "-")) }
}
