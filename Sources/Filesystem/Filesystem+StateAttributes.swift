import Basics
import Glibc
import Logging
import ObjectStore
public import SystemPackage
import WritePath

/// Extended attributes that show how a file does. They can be read by their names; they are not listed, and cannot be set
/// (docs/monitoring.md says why).
public enum StateAttribute: String, CaseIterable, Sendable {
  /// A `FileState`.
  case state = "user.waysfs.state"
  /// Tag of the object, as far as it is known.
  case etag = "user.waysfs.etag"
  /// Version id of the object in a versioned bucket; asks the server.
  case version = "user.waysfs.version"
  /// Storage class of the object; asks the server.
  case storageClass = "user.waysfs.storage_class"
  /// Bytes that can be read without the server.
  case cached = "user.waysfs.cached"
  /// Why the file is in the state `failed` or `conflict`.
  case error = "user.waysfs.error"
}

extension Filesystem {
  /// getxattr(2) of a `StateAttribute`; ENODATA when the file has none of that name.
  public func extendedAttribute(
    _ inode: InodeID, _ name: String, _ context: CallContext
  ) throws(Errno) -> String {
    guard let attribute = StateAttribute(rawValue: name) else { throw .noSuchAttribute }
    let view = try knownFile(inode, context)
    let value: String?
    switch attribute {
    case .state: value = standing(of: view).state.rawValue
    case .error: value = standing(of: view).error
    case .etag: value = (view.content?.objectVersion ?? view.version?.etag)?.value
    case .cached: value = "\(cachedBytes(of: view))"
    case .version: value = try metadata(of: view, context).versionID
    // S3 leaves the header out for its standard class.
    case .storageClass: value = try metadata(of: view, context).storageClass ?? "STANDARD"
    }
    guard let value else { throw .noSuchAttribute }
    return value
  }

  /// What is known of a file, asked for anew as stat(2) does when it is not believed any more.
  private func knownFile(_ inode: InodeID, _ context: CallContext) throws(Errno) -> NodeView {
    guard let view = tree.view(inode) else { throw .staleNFSFileHandle }
    guard view.type == .file else { throw .noSuchAttribute }
    guard !view.isFresh, !view.isLocal, view.path != nil else { return view }
    _ = try getAttributes(inode, nil, context)
    guard let view = tree.view(inode), view.type == .file else { throw .staleNFSFileHandle }
    return view
  }

  private func standing(of view: NodeView) -> (state: FileState, error: String?) {
    if let upload = view.content.flatMap({ upload(view, $0) }) { return (upload.state, upload.trouble?.reason) }
    guard let path = view.path else { return (.clean, nil) }
    let key = key(path)
    if let group = leftBook.all.first(where: { $0.key == key }), let left = group.first {
      let trouble = group.withState { $0.trouble }
      let isUnderWay = left.staged.progress.isUnderWay
      return (isUnderWay ? .uploading : trouble == nil ? .dirty : .failed, trouble?.reason)
    }
    if leftBook.isInConflict(key) {
      return (.conflict, "somebody else replaced the object; a change of it is kept: see waysfs recover")
    }
    if handles.files(of: view.id).contains(where: \.isDisowned) || ConflictName.isOne(view.name.string) {
      return (.conflict, "somebody else changed the object first; both versions are kept")
    }
    return (.clean, nil)
  }

  /// What is being written is here; otherwise what the caches have of the version that is known.
  private func cachedBytes(of view: NodeView) -> UInt64 {
    if let staged = view.content?.staged { return staged.presentBytes }
    guard let path = view.path, let version = view.content?.version ?? view.version else { return 0 }
    return readPath.cachedBytes(key: key(path), etag: version.etag, size: version.size)
  }

  private func metadata(of view: NodeView, _ context: CallContext) throws(Errno) -> ObjectMetadata {
    guard let path = view.path, view.version != nil || view.content?.mayHaveObject == true else {
      throw .noSuchAttribute
    }
    do throws(ObjectStoreError) {
      return try store.head(key(path), context.cancellation)
    } catch {
      if error.code == .notFound { throw .noSuchAttribute }
      throw log.report("getxattr", error)
    }
  }
}

extension Errno {
  /// What getxattr(2) says of a file without that attribute.
  static var noSuchAttribute: Errno { Errno(rawValue: Glibc.ENODATA) }
}
