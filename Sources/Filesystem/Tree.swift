import Basics
import ObjectStore
import Synchronization

/// The inode table and the directory cache: what the kernel refers to, and what is known of it.
///
/// Pure bookkeeping behind one mutex, which is held for a few dictionary accesses and never across I/O, a reply or a
/// call to the kernel. Lock order: this mutex, then a `FileContent`'s, then a `StagedFile`'s. Inode numbers grow and are
/// never used twice, so the generation only has to tell mounts apart.
final class Tree: Sendable {
  struct State: Sendable {
    var nodes: [InodeID: Node] = [:]
    /// Those that have a content: few among many.
    var inUse: Set<InodeID> = []
    /// Those of all nodes: two files with one number are one file to diff, cp and mv.
    var fileNumbers: Set<UInt64> = [1]
    var nextInode: UInt64 = 2
    /// A marker did not keep the mark: what listings show is never all there is.
    var marksAreLost = false
    /// Walks under way, and what they found in directories that nobody has looked up since, by path.
    var walks: [Walk] = []
    var nextWalk = 0
    /// The server was seen to list keys in another order than that of their bytes.
    var keysAreUnordered = false
    var foreseen: [DirectoryPath: Foreseen] = [:]
  }

  let configuration: FilesystemConfiguration
  let generation: UInt64
  private let state = Mutex(State())

  init(configuration: FilesystemConfiguration) {
    self.configuration = configuration
    generation = UInt64(bitPattern: configuration.time.wall.seconds)
    let root = Node(
      id: .root, fileNumber: 1, type: .directory, name: FileName(""), parent: nil, posix: PosixAttributes())
    root.lookups = 1
    root.markerTime = configuration.time.wall
    state.withLock { $0.nodes[.root] = root }
  }

  var now: UInt64 { configuration.time.monotonic }

  /// Until when something learnt at `start` is believed.
  func expiry(from start: UInt64) -> UInt64 {
    start &+ UInt64(max(0, configuration.metadataLifetime) * 1e9)
  }

  func withState<Value: Sendable>(_ body: (inout State) -> Value) -> Value {
    state.withLock { body(&$0) }
  }

  // MARK: Views

  /// What is known of an inode; nil when the kernel asks for one it has forgotten.
  func view(_ id: InodeID) -> NodeView? {
    let now = now
    return withState { state in state.nodes[id].map { view($0, state, now) } }
  }

  /// The known child of a directory.
  func view(_ name: FileName, in parent: InodeID) -> NodeView? {
    let now = now
    return withState { state in
      state.child(name, of: parent).map { view($0, state, now) }
    }
  }

  func view(_ node: Node, _ state: State, _ now: UInt64) -> NodeView {
    NodeView(
      id: node.id, parent: node.parent, name: node.name, path: state.path(of: node), type: node.type,
      posix: node.posix, version: node.version, attributes: attributes(of: node),
      lifetime: lifetime(of: node, now),
      isFresh: isFresh(node, now),
      isLocal: node.isLocal, content: node.content, shownVersion: shownVersion(of: node), isLeaving: node.isLeaving,
      hasMarker: node.hasMarker, isMarked: node.isMarked, attributesKnown: node.attributesKnown,
      foreign: node.foreign,
      target: node.target.flatMap { $0.etag == node.version?.etag ? $0.text : nil })
  }

  /// Whether what is known of it may be shown without asking.
  func isFresh(_ node: Node, _ now: UInt64) -> Bool {
    node.freshUntil > now && (node.attributesKnown || node.isTrusted || node.id == .root)
  }

  private func lifetime(of node: Node, _ now: UInt64) -> Double {
    if node.isLocal { return configuration.metadataLifetime }
    return node.freshUntil > now ? Double(node.freshUntil - now) / 1e9 : 0
  }

