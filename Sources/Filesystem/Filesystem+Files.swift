public import Basics
import Logging
import ObjectStore
import ReadPath
public import SystemPackage
import WritePath

/// Opening, reading and writing files.
extension Filesystem {
  /// open(2): what is read from now on is the version the bucket has now.
  public func open(_ inode: InodeID, _ mode: OpenMode, _ context: CallContext) throws(Errno) -> OpenReply {
    if mode.changes { try requireWritable() }
    // Another file has just taken the name (rename), or it is gone: ESTALE makes the kernel look the name up again.
    guard let view = tree.view(inode), let path = view.path else { throw .staleNFSFileHandle }
    switch view.type {
    case .directory: throw .isDirectory
    case .link: throw .tooManySymbolicLinkLevels
    case .file: break
    }
    // Who replaces an object keeps what it carries.
    let isKnown = view.isFresh && (view.attributesKnown || !mode.changes)
    if !isKnown, !view.isLocal {
      switch try refresh(view, path, context.cancellation) {
      case .present, .moved: break
      case .gone: throw .noSuchFileOrDirectory
      // The name is there: the kernel looks it up again and opens what it stands for now.
      case .replaced: throw .staleNFSFileHandle
      }
    }
    try requireCommonVersion(inode, path, mode)
    let renewed = tree.renew(inode)
    renewed.outdated.map(discard)
    // The kernel would cut this version to the length of the one it was told of before, which it believes for as long as
    // we said, and some ticks. ESTALE makes it look the name up and open it once more.
    guard renewed.isShown || configuration.metadataLifetime <= 0 else { throw .staleNFSFileHandle }
    guard let opened = tree.open(inode) else {
      // Waits for the unlink or rename that takes the name; when that fails, the file is what it was.
      try locks.withClaims([.one(path)], context.cancellation, orThrow: .interrupted) { () throws(Errno) in }
      return try open(inode, mode, context)
    }
    opened.outdated.map(discard)
    let admission = admit(inode, path, opened.content, mode)
    let handle = FileHandle(
      inode: inode, content: opened.content, mode: mode, epoch: opened.epoch, admission: admission)
    if admission == .refused {
      close(handle)
      throw setApart(inode, path)
    }
    if mode.truncates {
      do throws(Errno) {
        try truncate(handle, to: 0)
      } catch {
        close(handle)
        throw error
      }
    }
    guard case .passed(let backing) = admission else {
      return OpenReply(handle: handles.add(handle), keepCache: opened.keepsPages && !mode.truncates)
    }
    return OpenReply(handle: handles.add(handle), keepCache: false, backing: backing)
  }

  /// open(2) with O_CREAT: the object comes to be at the first close, with If-None-Match; with O_EXCL at once, so that
  /// of several machines one gets the name.
  public func create(
    _ parent: InodeID, _ name: FileName, permissions: UInt32, _ mode: OpenMode, _ context: CallContext
  ) throws(Errno) -> (entry: EntryReply, open: OpenReply) {
    _ = try newPath(name, in: parent)
    let (entry, content) =
      mode.exclusive
      ? try insertExclusively(parent, name, permissions: permissions, context)
      : try insertFile(parent, name, newFile(permissions, context), version: nil)
    guard let inode = entry.inode else { throw .staleNFSFileHandle }
    content.withState { $0.opens += 1 }
    // An inode of its own, that nobody has open yet.
    let admission = passthrough.admit(inode, "", nil, size: 0, now: tree.now)
    let handle = FileHandle(inode: inode, content: content, mode: mode, epoch: 0, admission: admission)
    return (entry, OpenReply(handle: handles.add(handle), keepCache: true))
  }

  private func newFile(_ permissions: UInt32, _ context: CallContext) -> PosixAttributes {
    var posix = PosixAttributes()
    posix.type = .file
    guard configuration.attributes != .never else { return posix }
    posix.permissions = permissions & 0o7777
    posix.uid = context.uid
    posix.gid = context.gid
    return posix
  }

