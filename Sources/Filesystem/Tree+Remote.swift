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

/// What the tree can say to a name that a listing shows.
enum ListedAnswer: Sendable {
  /// The entry, counted as a lookup.
  case entry(EntryReply)
  /// This mount took the name away since.
  case removed
  /// Its attributes must be asked for.
  case ask
}

/// What became of an inode that the bucket was asked about.
enum Refreshed: Sendable {
  case present
  case gone
  /// Its name stands for something of another type now.
  case replaced
  /// The directory it is in was moved meanwhile: the question was about another path.
  case moved
}

/// What is known of a name, for a listing without attributes.
enum Peek: Hashable, Sendable {
  case known(fileNumber: UInt64, type: UInt32)
  /// This mount took the name away since.
  case removed
  case unknown
}

extension Tree {
  /// Whether the objects in a directory may carry attributes that its listing does not show.
  /// - Parameter found: whether the directory is marked.
  func asks(whenMarked found: Bool, _ state: State) -> Bool {
    switch configuration.attributes {
    case .always: true
    case .never: false
    case .auto: found || state.marksAreLost
    }
  }

  /// Answers a lookup from what is known and fresh; counts it when it finds something.
  func known(_ name: FileName, in parent: InodeID) -> KnownEntry {
    let now = now
    return withState { state in
      guard let directory = state.nodes[parent], directory.type == .directory else { return .gone }
      let listed = directory.listing.flatMap { $0.freshUntil > now ? $0 : nil }
      let remote = listed?.entries[name]
      if let node = state.child(name, of: parent) {
        if let listed, let remote, node.matches(remote, isMarked: listed.isMarked) {
          node.freshUntil = max(node.freshUntil, listed.freshUntil)
        }
        if node.isLocal || isFresh(node, now) {
          node.lookups += 1
          return .answer(entry(node, now))
        }
      } else if let until = directory.absent[name], until > now {
        return .answer(absentEntry(until: until, now: now))
      }
      guard let path = state.path(of: directory) else { return .gone }
      guard let listed else { return .ask(path: NameRules.path(name, in: path), hint: nil) }
      if let remote {
        guard listed.isMarked, !remote.isWhole else {
          let known = Knowledge(until: listed.freshUntil, isTrusted: true)
          if let node = adopt(name, in: directory, remote, known, &state) {
            node.lookups += 1
            return .answer(entry(node, now))
          }
          return .ask(path: NameRules.path(name, in: path), hint: nil)
        }
        return .ask(path: NameRules.path(name, in: path), hint: remote.isDirectory ? .directory : .object)
      }
      if state.child(name, of: parent) == nil { return .answer(absentEntry(until: listed.freshUntil, now: now)) }
      return .ask(path: NameRules.path(name, in: path), hint: nil)
    }
  }

