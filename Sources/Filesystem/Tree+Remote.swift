import Basics
import ObjectStore

/// What the tree can say to a lookup by itself.
enum KnownEntry: Sendable {
  /// The answer.
  case answer(EntryReply)
  /// The bucket must be asked; `hint` is what a fresh listing shows under that name.
  case ask(path: String, hint: RemoteKind?)
  /// The directory itself is gone.
  case gone
}

extension Tree {
  /// Answers a lookup from what is known and fresh; counts it when it finds something.
  func known(_ name: FileName, in parent: InodeID) -> KnownEntry {
    let now = now
    return withState { state in
      guard let directory = state.nodes[parent], directory.type == .directory,
        let path = state.path(of: directory)
      else { return .gone }
      let listed = directory.listing.flatMap { $0.freshUntil > now ? $0 : nil }
      if let node = state.child(name, of: parent) {
        if let listed, let entry = listed.entries[name], node.matches(entry) {
          node.freshUntil = max(node.freshUntil, listed.freshUntil)
        }
        if node.isLocal || view(node, state, now).isFresh {
          node.lookups += 1
          return .answer(entry(node, state, now))
        }
      } else if let until = directory.absent[name], until > now {
        return .answer(absentEntry(until: until, now: now))
      }
      guard let listed else { return .ask(path: NameRules.path(name, in: path), hint: nil) }
      if let hint = listed.entries[name] {
        return .ask(path: NameRules.path(name, in: path), hint: hint.isDirectory ? .directory : .object)
      }
      if state.child(name, of: parent) == nil { return .answer(absentEntry(until: listed.freshUntil, now: now)) }
      return .ask(path: NameRules.path(name, in: path), hint: nil)
    }
  }

  /// Whether a name was found not to be there, and that is still believed.
  func knowsAbsent(_ name: FileName, in parent: InodeID) -> Bool {
    let now = now
    return withState { state in
      guard let directory = state.nodes[parent], state.child(name, of: parent) == nil else { return false }
      if let until = directory.absent[name], until > now { return true }
      guard let listing = directory.listing, listing.freshUntil > now else { return false }
      return listing.entries[name] == nil
    }
  }

  /// Takes in what the bucket answered to a question asked at `start`.
  /// - Parameter counts: whether the kernel is given the inode.
  /// - Returns: the entry, a negative one included; nil when this mount changed the name meanwhile and the question must
  ///   be asked again.
  func merge(
    _ name: FileName, in parent: InodeID, _ remote: RemoteEntry?, askedAt start: UInt64, counts: Bool = true
  ) -> EntryReply? {
    let now = now
    return withState { state in
      guard let directory = state.nodes[parent] else { return absentEntry(until: now, now: now) }
      if let touched = directory.touched[name], touched >= start { return nil }
      let until = expiry(from: start)
      guard let node = adopt(name, in: directory, remote, until: until, &state) else {
        directory.noteAbsent(name, until: until, now: now)
        return absentEntry(until: until, now: now)
      }
      if counts { node.lookups += 1 }
      return entry(node, state, now)
    }
  }

  /// Makes the node for `name` agree with the bucket, but for what is newer here.
  private func adopt(
    _ name: FileName, in directory: Node, _ remote: RemoteEntry?, until: UInt64, _ state: inout State
  ) -> Node? {
    let existing = state.child(name, of: directory.id)
    if let existing, existing.isLocal { return existing }
    if let existing, existing.type == .directory, remote == nil, holdsLocalFiles(existing, state) { return existing }
    guard let remote else {
      if let existing { state.detach(existing) }
      return nil
    }
    let type = fileType(of: remote, known: existing)
    if let existing, existing.type == type {
      learn(existing, remote, until: until)
      return existing
    }
    if let existing { state.detach(existing) }
    let node = state.add(name, to: directory, type: type, posix: PosixAttributes())
    learn(node, remote, until: until)
    return node
  }

  /// Notes what the bucket says of a node that is not local.
  func learn(_ node: Node, _ remote: RemoteEntry, until: UInt64) {
    switch remote {
    case .file(let metadata):
      node.version = FileVersion(metadata)
      node.posix = PosixAttributes(metadata)
      node.attributesKnown = true
    case .listedFile(let entry):
      if node.version?.etag != entry.etag || node.version?.lastModified != entry.lastModified {
        node.version = FileVersion(entry)
        node.posix = PosixAttributes()
        node.attributesKnown = false
      }
    case .directory(let marker):
      node.posix = marker.map { PosixAttributes($0) } ?? PosixAttributes()
      node.foreign = marker.map { FileVersion($0).foreign } ?? [:]
      node.markerTime = marker?.lastModified
      node.hasMarker = marker != nil
      node.attributesKnown = true
    case .listedDirectory: break
    }
    node.freshUntil = until
  }