  /// A new file whose empty object is made first.
  func insertExclusively(
    _ parent: InodeID, _ name: FileName, permissions: UInt32, _ context: CallContext
  ) throws(Errno) -> (EntryReply, FileContent) {
    try claiming(name, in: parent, context) { path throws(Errno) in
      if let known = tree.view(name, in: parent), known.isLocal { throw .fileExists }
      // The object is asked for by making it; a directory of that name must be asked for.
      if !tree.knowsAbsent(name, in: parent) { try requireFree(path, name, in: parent, context) }
      var posix = newFile(permissions, context)
      if configuration.attributes != .never {
        posix.modified = configuration.time.wall
        posix.changed = posix.modified
      }
      let attributes = ObjectAttributes(userMetadata: posix.userMetadata(type: .file))
      let version: FileVersion
      do throws(ObjectStoreError) {
        try ensureMarked(parent, context.cancellation)
        try conditions.admit(key(path), .ifAbsent, completesUpload: false, context.cancellation)
        let request = PutRequest(key(path), body: .bytes([]), attributes: attributes, condition: .ifAbsent)
        let result = try store.put(request, context.cancellation)
        version = FileVersion(etag: result.etag, size: 0, lastModified: configuration.time.wall)
      } catch {
        tree.distrust(name, in: parent)
        if error.code == .preconditionFailed { throw .fileExists }
        throw log.report("create", error)
      }
      return try insertFile(parent, name, posix, version: version)
    }
  }

  /// A new, empty file.
  /// - Parameter version: the empty object that was made for it; nil when the bucket does not have it yet.
  private func insertFile(
    _ parent: InodeID, _ name: FileName, _ posix: PosixAttributes, version: FileVersion?
  ) throws(Errno) -> (EntryReply, FileContent) {
    let content = FileContent(version: version)
    let base = try version.map { version throws(Errno) in
      StagingBase(key: key(try newPath(name, in: parent)), etag: version.etag, size: 0)
    }
    markEarly(parent)
    let staged = try stage(base, for: content)
    content.withState { state in
      state.staged = staged
      state.isPlaceholder = version != nil
      if version == nil { state.modified = configuration.time.wall }
    }
    let entry = tree.insert(
      name, in: parent, type: .file, posix: posix, content: content, version: version)
    guard let entry, let inode = entry.inode else {
      discard(staged)
      throw .noSuchFileOrDirectory
    }
    content.withState { $0.inode = inode }
    return (entry, content)
  }

  /// A place in the journal for a file's bytes.
  func stage(_ base: StagingBase?, for content: FileContent) throws(Errno) -> StagedFile {
    guard let journal else { throw .readOnlyFileSystem }
    if configuration.probesEarly { conditions.prepare(on: staging.workers) }
    let entry: JournalEntry
    do throws(Errno) {
      entry = try journal.makeEntry()
    } catch {
      log.error("cannot stage a file", metadata: ["directory": "\(journal.directory)", "cause": "\(error)"])
      throw error
    }
    return StagedFile(entry: entry, base: base, context: staging) { [weak self, weak content] in
      guard let self, let content else { return nil }
      return self.streamTarget(of: content)
    }
  }

  /// Removes the local bytes of a file that nobody needs. What was closed before a write failed is still needed, and what
  /// the disk may have lost is for a person to look at.
  func discard(_ staged: StagedFile) {
    guard staged.failure != nil, staged.isRecorded || staged.hasLostBytes else { return staged.discard() }
    let lostBytes = staged.hasLostBytes
    let pending = staged.setAside()
    if lostBytes {
      log.error(
        "the disk of the journal lost bytes that were written; what is there of the file is kept",
        metadata: ["kept": "\(journal?.directory.string ?? "")"])
    }
    guard let pending else { return }
    log.error(
      "the version that was closed before a write failed is kept, and sent",
      metadata: ["kept": "\(journal?.directory.string ?? "")"])
    sendClosed(pending)
  }

  private func openFile(_ id: HandleID) throws(Errno) -> FileHandle {
    guard let handle = handles.file(id) else { throw .badFileDescriptor }
    return handle
  }

  // MARK: Reading

