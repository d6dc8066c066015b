import Basics
import Logging
import ObjectStore
public import SystemPackage
import WritePath

/// chmod, chown, truncate and utimensat.
extension Filesystem {
  /// Changes attributes. Those of a file that is being written go with its upload; others are set by a copy in place,
  /// and what cannot be kept is an error.
  public func setAttributes(
    _ inode: InodeID, _ changes: AttributeChanges, _ handle: HandleID?, _ context: CallContext
  ) throws(Errno) -> AttributeReply {
    try requireWritable()
    guard tree.view(inode) != nil else { throw .staleNFSFileHandle }
    try requireKeepable(changes, of: inode)
    if let size = changes.size { try resize(inode, to: size, handle, context) }
    if changes.changesPosix, configuration.attributes != .never {
      while true {
        guard let view = tree.view(inode) else { throw .staleNFSFileHandle }
        guard let path = view.path else {
          // Nothing will carry them to the bucket.
          if passthrough.passedVersion(of: inode) != nil { throw .staleNFSFileHandle }
          setPending(view, view.posix.applying(changes, now: configuration.time.wall), changes)
          break
        }
        let isDone = try locks.withClaims([.one(path)], context.cancellation, orThrow: .interrupted) {
          () throws(Errno) in
          guard let view = tree.view(inode), let current = view.path, current.utf8.elementsEqual(path.utf8) else {
            return false
          }
          try setPosix(view, path, changes, context)
          return true
        }
        if isDone { break }
      }
    }
    guard let view = tree.view(inode) else { throw .staleNFSFileHandle }
    return reply(view)
  }

  /// With `--attributes never` nothing is kept that a listing does not show, and nobody is told that it was.
  private func requireKeepable(_ changes: AttributeChanges, of inode: InodeID) throws(Errno) {
    guard configuration.attributes == .never, let view = tree.view(inode) else { return }
    var rest = changes
    // What is being written gets the time of its upload.
    if rest.size != nil || view.isLocal {
      if rest.modified == .now { rest.modified = nil }
      if rest.accessed == .now { rest.accessed = nil }
    }
    guard !rest.isMet(by: view.attributes) else { return }
    throw log.report(
      "setting attributes",
      ObjectStoreError(.unsupported, "this mount keeps no attributes (--attributes never)", bucket: store.bucket))
  }

  private func resize(
    _ inode: InodeID, to size: UInt64, _ handle: HandleID?, _ context: CallContext
  ) throws(Errno) {
    if let file = handle.flatMap({ handles.file($0) }), file.mode.writes {
      return try truncate(file, to: size)
    }
    // truncate(2): nobody will close the file, so this call must bring it into the bucket.
    let opened = try open(inode, OpenMode(reads: false, writes: true), context)
    defer { release(opened.handle) }
    guard let file = handles.file(opened.handle) else { throw .badFileDescriptor }
    try truncate(file, to: size)
    try commit(inode, file.content)
  }

  private func setPosix(
    _ view: NodeView, _ path: String, _ changes: AttributeChanges, _ context: CallContext
  ) throws(Errno) {
    if view.isLocal { return setPending(view, view.posix.applying(changes, now: configuration.time.wall), changes) }
    do throws(ObjectStoreError) {
      try ensureMarked(view.parent, context.cancellation)
      if view.type == .directory {
        try setMarker(view, path, changes, context.cancellation)
      } else {
        try setInPlace(view, path, changes, context.cancellation)
      }
    } catch {
      throw log.report("setting attributes", error)
    }
  }

  /// For a file whose next upload takes them along.
  private func setPending(_ view: NodeView, _ posix: PosixAttributes, _ changes: AttributeChanges) {
    _ = tree.update(view.id) { $0.posix = posix }
    view.content?.withState { state in
      state.attributesPending = true
      if changes.modified != nil {
        state.modified = posix.modified
        state.timeIsExplicit = true
      }
    }
    naming.shared { rewriteRecord(of: view.id) }
  }

  // MARK: Files and links

  private func setInPlace(
    _ view: NodeView, _ path: String, _ changes: AttributeChanges, _ cancellation: Cancellation?
  ) throws(ObjectStoreError) {
    // Asked anew: the copy replaces all headers, and one that somebody else has set must not get lost.
    let metadata = try store.head(key(path), cancellation)
    let present = PosixAttributes(metadata)
    let posix = present.applying(changes, now: configuration.time.wall)
    guard !posix.isSame(as: present) else { return }
    let type = present.type ?? view.type
    let attributes = ObjectAttributes(
      contentType: metadata.contentType, headers: metadata.headers,
      userMetadata: posix.userMetadata(type: type, keeping: metadata.userMetadata))
    let version = try move(view, FileVersion(metadata), to: key(path)) { () throws(ObjectStoreError) in
      try ServerSideCopy.copy(
        from: key(path), to: key(path), size: metadata.size, etag: metadata.etag, attributes: attributes,
        storageClass: metadata.storageClass, in: store, cancellation
      ).etag
    }
    tree.committed(view.id, version, posix: posix)
  }

