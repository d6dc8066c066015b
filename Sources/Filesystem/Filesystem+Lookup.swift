import Basics
import Logging
import ObjectStore
public import SystemPackage

/// Finding names and keeping attributes up to date.
extension Filesystem {
  /// Asks again when this mount changed the name while the bucket was asked; more often means a name that is being
  /// hammered, and any of the answers was right at some moment.
  private static let lookupAttempts = 8

  /// Finds a name.
  public func lookup(_ parent: InodeID, _ name: FileName, _ context: CallContext) throws(Errno) -> EntryReply {
    guard name.string.utf8.count <= NameRules.longestName else { throw .fileNameTooLong }
    if isReserved(name, in: parent) { return tree.absentEntry(until: 0, now: tree.now) }
    var mayWait = true
    for _ in 0..<Self.lookupAttempts {
      let start = tree.now
      switch tree.known(name, in: parent) {
      case .gone: throw .noSuchFileOrDirectory
      case .answer(let entry): return entry
      case .ask(_, nil) where mayWait && listsAhead(parent, context.cancellation): mayWait = false
      case .ask(let path, let hint):
        defer { if hint == nil, mayWait { tree.noteAnswered(in: parent) } }
        let remote = try remoteEntry(path, hint: hint, context.cancellation)
        // On its way to another name perhaps, where the kernel takes along what it believes.
        if remote == nil, locks.holdTree(above: path) { return tree.absentEntry(until: 0, now: tree.now) }
        if let entry = tree.merge(name, in: parent, remote, askedAt: start) { return entry }
      }
    }
    throw .resourceBusy
  }

  /// What the bucket has under a path. Unreachable is an error, never "not there".
  /// - Parameter hint: what it must be if it is there, which saves asking for the other.
  func remoteEntry(
    _ path: String, hint: RemoteKind? = nil, _ cancellation: Cancellation?
  ) throws(Errno) -> RemoteEntry? {
    guard configuration.prefix.utf8.count + path.utf8.count < NameRules.longestKey else { return nil }
    do throws(ObjectStoreError) {
      if let hint { return try confirm(hint, path, cancellation) }
      let object = OneShot<Result<ObjectMetadata, ObjectStoreError>>()
      store.head(key(path), cancellation) { object.fulfil($0) }
      let below = try store.listSome(
        ListRequest(prefix: markerKey(path).string, delimited: false, limit: 1), cancellation)
      let answer = object.wait()
      if !below.entries.isEmpty || !below.prefixes.isEmpty {
        if case .success = answer { noticeHidden(path) }
        // The marker is the shortest key of all, so it comes first, also where the order is not that of the bytes.
        let hasMarker = below.entries.first?.key == markerKey(path)
        return .directory(marker: hasMarker ? try marker(path, cancellation) : nil)
      }
      return .file(try answer.get())
    } catch {
      if error.code == .notFound { return nil }
      throw log.report("lookup", error)
    }
  }

  private func confirm(
    _ hint: RemoteKind, _ path: String, _ cancellation: Cancellation?
  ) throws(ObjectStoreError) -> RemoteEntry? {
    if case .directory = hint { return .directory(marker: try marker(path, cancellation)) }
    return .file(try store.head(key(path), cancellation))
  }

  /// A directory's marker; nil where there is none.
  func marker(_ path: String, _ cancellation: Cancellation?) throws(ObjectStoreError) -> ObjectMetadata? {
    let key = markerKey(path)
    guard !key.string.isEmpty else { return nil }
    do throws(ObjectStoreError) {
      return try store.head(key, cancellation)
    } catch {
      guard error.code == .notFound else { throw error }
      return nil
    }
  }

  /// `a` beside `a/b`: the directory is shown, the object is left alone (docs/semantics.md, "Names").
  func noticeHidden(_ path: String) {
    guard notices.isNew("hidden:\(path)") else { return }
    log.warning(
      "an object is hidden by a directory of the same name",
      metadata: ["bucket": "\(store.bucket)", "key": "\(key(path))"])
  }

  /// A key that cannot be a file name is passed over, with one message.
  func noticeUnshowable(_ key: ObjectKey) {
    guard notices.isNew("name:\(key)") else { return }
    log.warning(
      "an object is not shown: its key has a part that cannot be a file name",
      metadata: ["bucket": "\(store.bucket)", "key": "\(key.string.debugDescription)"])
  }

  /// stat(2).
  public func getAttributes(
    _ inode: InodeID, _ handle: HandleID?, _ context: CallContext
  ) throws(Errno) -> AttributeReply {
    guard let view = tree.view(inode) else { throw .staleNFSFileHandle }
    if view.isFresh || view.isLocal { return reply(view) }
    guard let path = view.path else {
      // Unlinked, or taken away by somebody else, and still open.
      if view.content != nil { return reply(view) }
      // By its path it may be another file now: the kernel looks the name up again.
      throw .staleNFSFileHandle
    }
    let found = try refresh(view, path, context.cancellation)
    if found == .present, let view = tree.view(inode) { return reply(view) }
    if handle != nil { return reply(view) }
    // What has taken the place of a file is for the next lookup to find.
    throw found == .replaced ? .staleNFSFileHandle : .noSuchFileOrDirectory
  }

  /// Asks the bucket about an inode, again when it was moved meanwhile.
  func refresh(_ view: NodeView, _ path: String, _ cancellation: Cancellation?) throws(Errno) -> Refreshed {
    let start = tree.now
    if path.isEmpty { return try refreshRoot(cancellation, start) }
    let hint: RemoteKind? = view.type == .directory ? nil : .object
    let remote = try remoteEntry(path, hint: hint, cancellation)
    let found = tree.refresh(view.id, remote, askedAt: start)
    guard found == .moved else { return found }
    guard let moved = tree.view(view.id), let newPath = moved.path else { return .gone }
    return try refresh(moved, newPath, cancellation)
  }

  private func refreshRoot(_ cancellation: Cancellation?, _ start: UInt64) throws(Errno) -> Refreshed {
    do throws(ObjectStoreError) {
      let marker = try marker("", cancellation)
      return tree.refresh(.root, marker.map { .directory(marker: $0) } ?? .listedDirectory, askedAt: start)
    } catch {
      throw log.report("stat", error)
    }
  }

  func reply(_ view: NodeView) -> AttributeReply {
    _ = tree.update(view.id) { $0.shownVersion = view.shownVersion }
    return AttributeReply(attributes: view.attributes, lifetime: view.lifetime)
  }

  /// readlink(2).
  public func readLink(_ inode: InodeID, _ context: CallContext) throws(Errno) -> String {
    let (view, path) = try existing(inode)
    guard view.type == .link else { throw .invalidArgument }
    if let target = view.target, view.isFresh { return target }
    do throws(ObjectStoreError) {
      let longest: UInt64 = 4096
      let answer = try store.get(
        GetRequest(key(path), range: ByteRange(offset: 0, length: longest)), context.cancellation)
      guard answer.metadata.size < longest, !answer.bytes.isEmpty, !answer.bytes.contains(0),
        let target = String(validating: answer.bytes, as: UTF8.self)
      else { throw ObjectStoreError(.corruptResponse, "this is no link target", key: key(path)) }
      let etag = answer.metadata.etag
      _ = tree.update(inode) { $0.target = (target, etag) }
      return target
    } catch {
      throw log.report("readlink", error)
    }
  }
}