  /// read(2).
  public func read(
    _ handle: HandleID, offset: UInt64, count: Int, _ context: CallContext,
    _ completion: @escaping Completion<ReadBuffers, Errno>
  ) {
    guard let file = handles.file(handle) else { return completion(.failure(.badFileDescriptor)) }
    let (staged, version, epoch) = file.content.withState { ($0.staged, $0.version, $0.epoch) }
    guard epoch == file.epoch else {
      log.notice("the object was changed by somebody else while it was open", metadata: ["inode": "\(file.inode)"])
      return completion(.failure(.staleNFSFileHandle))
    }
    if let staged, !staged.isUntouched(offset: offset, count: count) || version == nil || offset >= staged.size {
      return readStaged(staged, file, offset, count, context, completion)
    }
    guard let version else { return completion(.success(ReadBuffers([]))) }
    let limit = staged.map { Int(clamping: $0.size - min($0.size, offset)) } ?? count
    readObject(file, version, offset, min(count, limit), context, completion)
  }

  private func readObject(
    _ file: FileHandle, _ version: FileVersion, _ offset: UInt64, _ count: Int, _ context: CallContext,
    _ completion: @escaping Completion<ReadBuffers, Errno>
  ) {
    let reader = file.reader(for: version) {
      tree.view(file.inode)?.path.map { readPath.open(key: key($0), etag: version.etag, size: version.size) }
    }
    guard let reader else { return completion(.failure(.staleNFSFileHandle)) }
    reader.read(offset: offset, count: count, context.cancellation) { result in
      switch result {
      case .success(let slices): completion(.success(ReadBuffers(slices.buffers)))
      case .failure(let error):
        let errno = self.failures.report("read", error)
        guard error.code == .notFound || error.code == .preconditionFailed else {
          return completion(.failure(errno))
        }
        // The version is gone. Whoever opens the file again must get the one that is there now, however long what is
        // known here would be believed.
        self.tree.distrust(file.inode)
        self.kernelCache?.invalidate(file.inode)
        completion(.failure(.staleNFSFileHandle))
      }
    }
  }

