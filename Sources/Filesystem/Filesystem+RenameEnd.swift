import Basics
import Logging
import ObjectStore
import WritePath

/// How the rename of a directory ends: the old names go, or, when it has failed, the new ones.
extension Filesystem {
  // MARK: After success

  /// Removes the old names, with a claim on them; what the server does not remove now, later: everything has its new name
  /// already, and the journal knows what is left to do.
  /// - Parameter cancellation: nobody waits any more; what is left goes later, too.
  /// - Returns: an error that waiting does not mend.
  func removeOld(_ old: OldNames, _ cancellation: Cancellation?) -> ObjectStoreError? {
    guard let error = tryRemoving(old, cancellation) else { return nil }
    guard error.mayPass else { return error }
    oldNames.add(old)
    removeLater(old)
    return nil
  }

  private func removeLater(_ old: OldNames) {
    uploads.add(after: Self.delay(afterFailures: old.trouble?.failures ?? 1)) { [self] in
      if !removeAgain(old) { removeLater(old) }
    }
  }

  /// Another try.
  /// - Returns: whether it was the last.
  func removeAgain(_ old: OldNames) -> Bool {
    locks.withClaims([.tree(old.move.source)]) {
      guard oldNames.contains(old) else { return true }
      if let error = tryRemoving(old, nil) {
        guard !error.mayPass else { return false }
        _ = log.report("removing the old names of a renamed directory", error)
      }
      oldNames.remove(old)
      return true
    }
  }

  private func tryRemoving(_ old: OldNames, _ cancellation: Cancellation?) -> ObjectStoreError? {
    let move = old.move
    let isLater = old.trouble != nil
    do throws(ObjectStoreError) {
      try keepDirectory(move.parent, cancellation)
      // A file that a program is changing under its old name needs the object that it is a change of.
      let local = isLater ? localKeys(under: move.name, in: move.parent) : []
      let isGone = try removeCopied(
        below: markerKey(move.source), old.copied, isLater: isLater, sparing: local, cancellation)
      // Until now the bucket had something under the old name.
      if !isGone || isLater { tree.distrust(move.name, in: move.parent) }
    } catch {
      tree.distrust(move.name, in: move.parent)
      if error.mayPass {
        old.note(error, at: configuration.time.wall)
        log.warning(
          "a renamed directory still has objects under its old name; their removal is tried again",
          metadata: [
            "bucket": "\(store.bucket)", "from": "\(key(move.source))", "to": "\(key(move.destination))",
            "cause": "\(error)",
          ])
        return error
      }
      old.noted.map(end)
      return error
    }
    old.noted.map(end)
    return nil
  }

  /// The keys of files below a directory of which this machine has something that the bucket does not.
  private func localKeys(under name: FileName, in parent: InodeID) -> Set<ObjectKey> {
    guard let directory = tree.view(name, in: parent) else { return [] }
    return Set(tree.descendants(of: directory.id).filter(\.isLocal).compactMap(\.path).map(key))
  }

  /// Removes the objects of a directory that were copied to another name, as far as they are what was copied: what others
  /// have stored meanwhile came after the rename, and stays, with the directories that it is in.
  /// - Parameter isLater: the program has gone on meanwhile, and may have made directories of the old names. Else a marker
  ///   is what was copied also when its time is another: that of a real directory may change with what is in it.
  /// - Parameter local: files, in the bucket or not yet, that stay with the directories that they are in.
  /// - Returns: whether nothing is left.
  func removeCopied(
    below root: ObjectKey, _ copied: [ObjectKey: ListEntry], isLater: Bool = false,
    sparing local: Set<ObjectKey> = [], _ cancellation: Cancellation? = nil
  ) throws(ObjectStoreError) -> Bool {
    var (gone, stays, markers): ([ObjectKey], [ObjectKey], [ObjectKey]) = ([], [], [])
    for entry in try everything(below: root, cancellation) {
      let isMarker = entry.key.isMarker
      if !local.contains(entry.key), let original = copied[entry.key], original.etag == entry.etag,
        original.lastModified == entry.lastModified || (isMarker && !isLater)
      {
        if isMarker { markers.append(entry.key) } else { gone.append(entry.key) }
      } else {
        stays.append(entry.key)
      }
    }
    let kept = stays + local
    // A server that keeps real directories may have one there that no listing shows.
    if kept.isEmpty, !markers.contains(root) { markers.append(root) }
    let empty = markers.filter { marker in !kept.contains { $0.hasPrefix(marker.string) } }
    try deleteAll(gone + empty, cancellation)
    guard let first = stays.first else { return true }
    log.warning(
      "a directory was renamed while somebody else changed it; what they stored keeps its old name",
      metadata: ["bucket": "\(store.bucket)", "key": "\(first)", "objects": "\(stays.count)"])
    return false
  }

