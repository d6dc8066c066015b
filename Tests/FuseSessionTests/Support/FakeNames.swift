import Basics
import Filesystem
import Glibc
import SystemPackage

extension FakeFilesystem {
  /// Runs `body` on the state; its error is thrown on.
  func locked<Value: Sendable>(_ body: (inout State) throws(Errno) -> Value) throws(Errno) -> Value {
    let result: Result<Value, Errno> = state.withLock { state in
      do throws(Errno) { return .success(try body(&state)) } catch { return .failure(error) }
    }
    return try result.get()
  }

  func lookup(_ parent: InodeID, _ name: FileName, _ context: CallContext) throws(Errno) -> EntryReply {
    state.withLock {
      $0.counts.lookups += 1
      $0.counts.contexts.append(context.uid)
    }
    try hooks.lookup?(name, context)
    return try locked { (state) throws(Errno) in
      if hooks.negativeEntries, state.nodes[parent]?.children[name] == nil {
        return EntryReply(
          inode: nil, generation: 0, attributes: attributes(number: 0, mode: 0), lifetime: hooks.lifetime)
      }
      return try state.counted(state.child(name, of: parent), hooks.lifetime)
    }
  }

  func forget(_ inode: InodeID, count: UInt64) {
    state.withLock { state in
      guard var node = state.nodes[inode] else { return }
      precondition(node.lookups >= count, "more forgets than lookups")
      node.lookups -= count
      state.nodes[inode] = node
    }
  }

  func getAttributes(
    _ inode: InodeID, _ handle: HandleID?, _ context: CallContext
  ) throws(Errno) -> AttributeReply {
    try locked { (state) throws(Errno) in
      state.counts.getAttributes += 1
      return AttributeReply(attributes: try state.node(inode).attributes, lifetime: hooks.lifetime)
    }
  }

  func setAttributes(
    _ inode: InodeID, _ changes: AttributeChanges, _ handle: HandleID?, _ context: CallContext
  ) throws(Errno) -> AttributeReply {
    try locked { (state) throws(Errno) in
      state.counts.changes.append(changes)
      var node = try state.node(inode)
      if let size = changes.size {
        node.content = Array(node.content.prefix(Int(size)))
        node.content += Array(repeating: 0, count: Int(size) - node.content.count)
        node.attributes.size = size
      }
      if let mode = changes.mode { node.attributes.mode = node.attributes.mode & S_IFMT | mode }
      if let uid = changes.uid { node.attributes.uid = uid }
      if let gid = changes.gid { node.attributes.gid = gid }
      if case .at(let time) = changes.accessed { node.attributes.accessed = time }
      if case .at(let time) = changes.modified { node.attributes.modified = time }
      state.nodes[inode] = node
      return AttributeReply(attributes: node.attributes, lifetime: hooks.lifetime)
    }
  }

  func readLink(_ inode: InodeID, _ context: CallContext) throws(Errno) -> String {
    try locked { (state) throws(Errno) in
      state.counts.readLinks += 1
      return try state.node(inode).target
    }
  }

  private func make(
    _ parent: InodeID, _ name: FileName, mode: UInt32, target: String = ""
  ) throws(Errno) -> EntryReply {
    try locked { (state) throws(Errno) in
      guard state.nodes[parent]?.children[name] == nil else { throw .fileExists }
      let inode = state.make(name, in: parent, mode: mode)
      state.nodes[inode]?.target = target
      state.nodes[inode]?.attributes.size = UInt64(target.utf8.count)
      return try state.counted(inode, hooks.lifetime)
    }
  }

  func makeLink(
    _ parent: InodeID, _ name: FileName, target: String, _ context: CallContext
  ) throws(Errno) -> EntryReply {
    try make(parent, name, mode: S_IFLNK | 0o777, target: target)
  }

  func makeDirectory(
    _ parent: InodeID, _ name: FileName, mode: UInt32, _ context: CallContext
  ) throws(Errno) -> EntryReply {
    try make(parent, name, mode: S_IFDIR | mode & 0o7777)
  }

  func makeNode(
    _ parent: InodeID, _ name: FileName, mode: UInt32, _ context: CallContext
  ) throws(Errno) -> EntryReply {
    guard mode & S_IFMT == S_IFREG else { throw .notPermitted }
    return try make(parent, name, mode: mode)
  }

  func unlink(_ parent: InodeID, _ name: FileName, _ context: CallContext) throws(Errno) {
    try hooks.unlink?(name, context)
    try locked { (state) throws(Errno) in
      _ = try state.child(name, of: parent)
      state.nodes[parent]?.children[name] = nil
    }
  }

  func removeDirectory(_ parent: InodeID, _ name: FileName, _ context: CallContext) throws(Errno) {
    try locked { (state) throws(Errno) in
      let inode = try state.child(name, of: parent)
      guard try state.node(inode).children.isEmpty else { throw .directoryNotEmpty }
      state.nodes[parent]?.children[name] = nil
    }
  }

  func rename(
    _ parent: InodeID, _ name: FileName, to newParent: InodeID, _ newName: FileName, _ mode: RenameMode,
    _ context: CallContext
  ) throws(Errno) {
    try locked { (state) throws(Errno) in
      let inode = try state.child(name, of: parent)
      if mode == .noReplace, state.nodes[newParent]?.children[newName] != nil { throw .fileExists }
      state.nodes[parent]?.children[name] = nil
      state.nodes[newParent]?.children[newName] = inode
    }
  }

  func statistics(_ inode: InodeID, _ context: CallContext) throws(Errno) -> FilesystemStatistics {
    FilesystemStatistics(blockSize: 4096, blocks: 1 << 40, freeBlocks: 1 << 39, files: 1 << 30, freeFiles: 1 << 29)
  }

  func access(_ inode: InodeID, mask: UInt32, _ context: CallContext) throws(Errno) {}
}