  /// Reads what is being written; what was not touched comes from the bucket into the staging file first.
  private func readStaged(
    _ staged: StagedFile, _ file: FileHandle, _ offset: UInt64, _ count: Int, _ context: CallContext,
    _ completion: @escaping Completion<ReadBuffers, Errno>
  ) {
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: count, alignment: 4096)
    defer { buffer.deallocate() }
    do throws(WriteError) {
      var done = try staged.read(into: buffer, at: offset)
      if done == nil {
        try staged.fill(offset..<offset + UInt64(count), context.cancellation)
        done = try staged.read(into: buffer, at: offset)
      }
      guard let done else { throw .staging(.ioError) }
      completion(.success(ReadBuffers([UnsafeRawBufferPointer(rebasing: buffer[..<done])])))
    } catch {
      completion(.failure(log.report("read", key: nil, error)))
    }
  }

  // MARK: Writing

  /// write(2): into the staging file; full parts of a new file leave at once.
  public func write(
    _ handle: HandleID, offset: UInt64, _ bytes: UnsafeRawBufferPointer, _ context: CallContext
  ) throws(Errno) {
    let file = try openFile(handle)
    let staged = try stagedForWriting(file)
    // A mapping's pages may come long after they were changed, and after a chmod.
    if !context.isWriteback { dropPrivileges(of: file) }
    do throws(WriteError) {
      try staged.write(bytes, at: offset, context.cancellation)
    } catch {
      throw log.report("write", key: tree.view(file.inode)?.path.map(key), error)
    }
    file.noteWrite()
    noteWrite(file)
  }

  func truncate(_ file: FileHandle, to size: UInt64) throws(Errno) {
    let staged = try stagedForWriting(file)
    dropPrivileges(of: file)
    do throws(WriteError) {
      try staged.truncate(to: size)
    } catch {
      throw log.report("truncate", key: tree.view(file.inode)?.path.map(key), error)
    }
    file.noteWrite()
    noteWrite(file)
  }

  /// Whoever changes a program does not get to run it as its owner. Before the change, so that no part of the new bytes
  /// leaves with the bits of before; and the kernel has heard of it before the caller can run them.
  private func dropPrivileges(of file: FileHandle) {
    guard file.content.mayHavePrivileges else { return }
    let isChanged = tree.update(file.inode) { node in
      guard let permissions = node.posix.permissions else { return false }
      node.posix.permissions = PosixAttributes.withoutPrivileges(permissions)
      return node.posix.permissions != permissions
    }
    if isChanged == true { kernelCache?.invalidateAttributes(file.inode) }
  }

  private func noteWrite(_ file: FileHandle) {
    let now = configuration.time.wall
    file.content.withState { state in
      state.modified = now
      state.timeIsExplicit = false
    }
  }

  /// Whose bytes went elsewhere must not believe that they are under this name.
  private func requireSameFile(_ file: FileHandle) throws(Errno) {
    guard file.hasWritten, file.content.withState({ $0.epoch }) != file.epoch else { return }
    throw .staleNFSFileHandle
  }

  /// The same when that came to light in a close or fsync; and there may be no name any more that they could go to.
  private func requireStored(_ file: FileHandle) throws(Errno) {
    let isNowhere = file.hasWritten && file.content.isDirty && tree.view(file.inode)?.path == nil
    guard !file.isDisowned, !isNowhere else { throw .staleNFSFileHandle }
  }

  /// The staged file to write to, made from the version the handle has open.
  private func stagedForWriting(_ file: FileHandle) throws(Errno) -> StagedFile {
    guard file.content.withState({ $0.epoch }) == file.epoch else { throw .staleNFSFileHandle }
    return try staged(file.content, of: file.inode)
  }

  /// The staged file of a content, made from its version if there is none.
  func staged(_ content: FileContent, of inode: InodeID) throws(Errno) -> StagedFile {
    if let staged = content.staged { return staged }
    return try content.staging.exclusive { () throws(Errno) in
      let (staged, version) = content.withState { ($0.staged, $0.version) }
      if let staged { return staged }
      let base = try version.map { version throws(Errno) in
        StagingBase(key: key(try existing(inode).path), etag: version.etag, size: version.size)
      }
      let made = try stage(base, for: content)
      content.withState { $0.staged = made }
      // Somebody else may have removed the file meanwhile: what is written now would go nowhere.
      guard content.isOrphaned || tree.view(inode)?.path != nil else { throw .staleNFSFileHandle }
      return made
    }
  }

  // MARK: Closing

  /// close(2): the object is in the bucket when this returns, or in write-back mode in the journal. Not stopped by a
  /// signal: a program that is killed still gets its bytes stored, as on a local disk.
  public func flush(_ handle: HandleID, _ context: CallContext) throws(Errno) {
    let file = try openFile(handle)
    guard file.mode.changes else { return }
    try requireSameFile(file)
    switch configuration.writeMode {
    case .close: try commit(file.inode, file.content)
    case .writeback:
      try keepAndSend(file.inode, file.content, as: .closed, durable: false)
      if let error = untoldError(of: file.content) { throw error }
    }
    // Another handle's close may have met a conflict while this one waited for it.
    try requireStored(file)
  }

  /// fsync(2).
  public func sync(_ handle: HandleID, _ context: CallContext) throws(Errno) {
    let file = try openFile(handle)
    try requireSameFile(file)
    switch configuration.writeMode {
    case .close: try commit(file.inode, file.content)
    case .writeback:
      try keepAndSend(file.inode, file.content, as: .synced, durable: true)
      if let error = standingError(of: file.content) { throw error }
    }
    try requireStored(file)
  }

  /// The last descriptor of an open is gone. What a memory map wrote after the close is sent now.
  public func release(_ handle: HandleID) {
    guard let file = handles.removeFile(handle) else { return }
    if file.mode.changes, file.content.isDirty {
      // The error was logged, and the bytes are kept; nobody is left to be told.
      switch configuration.writeMode {
      case .close: try? commit(file.inode, file.content)
      case .writeback: try? keepAndSend(file.inode, file.content, as: .closed, durable: false)
      }
    }
    close(file)
  }

  func close(_ file: FileHandle) {
    file.close()
    passthrough.ended(file.inode, file.admission)
    guard let staged = tree.close(file.inode, file.content) else { return }
    if let failure = staged.failure {
      log.error(
        "a file could not be written whole and is given up; its writer got the error",
        metadata: ["inode": "\(file.inode)", "cause": "\(failure)"])
    }
    discard(staged)
  }
}