  /// Answers readdirplus for a name that a listing shows, as far as that can be done without asking.
  /// - Parameters:
  ///   - isMarked: whether the object may carry attributes that the listing does not show.
  ///   - start: since when this mount's own changes are newer than the listing.
  ///   - until: until when the listing is believed.
  func listed(
    _ name: StreamedName, in parent: InodeID, isMarked: Bool, changedSince start: UInt64, until: UInt64
  ) -> ListedAnswer {
    let now = now
    return withState { state in
      guard let directory = state.nodes[parent] else { return .ask }
      let touch = directory.touch(of: name.name, since: start)
      let hasMoved = directory.hasMoved(since: start)
      if let node = state.child(name.name, of: parent) {
        let isShown = touch == nil && !hasMoved && node.matches(name.remote, isMarked: isMarked)
        if isShown { node.freshUntil = max(node.freshUntil, until) }
        // What the listing shows was so when it was made, even if the kernel may not believe it any longer.
        if node.isLocal || isShown || isFresh(node, now) {
          node.lookups += 1
          return .entry(entry(node, now))
        }
      } else if let touch {
        // Made here since, and forgotten by the kernel: what the listing shows is out of date.
        return touch.isRemoval ? .removed : .ask
      }
      guard !isMarked || name.remote.isWhole, !hasMoved,
        let node = adopt(name.name, in: directory, name.remote, Knowledge(until: until, isTrusted: true), &state)
      else { return .ask }
      node.lookups += 1
      return .entry(entry(node, now))
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
  /// - Returns: the entry, a negative one included; nil when this mount changed the name or moved the directory since,
  ///   and the question must be asked again.
  func merge(
    _ name: FileName, in parent: InodeID, _ remote: RemoteEntry?, askedAt start: UInt64, counts: Bool = true
  ) -> EntryReply? {
    let now = now
    return withState { state in
      guard let directory = state.nodes[parent] else { return absentEntry(until: now, now: now) }
      if directory.hasMoved(since: start) { return nil }
      if directory.touch(of: name, since: start) != nil { return nil }
      let known = Knowledge(until: expiry(from: start), askedAt: start)
      guard let node = adopt(name, in: directory, remote, known, &state) else {
        directory.noteAbsent(name, until: known.until, now: now)
        return absentEntry(until: known.until, now: now)
      }
      if counts { node.lookups += 1 }
      return entry(node, now)
    }
  }

  /// Makes the node for `name` agree with the bucket, but for what is newer here.
  private func adopt(
    _ name: FileName, in directory: Node, _ remote: RemoteEntry?, _ known: Knowledge, _ state: inout State
  ) -> Node? {
    let existing = state.child(name, of: directory.id)
    if let existing, existing.isLocal { return existing }
    let type = remote.map { fileType(of: $0, known: existing) }
    if let existing, existing.type == type, let remote {
      learn(existing, remote, known, &state)
      return existing
    }
    if let existing, !release(existing, &state) { return existing }
    guard let remote, let type else { return nil }
    let node = state.add(name, to: directory, type: type, posix: PosixAttributes())
    learn(node, remote, known, &state)
    if type == .directory { takeForeseen(node, &state) }
    return node
  }

  /// How far what the bucket says is believed.
  struct Knowledge: Sendable {
    /// Monotonic time until which it is.
    var until: UInt64
    /// When it was asked for (monotonic).
    var askedAt: UInt64 = 0
    /// Whether a listing tells all there is.
    var isTrusted = false
  }

  /// Notes what the bucket says of a node that is not local.
  func learn(_ node: Node, _ remote: RemoteEntry, _ known: Knowledge, _ state: inout State) {
    switch remote {
    case .file(let metadata):
      node.version = FileVersion(metadata)
      node.posix = PosixAttributes(metadata)
      node.attributesKnown = true
    case .listedFile(let entry):
      if !node.shows(entry) {
        node.version = FileVersion(entry)
        node.posix = PosixAttributes()
        node.attributesKnown = false
      }
      node.isTrusted = known.isTrusted
    case .directory(let marker):
      node.posix = marker.map { PosixAttributes($0) } ?? PosixAttributes()
      node.foreign = marker.map { FileVersion($0).foreign } ?? [:]
      node.markerTime = marker?.lastModified
      node.hasMarker = marker != nil
      node.attributesKnown = true
      learnMark(node, marker, known, &state)
    case .listedDirectory:
      node.isTrusted = known.isTrusted
    }
    node.freshUntil = known.until
  }

  private func learnMark(_ node: Node, _ marker: ObjectMetadata?, _ known: Knowledge, _ state: inout State) {
    if let markedAt = node.markedAt {
      guard markedAt < known.askedAt else { return }
      // Either somebody else has replaced the marker, or the server keeps none of what it is stored with.
      if let marker, !DirectoryMark.isSet(on: marker) { state.marksAreLost = true }
      node.markedAt = nil
    }
    node.isMarked = marker.map { DirectoryMark.isSet(on: $0) } ?? false
    // The rest may be believed for longer: it shows in other listings, too.
    node.markUntil = known.askedAt > 0 ? expiry(from: known.askedAt) : known.until
  }

  private func fileType(of remote: RemoteEntry, known: Node?) -> FileType {
    switch remote {
    case .directory, .listedDirectory: return .directory
    case .file(let metadata): return PosixAttributes(metadata).type == .link ? .link : .file
    // A rename leaves the tag of what is as short as a link, and changes the time.
    case .listedFile(let entry): return known?.type == .link && known?.version?.etag == entry.etag ? .link : .file
    }
  }

  /// Takes a node out of its directory whose name stands for something else in the bucket now, or for nothing. Who has it
  /// open for writing is told with the next write, since that would go nowhere.
  /// - Returns: false, and nothing has happened, when something of it, or below it, is not in the bucket yet.
  private func release(_ node: Node, _ state: inout State) -> Bool {
    if node.type == .directory, holdsLocalFiles(node, state) { return false }
    guard node.content?.staged?.retireIfClean() ?? true else { return false }
    state.detach(node)
    return true
  }

  private func holdsLocalFiles(_ directory: Node, _ state: State) -> Bool {
    directory.children.values.contains { id in
      guard let child = state.nodes[id] else { return false }
      return child.isLocal || (child.type == .directory && holdsLocalFiles(child, state))
    }
  }

  /// Takes in the answer to a question about an inode itself.
  func refresh(_ id: InodeID, _ remote: RemoteEntry?, askedAt start: UInt64) -> Refreshed {
    withState { state in
      guard let node = state.nodes[id] else { return .gone }
      if node.isLocal { return .present }
      if let parent = node.parent.flatMap({ state.nodes[$0] }) {
        if parent.hasMoved(since: start) { return .moved }
        if parent.touch(of: node.name, since: start) != nil { return .present }
        guard let remote, fileType(of: remote, known: node) == node.type else {
          guard release(node, &state) else { return .present }
          // It shows something else, or something that is not there any more.
          parent.listing = nil
          return remote == nil ? .gone : .replaced
        }
        learn(node, remote, Knowledge(until: expiry(from: start), askedAt: start), &state)
        return .present
      }
      guard node.id == .root else { return .gone }
      if let remote { learn(node, remote, Knowledge(until: expiry(from: start), askedAt: start), &state) }
      return .present
    }
  }

  /// Whether the attributes of a name in a marked directory have to be asked for.
  func asks(_ name: StreamedName, in directory: InodeID) -> Bool {
    let now = now
    return withState { state in
      guard let node = state.child(name.name, of: directory) else { return true }
      return
        !(node.isLocal || node.matches(name.remote, isMarked: true) || (node.freshUntil > now && node.attributesKnown))
    }
  }

  /// Counts a lookup of a known inode and gives its entry.
  func count(_ id: InodeID) -> EntryReply? {
    let now = now
    return withState { state in
      guard let node = state.nodes[id] else { return nil }
      node.lookups += 1
      return entry(node, now)
    }
  }

  /// Remembers a complete listing, with what this mount changed while it was made.
  /// - Parameter isMarked: whether the directory was found to be marked.
  func store(
    _ entries: [FileName: RemoteEntry], for directory: InodeID, isMarked: Bool, askedAt start: UInt64
  ) {
    withState { state in
      guard let node = state.nodes[directory], node.type == .directory else { return }
      keep(entries, for: node, isMarked: isMarked, askedAt: start, state)
    }
  }

  func keep(
    _ entries: [FileName: RemoteEntry], for node: Node, isMarked: Bool, askedAt start: UInt64, _ state: State
  ) {
    if node.hasMoved(since: start) { return }
    let until = expiry(from: start)
    if let listing = node.listing, listing.freshUntil > until { return }
    var entries = entries
    for (name, touch) in node.touched where touch.at >= start {
      let child = state.child(name, of: node.id)
      // Made here since, and forgotten by the kernel: nobody knows what a listing would show now.
      if child == nil && !touch.isRemoval { return }
      entries[name] = child.flatMap(Self.listed)
    }
    let isMarkedSince = node.markedAt.map { $0 >= start } ?? false
    node.listing = Listing(
      entries: entries, isMarked: asks(whenMarked: isMarked || isMarkedSince, state), freshUntil: until)
  }

  /// A node as a listing shows it; nil for a file the bucket does not have yet.
  static func listed(_ node: Node) -> RemoteEntry? {
    if node.type == .directory { return .listedDirectory }
    return node.version.map {
      .listedFile(
        ListEntry(
          key: ObjectKey(""), size: $0.size, etag: $0.etag, lastModified: $0.lastModified, storageClass: $0.storageClass
        ))
    }
  }

  /// Names in a directory that a listing may lack which was asked for at `start`: those that the bucket does not have
  /// yet, and those that it has got from this mount since.
  func localNames(in directory: InodeID, since start: UInt64) -> [FileName] {
    withState { state in
      guard let node = state.nodes[directory] else { return [] }
      return node.children.compactMap { name, id in
        let isNew = node.touch(of: name, since: start) != nil
        return state.nodes[id].flatMap { isNew || $0.isLocal ? name : nil }
      }.sorted()
    }
  }

  /// What is known of a name, without asking or counting.
  func peek(_ name: FileName, in directory: InodeID, changedSince start: UInt64) -> Peek {
    withState { state in
      if let child = state.child(name, of: directory) {
        return .known(fileNumber: child.fileNumber, type: child.type.rawValue)
      }
      return state.nodes[directory]?.touch(of: name, since: start)?.isRemoval == true ? .removed : .unknown
    }
  }
}
