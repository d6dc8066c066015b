import Basics
import Logging
import ObjectStore
import SystemPackage
import WritePath

/// Marking directories whose objects carry attributes (docs/decisions/0009-attributes-marking.md).
///
/// A directory is marked before the first object with attributes gets into it: whoever lists it afterwards asks for them,
/// and a crash in between leaves a mark too many, never one too few.
extension Filesystem {
  /// Sees to it that a directory is marked. To be called with a claim on something below it, so that the directory
  /// neither goes nor moves meanwhile.
  func ensureMarked(_ directory: InodeID?, _ cancellation: Cancellation?) throws(ObjectStoreError) {
    guard configuration.attributes != .never, let directory, !tree.isMarked(directory),
      let path = tree.view(directory)?.path
    else { return }
    try mark(path, cancellation)
    tree.marked(directory)
  }

  /// The same for a key, with or without an inode.
  func ensureMarked(above key: ObjectKey) throws(ObjectStoreError) {
    guard configuration.attributes != .never else { return }
    let names = path(key).utf8
    let above = names.lastIndex(of: UInt8(ascii: "/")).flatMap { String(names[..<$0]) } ?? ""
    try mark(above, nil)
  }

  /// Marks a directory in the background when a file in it is about to be written: its close finds it marked. Left to the
  /// close when something else is going on there.
  func markEarly(_ directory: InodeID?) {
    guard configuration.probesEarly, configuration.attributes != .never, let directory, !tree.isMarked(directory) else {
      return
    }
    staging.workers.submit { [self] in
      guard let path = tree.view(directory)?.path else { return }
      // A claim of something below it that is no file, and only when it is free: who waits for a claim may have to wait
      // for an upload, and that for this worker.
      locks.withFreeClaims([.one("\(path)/")]) {
        guard let now = tree.view(directory)?.path, now.utf8.elementsEqual(path.utf8) else { return }
        _ = try? ensureMarked(directory, nil)
      }
    }
  }

  private func mark(_ path: String, _ cancellation: Cancellation?) throws(ObjectStoreError) {
    // Somebody else may make the marker in the same moment, marked or not.
    let attempts = 3
    try markers.withClaims([.one(path)], cancellation, orThrow: .interrupted) { () throws(ObjectStoreError) in
      for attempt in 1...attempts {
        let present = try marked(path, cancellation)
        if present?.isMarked ?? false { return }
        do throws(ObjectStoreError) {
          return try putMark(path, present?.metadata, cancellation)
        } catch {
          guard [.preconditionFailed, .conflict, .notFound].contains(error.code) else { throw error }
          guard attempt < attempts else { throw Self.ofMarker(error) }
        }
      }
    }
  }

  /// What a marker meets says nothing about the file for whose sake the directory is marked.
  private static func ofMarker(_ error: ObjectStoreError) -> ObjectStoreError {
    var error = error
    error.code = .serverError
    return error
  }

  private func marked(
    _ path: String, _ cancellation: Cancellation?
  ) throws(ObjectStoreError) -> (metadata: ObjectMetadata, isMarked: Bool)? {
    do throws(ObjectStoreError) {
      let key = directorySource.markKey(path)
      let found = try store.head(key, cancellation)
      return (found, markerKey(path).string.isEmpty || DirectoryMark.isSet(on: found))
    } catch {
      guard error.code == .notFound else { throw error }
      return nil
    }
  }

  private func putMark(
    _ path: String, _ present: ObjectMetadata?, _ cancellation: Cancellation?
  ) throws(ObjectStoreError) {
    guard !markerKey(path).string.isEmpty else {
      let attributes = ObjectAttributes(userMetadata: [DirectoryMark.field: "1"])
      try store.put(
        PutRequest(ObjectKey(DirectoryMark.rootName), body: .bytes([]), attributes: attributes), cancellation)
      return
    }
    try putMarker(
      path, present.map { PosixAttributes($0) } ?? PosixAttributes(), isMarked: true, replacing: present,
      condition: present == nil ? .ifAbsent : .none, cancellation)
  }

  /// Stores a directory's marker. One that has bytes, which no tool makes but anybody may, keeps them.
  /// - Parameters:
  ///   - present: the marker that is there.
  ///   - foreign: metadata headers that are no attributes of ours; those of `present` are kept without being named.
  func putMarker(
    _ path: String, _ posix: PosixAttributes, isMarked: Bool, replacing present: ObjectMetadata? = nil,
    keeping foreign: [String: String] = [:], condition: WriteCondition, _ cancellation: Cancellation?
  ) throws(ObjectStoreError) {
    let key = markerKey(path)
    let attributes = posix.markerAttributes(keeping: present?.userMetadata ?? foreign, isMarked: isMarked)
    if let present, present.size > 0 {
      _ = try ServerSideCopy.copy(
        from: key, to: key, size: present.size, etag: present.etag, attributes: attributes,
        storageClass: present.storageClass, in: store, cancellation)
    } else {
      try store.put(PutRequest(key, body: .bytes([]), attributes: attributes, condition: condition), cancellation)
    }
  }

  /// Whether this mount marks the directories that it makes.
  var marksNewDirectories: Bool { configuration.attributes != .never }
}