  private func attributes(of node: Node) -> FileAttributes {
    let isDirectory = node.type == .directory
    let content = node.content?.withState { (size: $0.staged?.size ?? $0.version?.size, modified: $0.modified) }
    let stored = node.version?.lastModified ?? node.markerTime ?? Timestamp(seconds: 0)
    let modified = content?.modified ?? node.posix.modified ?? stored
    let defaultMode = isDirectory ? configuration.directoryMode : configuration.fileMode
    return FileAttributes(
      fileNumber: node.fileNumber,
      mode: node.type.rawValue | (node.type == .link ? 0o777 : node.posix.permissions ?? defaultMode),
      links: isDirectory ? 2 : 1, uid: node.posix.uid ?? configuration.uid, gid: node.posix.gid ?? configuration.gid,
      size: isDirectory ? 0 : content?.size ?? node.version?.size ?? 0, accessed: node.posix.accessed ?? modified,
      modified: modified, changed: max(node.posix.changed ?? modified, content?.modified ?? modified))
  }

  /// The version whose length `attributes(of:)` shows; nil for what is only here.
  func shownVersion(of node: Node) -> ETag? {
    guard let content = node.content else { return node.version?.etag }
    return content.isLocal ? nil : content.version?.etag
  }

  func entry(_ node: Node, _ now: UInt64) -> EntryReply {
    node.shownVersion = shownVersion(of: node)
    return EntryReply(
      inode: node.id, generation: generation, attributes: attributes(of: node), lifetime: lifetime(of: node, now))
  }

  func absentEntry(until: UInt64, now: UInt64) -> EntryReply {
    EntryReply(
      inode: nil, generation: generation,
      attributes: FileAttributes(
        fileNumber: 0, mode: 0, links: 0, uid: 0, gid: 0, size: 0, accessed: Timestamp(seconds: 0),
        modified: Timestamp(seconds: 0), changed: Timestamp(seconds: 0)),
      lifetime: until > now ? Double(until - now) / 1e9 : 0)
  }

  // MARK: Lookup counts

  /// Takes back lookups; a node nobody refers to any more is dropped.
  func forget(_ id: InodeID, count: UInt64) {
    withState { state in
      guard let node = state.nodes[id] else { return }
      node.lookups -= min(count, node.lookups)
      state.dropIfUnused(node)
    }
  }

  /// Changes a node under the mutex.
  func update<Value: Sendable>(_ id: InodeID, _ body: (Node) -> Value) -> Value? {
    withState { state in state.nodes[id].map(body) }
  }
}

extension Tree.State {
  func child(_ name: FileName, of parent: InodeID) -> Node? {
    nodes[parent]?.children[name].flatMap { nodes[$0] }
  }

  /// Path below the root; nil for what is not (any more) in the tree.
  func path(of node: Node) -> String? {
    if node.id == .root { return "" }
    var names: [FileName] = []
    var current = node
    while current.id != .root {
      guard let parent = current.parent.flatMap({ nodes[$0] }) else { return nil }
      names.append(current.name)
      current = parent
    }
    return names.reversed().map(\.string).joined(separator: "/")
  }

  /// A new node in a directory.
  mutating func add(
    _ name: FileName, to parent: Node, type: FileType, posix: PosixAttributes
  ) -> Node {
    let id = InodeID(nextInode)
    nextInode += 1
    let path = path(of: parent).map { NameRules.path(name, in: $0) } ?? name.string
    // The path's own number may still belong to a file that was renamed away or unlinked.
    var number = NameRules.fileNumber(ofPath: path)
    while !fileNumbers.insert(number).inserted { number = max(number &+ 1, 2) }
    let node = Node(id: id, fileNumber: number, type: type, name: name, parent: parent.id, posix: posix)
    nodes[id] = node
    parent.children[name] = id
    return node
  }

  /// Takes a node out of its directory; it lives on while something refers to it.
  mutating func detach(_ node: Node) {
    if let parent = node.parent.flatMap({ nodes[$0] }), parent.children[node.name] == node.id {
      parent.children[node.name] = nil
    }
    node.parent = nil
    dropIfUnused(node)
  }

  /// Drops a node that neither the kernel nor a handle nor an unsent upload refers to, and then its directory likewise.
  mutating func dropIfUnused(_ node: Node) {
    var next: Node? = node
    while let node = next, node.id != .root, node.lookups == 0, node.content == nil, node.children.isEmpty {
      noteForgotten(node)
      let parent = node.parent.flatMap { nodes[$0] }
      if let parent, parent.children[node.name] == node.id { parent.children[node.name] = nil }
      nodes[node.id] = nil
      fileNumbers.remove(node.fileNumber)
      next = parent
    }
  }
}
