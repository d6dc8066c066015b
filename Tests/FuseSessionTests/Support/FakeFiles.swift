import Basics
import Filesystem
import Glibc
import SystemPackage

extension FakeFilesystem {
  func open(_ inode: InodeID, _ mode: OpenMode, _ context: CallContext) throws(Errno) -> OpenReply {
    try hooks.open?(context)
    return try locked { (state) throws(Errno) in
      state.counts.openModes.append(mode)
      _ = try state.node(inode)
      if mode.truncates {
        state.nodes[inode]?.content = []
        state.nodes[inode]?.attributes.size = 0
      }
      return OpenReply(
        handle: state.openFile(inode), keepCache: false, directIO: hooks.directIO, backing: hooks.backing?())
    }
  }

  func create(
    _ parent: InodeID, _ name: FileName, permissions: UInt32, _ mode: OpenMode, _ context: CallContext
  ) throws(Errno) -> (entry: EntryReply, open: OpenReply) {
    try hooks.create?(context)
    return try locked { (state) throws(Errno) in
      state.counts.openModes.append(mode)
      guard state.nodes[parent]?.children[name] == nil else { throw .fileExists }
      let inode = state.make(name, in: parent, mode: S_IFREG | permissions)
      let entry = try state.counted(inode, hooks.lifetime)
      return (entry, OpenReply(handle: state.openFile(inode), keepCache: false))
    }
  }

  func read(
    _ handle: HandleID, offset: UInt64, count: Int, _ context: CallContext,
    _ completion: @escaping Completion<ReadBuffers, Errno>
  ) {
    state.withLock { $0.counts.reads.append(count) }
    if let read = hooks.read { return read(offset, count, context, completion) }
    let content = state.withLock { state in
      state.files[handle].flatMap { state.nodes[$0] }?.content
    }
    guard let content else { return completion(.failure(.badFileDescriptor)) }
    content.withUnsafeBytes { bytes in
      let start = min(Int(offset), bytes.count)
      let end = min(start + count, bytes.count)
      completion(.success(ReadBuffers([UnsafeRawBufferPointer(rebasing: bytes[start..<end])])))
    }
  }

  func write(
    _ handle: HandleID, offset: UInt64, _ bytes: UnsafeRawBufferPointer, _ context: CallContext
  ) throws(Errno) {
    let inode = try locked { (state) throws(Errno) in
      state.counts.writes.append(bytes.count)
      if context.isWriteback { state.counts.writebacks += 1 }
      guard let inode = state.files[handle], var node = state.nodes.removeValue(forKey: inode) else {
        throw .badFileDescriptor
      }
      let end = Int(offset) + bytes.count
      if node.content.count < end { node.content += Array(repeating: 0, count: end - node.content.count) }
      node.content.replaceSubrange(Int(offset)..<end, with: bytes)
      node.attributes.size = UInt64(node.content.count)
      state.nodes[inode] = node
      return inode
    }
    hooks.written?(inode)
  }

  func flush(_ handle: HandleID, _ context: CallContext) throws(Errno) {
    state.withLock { $0.counts.flushes += 1 }
    try hooks.flush?(context)
  }

  func sync(_ handle: HandleID, _ context: CallContext) throws(Errno) {
    state.withLock { $0.counts.syncs += 1 }
  }

  func release(_ handle: HandleID) {
    state.withLock { state in
      state.counts.releases += 1
      precondition(state.files.removeValue(forKey: handle) != nil, "released twice")
    }
  }

  func openDirectory(_ inode: InodeID, _ context: CallContext) throws(Errno) -> HandleID {
    try locked { (state) throws(Errno) in
      let node = try state.node(inode)
      var entries = [".", ".."].enumerated().map { index, name in
        DirectoryEntry(name: FileName(name), nextOffset: UInt64(index + 1), fileNumber: 1001, type: S_IFDIR)
      }
      for (name, child) in node.children.sorted(by: { $0.key < $1.key }) {
        let attributes = try state.node(child).attributes
        entries.append(
          DirectoryEntry(
            name: name, nextOffset: UInt64(entries.count + 1), fileNumber: attributes.fileNumber,
            type: attributes.mode & S_IFMT,
            entry: EntryReply(inode: child, generation: 7, attributes: attributes, lifetime: hooks.lifetime)))
      }
      let handle = HandleID(state.nextHandle)
      state.nextHandle += 1
      state.directories[handle] = entries
      return handle
    }
  }

  func readDirectory(
    _ handle: HandleID, offset: UInt64, plus: Bool, _ context: CallContext, add: (DirectoryEntry) -> Bool
  ) throws(Errno) {
    let entries = state.withLock { state in
      if plus { state.counts.readDirectoryPlus += 1 }
      return state.directories[handle] ?? []
    }
    for entry in entries.dropFirst(Int(offset)) {
      try hooks.readDirectory?(entry.nextOffset)
      guard add(entry) else { return }
      if plus, let inode = entry.entry?.inode { state.withLock { $0.nodes[inode]?.lookups += 1 } }
    }
  }

  func extendedAttribute(_ inode: InodeID, _ name: String, _ context: CallContext) throws(Errno) -> String {
    guard !name.hasSuffix(".missing") else { throw Errno(rawValue: Glibc.ENODATA) }
    return "value of \(name)"
  }

  func syncDirectory(_ handle: HandleID, _ context: CallContext) throws(Errno) {
    state.withLock { $0.counts.directorySyncs += 1 }
  }

  func releaseDirectory(_ handle: HandleID) {
    state.withLock { state in
      state.counts.directoryReleases += 1
      precondition(state.directories.removeValue(forKey: handle) != nil, "released twice")
    }
  }
}