  // MARK: After a failure

  /// Takes away what a rename that failed has made, with claims on both names: the same command must find things as they
  /// were. What somebody else has stored there stays.
  /// - Parameter there: the marker of the empty directory that was to be replaced.
  func undo(_ move: Move, _ copies: TreeCopies, _ there: ObjectMetadata?, _ cancellation: Cancellation?) {
    let root = markerKey(move.destination)
    let begun = Dictionary(copies.entries.map { ($0.to, $0) }, uniquingKeysWith: { first, _ in first })
    do throws(ObjectStoreError) {
      let found = try everything(below: root, cancellation)
      let foreign = found.filter { $0.key != root && !(begun[$0.key]?.made($0) ?? false) }
      var made = Set(found.map(\.key)).subtracting(foreign.map(\.key))
      if there != nil || !foreign.isEmpty || !copies.hasRoot { made.remove(root) }
      try deleteAll(Array(made), cancellation)
      if let first = foreign.first {
        log.warning(
          "a directory could not be renamed; what is below the new name and is not known to be a copy of it stays",
          metadata: ["bucket": "\(store.bucket)", "key": "\(first.key)", "objects": "\(foreign.count)"])
      }
      if copies.hasRoot, let there {
        try putMarker(
          move.destination, PosixAttributes(there), isMarked: DirectoryMark.isSet(on: there),
          keeping: there.userMetadata, condition: .none, cancellation)
      }
    } catch {
      log.error(
        "a directory could not be renamed, and some copies stay under the new name",
        metadata: [
          "bucket": "\(store.bucket)", "from": "\(key(move.source))", "to": "\(key(move.destination))",
          "cause": "\(error)",
        ])
    }
  }

  // MARK: Both

  /// All objects whose keys start with that of a directory's marker.
  func everything(
    below prefix: ObjectKey, _ cancellation: Cancellation? = nil
  ) throws(ObjectStoreError) -> [ListEntry] {
    var entries: [ListEntry] = []
    var token: String?
    repeat {
      let page = try store.list(
        ListRequest(prefix: prefix.string, delimited: false, continuation: token), cancellation)
      entries += page.entries
      token = page.continuation
    } while token != nil
    return entries
  }

  /// Deletes objects; goes on after those that the server refuses, and throws why it refused the first of them.
  private func deleteAll(
    _ keys: [ObjectKey], _ cancellation: Cancellation? = nil
  ) throws(ObjectStoreError) {
    let perRequest = 1000
    // Markers last, the deepest first: a server that keeps real directories refuses to remove one that is not empty.
    let sorted = keys.filter { !$0.isMarker } + keys.filter { $0.isMarker }.sorted(by: >)
    var first: ObjectStoreError?
    for start in stride(from: 0, to: sorted.count, by: perRequest) {
      let refused = try store.deleteMany(
        Array(sorted[start..<min(start + perRequest, sorted.count)]), cancellation)
      first = first ?? refused.values.first { !$0.mayPass } ?? refused.values.first
    }
    if let first { throw first }
  }
}

extension ObjectStoreError {
  /// Whether the same request may succeed some time later, without anybody changing the bucket's rules or the mount.
  fileprivate var mayPass: Bool {
    switch code {
    case .accessDenied, .unsupported, .invalidRequest, .noSuchBucket, .wrongRegion, .nameTooLong: false
    default: true
    }
  }
}