  private func fileType(of remote: RemoteEntry, known: Node?) -> FileType {
    switch remote {
    case .directory, .listedDirectory: return .directory
    case .file(let metadata): return PosixAttributes(metadata).type == .link ? .link : .file
    case .listedFile: return known?.type == .link ? .link : .file
    }
  }

  private func holdsLocalFiles(_ directory: Node, _ state: State) -> Bool {
    directory.children.values.contains { id in
      guard let child = state.nodes[id] else { return false }
      return child.isLocal || (child.type == .directory && holdsLocalFiles(child, state))
    }
  }

  /// Takes in the answer to a question about an inode itself; false when it is not there any more.
  func refresh(_ id: InodeID, _ remote: RemoteEntry?, askedAt start: UInt64) -> Bool {
    withState { state in
      guard let node = state.nodes[id] else { return false }
      if node.isLocal { return true }
      if let parent = node.parent.flatMap({ state.nodes[$0] }) {
        if let touched = parent.touched[node.name], touched >= start { return true }
        if node.type == .directory, remote == nil, holdsLocalFiles(node, state) { return true }
        guard let remote, fileType(of: remote, known: node) == node.type else {
          state.detach(node)
          return false
        }
        learn(node, remote, until: expiry(from: start))
        return true
      }
      guard node.id == .root else { return false }
      if let remote { learn(node, remote, until: expiry(from: start)) }
      return true
    }
  }

  /// Renews a known child whose version a listing has shown again; false when its attributes must be asked for.
  func confirm(_ name: StreamedName, in directory: InodeID, askedAt start: UInt64) -> Bool {
    withState { state in
      guard let node = state.child(name.name, of: directory), node.isLocal || node.matches(name.remote) else {
        return false
      }
      node.freshUntil = max(node.freshUntil, expiry(from: start))
      return true
    }
  }

  /// Whether the attributes of a listed name have to be asked for.
  func asks(_ name: StreamedName, in directory: InodeID) -> Bool {
    let now = now
    return withState { state in
      guard let node = state.child(name.name, of: directory) else { return true }
      return !(node.isLocal || node.matches(name.remote) || (node.freshUntil > now && node.attributesKnown))
    }
  }

  /// Counts a lookup of a known inode and gives its entry.
  func count(_ id: InodeID) -> EntryReply? {
    let now = now
    return withState { state in
      guard let node = state.nodes[id] else { return nil }
      node.lookups += 1
      return entry(node, state, now)
    }
  }

  /// Remembers a complete listing, with what this mount changed while it was made.
  func store(_ entries: [FileName: RemoteEntry], for directory: InodeID, askedAt start: UInt64) {
    withState { state in
      guard let node = state.nodes[directory], node.type == .directory else { return }
      var entries = entries
      for (name, time) in node.touched where time >= start {
        entries[name] = state.child(name, of: directory).flatMap(Self.listed)
      }
      node.listing = Listing(entries: entries, freshUntil: expiry(from: start))
    }
  }

  /// A node as a listing shows it; nil for a file the bucket does not have yet.
  static func listed(_ node: Node) -> RemoteEntry? {
    if node.type == .directory { return .listedDirectory }
    return node.version.map {
      .listedFile(
        ListEntry(key: ObjectKey(""), size: $0.size, etag: $0.etag, lastModified: $0.lastModified))
    }
  }

  /// Names in a directory that a listing may lack which was asked for at `start`: those that the bucket does not have
  /// yet, and those that it has got from this mount since.
  func localNames(in directory: InodeID, since start: UInt64) -> [FileName] {
    withState { state in
      guard let node = state.nodes[directory] else { return [] }
      return node.children.compactMap { name, id in
        let isNew = node.touched[name].map { $0 >= start } ?? false
        return state.nodes[id].flatMap { isNew || $0.isLocal ? name : nil }
      }.sorted()
    }
  }

  /// Whether this mount took a name away after `start`.
  func wasRemoved(_ name: FileName, from directory: InodeID, since start: UInt64) -> Bool {
    withState { state in
      guard let node = state.nodes[directory], let touched = node.touched[name] else { return false }
      return touched >= start && node.children[name] == nil
    }
  }
}
