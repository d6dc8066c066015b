import BlockCache
import ObjectStore
import SystemPackage

/// Files that the kernel reads by itself.
extension Filesystem {
  /// Lets the kernel read files that are whole on this machine. Call it before the first open.
  ///
  /// A program that has such a file open reads the version it has opened until it closes it, whatever this mount or
  /// anybody else does to the name meanwhile: the kernel cannot be told otherwise.
  public func attach(_ kernel: any KernelPassthrough, _ source: any BackingFileSource) {
    passthrough.enable(kernel, source)
  }

  /// A file that the kernel reads by itself keeps its version; who wants more than to read that gets another inode.
  func requireCommonVersion(_ inode: InodeID, _ path: String, _ mode: OpenMode) throws(Errno) {
    guard let passed = passthrough.passedVersion(of: inode) else { return }
    guard mode.onlyReads, tree.view(inode)?.version?.etag == passed else { throw setApart(inode, path) }
  }

  /// Makes the name lead to another inode.
  /// - Returns: ESTALE, for which the kernel looks the name up again and opens what it finds.
  func setApart(_ inode: InodeID, _ path: String) -> Errno {
    passthrough.avoid(path, now: tree.now)
    tree.setApart(inode)
    return .staleNFSFileHandle
  }

  /// How a file is opened.
  func admit(
    _ inode: InodeID, _ path: String, _ content: FileContent, _ mode: OpenMode
  ) -> PassthroughTable.Admission {
    let version = content.withState { state in
      mode.onlyReads && state.staged == nil && !state.attributesPending ? state.version : nil
    }
    let object = version.map { ObjectVersion(bucket: store.bucket, key: key(path), etag: $0.etag) }
    return passthrough.admit(inode, path, object, size: version?.size ?? 0, now: tree.now)
  }
}

extension OpenMode {
  fileprivate var onlyReads: Bool { reads && !writes && !truncates }
}