  /// Has the server copy a file, and leads whoever has it open to the copy.
  /// - Returns: the version the copy is.
  func move(
    _ view: NodeView, _ version: FileVersion, to key: ObjectKey, _ copy: () throws(ObjectStoreError) -> ETag
  ) throws(ObjectStoreError) -> FileVersion {
    let moving = handles.files(of: view.id).compactMap { $0.prepareMove(from: version.etag) }
    do throws(ObjectStoreError) {
      var moved = version
      moved.etag = try copy()
      moved.lastModified = configuration.time.wall
      adopt(moved, view, key, from: version.etag)
      // Those whose handle was closed meanwhile, too: other readers may wait for the end of the move.
      for reader in moving { reader.relocate(to: key, etag: moved.etag) }
      return moved
    } catch {
      for reader in moving { reader.cancelRelocation() }
      throw error
    }
  }

  /// The same bytes have another tag, and perhaps another key: whoever has them open goes on there.
  func adopt(_ version: FileVersion, _ view: NodeView, _ key: ObjectKey, from old: ETag) {
    let staged = tree.relocated(view.id, view.content, from: old, to: version)
    staged?.relocate(to: key, etag: version.etag)
    passthrough.relocated(view.id, from: old, to: version.etag)
    for handle in handles.files(of: view.id) { handle.relocate(to: key, from: old, to: version.etag) }
  }

  // MARK: Directories

  private func setMarker(
    _ view: NodeView, _ path: String, _ changes: AttributeChanges, _ cancellation: Cancellation?
  ) throws(ObjectStoreError) {
    guard !markerKey(path).string.isEmpty else {
      // cp -p, tar and rsync set what is so already.
      guard !changes.isMet(by: view.attributes) else { return }
      throw ObjectStoreError(
        .unsupported, "the root of a bucket has no object that could keep attributes", bucket: store.bucket)
    }
    let stored: (posix: PosixAttributes, isMarked: Bool)? = try markers.withClaims(
      [.one(path)], cancellation, orThrow: .interrupted
    ) { () throws(ObjectStoreError) in
      let marker = try marker(path, cancellation)
      let present = marker.map { PosixAttributes($0) } ?? PosixAttributes()
      let posix = present.applying(changes, now: configuration.time.wall)
      guard marker == nil || !posix.isSame(as: present) else { return nil }
      let isMarked = tree.isMarked(view.id) || marker.map { DirectoryMark.isSet(on: $0) } ?? false
      try putMarker(path, posix, isMarked: isMarked, replacing: marker, condition: .none, cancellation)
      return (posix, isMarked)
    }
    guard let stored else { return }
    try requireKept(path, stored.posix, cancellation)
    tree.markerWritten(view.id, posix: stored.posix, isMarked: stored.isMarked)
  }

  /// Some servers lose what a marker carries; nobody is told that it was kept.
  private func requireKept(
    _ path: String, _ posix: PosixAttributes, _ cancellation: Cancellation?
  ) throws(ObjectStoreError) {
    if markersKeepAttributes.isKnown { return }
    guard let stored = try marker(path, cancellation), PosixAttributes(stored).isSame(as: posix) else {
      throw ObjectStoreError(
        .unsupported, "this server does not keep attributes of directories", bucket: store.bucket,
        key: markerKey(path))
    }
    markersKeepAttributes.note()
  }
}

extension AttributeChanges {
  /// Whether something other than the length changes.
  var changesPosix: Bool { mode != nil || uid != nil || gid != nil || accessed != nil || modified != nil }

  /// Whether it asks for nothing but the mode and owner that are there already.
  func isMet(by attributes: FileAttributes) -> Bool {
    accessed == nil && modified == nil && (mode ?? attributes.mode) & 0o7777 == attributes.mode & 0o7777
      && (uid ?? attributes.uid) == attributes.uid && (gid ?? attributes.gid) == attributes.gid
  }
}

extension PosixAttributes {
  func applying(_ changes: AttributeChanges, now: Timestamp) -> PosixAttributes {
    var result = self
    if let mode = changes.mode { result.permissions = mode & 0o7777 }
    if let uid = changes.uid { result.uid = uid }
    if let gid = changes.gid { result.gid = gid }
    if changes.uid != nil || changes.gid != nil, changes.mode == nil, type != .directory {
      result.permissions = result.permissions.map(Self.withoutPrivileges)
    }
    if let time = changes.modified { result.modified = time.resolved(now) }
    if let time = changes.accessed { result.accessed = time.resolved(now) }
    result.changed = now
    return result
  }

  /// Whether nothing but the time of change differs.
  func isSame(as other: PosixAttributes) -> Bool {
    var (left, right) = (self, other)
    (left.changed, right.changed) = (nil, nil)
    (left.type, right.type) = (nil, nil)
    return left == right
  }
}

extension AttributeChanges.Time {
  fileprivate func resolved(_ now: Timestamp) -> Timestamp {
    switch self {
    case .now: now
    case .at(let time): time
    }
  }
}
