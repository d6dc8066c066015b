import Basics
import ObjectStore
import WritePath

/// What this mount changes, noted after it happened in the bucket (or, for a new file, before).
extension Tree {
  /// A new file, link or directory; counts as a lookup. Nil when the directory is gone.
  func insert(
    _ name: FileName, in parent: InodeID, type: FileType, posix: PosixAttributes, content: FileContent? = nil,
    version: FileVersion? = nil, target: String? = nil
  ) -> EntryReply? {
    let now = now
    return withState { state in
      guard let directory = state.nodes[parent], directory.type == .directory else { return nil }
      if let old = state.child(name, of: parent) {
        // Somebody else has removed it, or it would not be made: who has it open is told with the next write.
        _ = old.content?.staged?.retireIfClean()
        state.detach(old)
      }
      let node = state.add(name, to: directory, type: type, posix: posix)
      state.give(content, to: node)
      node.version = version
      node.attributesKnown = true
      node.freshUntil = expiry(from: now)
      node.lookups = 1
      if type == .directory {
        state.spoilWalks(name, in: directory)
        // It was not there a moment ago, so there is nothing in it.
        node.listing = Listing(
          entries: [:], isMarked: configuration.attributes != .never, freshUntil: expiry(from: now))
        node.hasMarker = true
        node.isMarked = configuration.attributes != .never
        node.markedAt = now
        node.markerTime = configuration.time.wall
      }
      if let target, let etag = version?.etag { node.target = (target, etag) }
      note(node, in: directory, now)
      return entry(node, now)
    }
  }

  /// A name is gone.
  func remove(_ name: FileName, from parent: InodeID) {
    let now = now
    withState { state in
      guard let directory = state.nodes[parent] else { return }
      directory.touch(name, at: now, isRemoval: true)
      directory.listing?.entries[name] = nil
      directory.noteAbsent(name, until: expiry(from: now), now: now)
      guard let node = state.child(name, of: parent) else { return }
      if node.type == .directory { state.spoilWalks(name, in: directory) }
      state.detach(node)
    }
  }

  /// A name has moved; what it replaced is detached.
  func move(_ name: FileName, from parent: InodeID, to newName: FileName, in newParent: InodeID) {
    let now = now
    withState { state in
      guard let source = state.nodes[parent], let destination = state.nodes[newParent] else { return }
      if let old = state.child(newName, of: newParent) { state.detach(old) }
      source.touch(name, at: now, isRemoval: true)
      source.listing?.entries[name] = nil
      source.noteAbsent(name, until: expiry(from: now), now: now)
      guard let node = state.child(name, of: parent) else {
        destination.touch(newName, at: now)
        destination.listing = nil
        return
      }
      source.children[name] = nil
      node.name = newName
      node.parent = newParent
      destination.children[newName] = node.id
      if node.type == .directory {
        state.spoilWalks(name, in: source)
        state.spoilWalks(newName, in: destination)
        forgetListings(node, &state)
      }
      note(node, in: destination, now)
      state.dropIfUnused(source)
    }
  }

  /// The bucket has a new version of a file. An open in the same moment sees it in the content and in the tree, or in
  /// neither.
  func committed(
    _ id: InodeID, _ version: FileVersion, posix: PosixAttributes, _ content: FileContent? = nil,
    _ update: @Sendable (inout FileContent.State) -> Void = { _ in }
  ) {
    let now = now
    withState { state in
      content?.withState { update(&$0) }
      guard let node = state.nodes[id] else { return }
      // The pages the kernel has are of what was just written.
      if node.kernelVersion == node.version?.etag { node.kernelVersion = version.etag }
      node.shownVersion = version.etag
      node.version = version
      node.posix = content == nil ? posix : posix.lackingPrivileges(of: node.posix)
      node.attributesKnown = true
      node.freshUntil = expiry(from: now)
      if let directory = node.parent.flatMap({ state.nodes[$0] }) { note(node, in: directory, now) }
    }
  }

  /// A directory's marker was written.
  /// - Parameter isMarked: whether it says that the directory is marked.
  func markerWritten(_ id: InodeID, posix: PosixAttributes, isMarked: Bool) {
    let now = now
    withState { state in
      guard let node = state.nodes[id] else { return }
      node.hasMarker = true
      node.posix = posix
      if node.markerTime == nil { node.markerTime = configuration.time.wall }
      node.attributesKnown = true
      node.freshUntil = expiry(from: now)
      if isMarked {
        node.isMarked = true
        node.listing?.isMarked = true
      }
      node.markUntil = expiry(from: now)
      if let parent = node.parent.flatMap({ state.nodes[$0] }) { note(node, in: parent, now) }
    }
  }

  /// What is known of a name may be wrong after a change that failed half-way: the bucket is asked next time.
  func distrust(_ name: FileName, in parent: InodeID) {
    withState { state in
      guard let directory = state.nodes[parent] else { return }
      directory.listing = nil
      directory.absent[name] = nil
      guard let node = state.child(name, of: parent) else { return }
      node.freshUntil = 0
      forgetListings(node, &state)
    }
  }

  /// The version known of a file is not in the bucket any more: the bucket is asked next time.
  func distrust(_ id: InodeID) {
    withState { state in
      guard let node = state.nodes[id] else { return }
      node.freshUntil = 0
      node.parent.flatMap { state.nodes[$0] }?.listing = nil
    }
  }

  func note(_ node: Node, in directory: Node, _ now: UInt64) {
    directory.touch(node.name, at: now)
    if let listed = Self.listed(node) { directory.listing?.entries[node.name] = listed }
  }

  /// A listing names versions that a copy of the directory has replaced, and what was not found under the old name may
  /// be there under the new one.
  private func forgetListings(_ node: Node, _ state: inout State) {
    node.listing = nil
    node.absent = [:]
    node.movedAt = now
    for child in node.children.values.compactMap({ state.nodes[$0] }) where child.type == .directory {
      forgetListings(child, &state)
    }
  }

  /// Everything known below a directory, by path; the directory itself is not in it.
  func descendants(of id: InodeID) -> [NodeView] {
    let now = now
    return withState { state in
      var views: [NodeView] = []
      var pending = state.nodes[id].map { [$0] } ?? []
      while let directory = pending.popLast() {
        for child in directory.children.values.compactMap({ state.nodes[$0] }) {
          views.append(view(child, state, now))
          if child.type == .directory { pending.append(child) }
        }
      }
      return views
    }
  }

  /// All files that are open or hold unsent bytes.
  /// - Parameter isWanted: which of them; the path of one that is not wanted is not put together.
  func filesInUse(where isWanted: (FileContent) -> Bool = { _ in true }) -> [NodeView] {
    let now = now
    return withState { state in
      state.inUse.compactMap { state.nodes[$0] }.filter { $0.content.map(isWanted) ?? false }
        .map { view($0, state, now) }
    }
  }

  // MARK: Opens

  /// Lets an open file go over to the version that is known now.
  /// - Returns: whether the kernel was told that version's length; `outdated` is a staged file to discard.
  func renew(_ id: InodeID) -> (isShown: Bool, outdated: StagedFile?) {
    withState { state in
      guard let node = state.nodes[id], let known = node.version else { return (true, nil) }
      let outdated = node.content?.withState { $0.renew(to: known) }
      return (node.isLocal || node.shownVersion == shownVersion(of: node), outdated)
    }
  }

  /// The content of a file, made when it is the first to be opened; the open is counted.
  /// - Returns: nil when the inode is gone, is leaving or is no file; `outdated` is a staged file to discard.
  func open(
    _ id: InodeID
  ) -> (content: FileContent, epoch: Int, keepsPages: Bool, outdated: StagedFile?)? {
    withState { state in
      guard let node = state.nodes[id], node.type == .file, !node.isLeaving else { return nil }
      let content = node.content ?? FileContent(inode: id, version: node.version)
      state.give(content, to: node)
      let known = node.version
      let (epoch, version, staged, outdated) = content.withState { state in
        let outdated = known.flatMap { state.renew(to: $0) }
        state.opens += 1
        return (state.epoch, state.version, state.staged != nil, outdated)
      }
      let keeps = staged || (version != nil && node.kernelVersion == version?.etag)
      node.kernelVersion = version?.etag
      return (content, epoch, keeps, outdated)
    }
  }

  /// A handle is gone. The content of a file that nobody has open and that holds nothing unsent leaves the tree.
  /// - Returns: a staged file to discard.
  func close(_ id: InodeID, _ content: FileContent) -> StagedFile? {
    withState { state in
      content.withState { $0.opens -= 1 }
      return drop(content, of: id, &state)
    }
  }

  /// Lets go of a file's content when nobody has it open and it holds nothing unsent.
  /// - Returns: a staged file to discard.
  func dropContent(_ id: InodeID, _ content: FileContent) -> StagedFile? {
    withState { state in drop(content, of: id, &state) }
  }

  private func drop(_ content: FileContent, of id: InodeID, _ state: inout State) -> StagedFile? {
    let unneeded: (isUnneeded: Bool, staged: StagedFile?) = content.withState { state in
      let holdsUnsent = !state.orphaned && (state.staged?.isDirty ?? false) && state.staged?.failure == nil
      guard state.opens == 0, !holdsUnsent else { return (false, nil) }
      defer { state.staged = nil }
      return (true, state.staged)
    }
    if unneeded.isUnneeded, let node = state.nodes[id], node.content === content {
      state.give(nil, to: node)
      // A new file that could not be written whole never came to be.
      if node.version == nil { state.detach(node) } else { state.dropIfUnused(node) }
    }
    return unneeded.staged
  }

  /// Takes a file whose handles cannot follow it to another version out of its directory, as if another had been renamed
  /// over it: the next lookup of its name makes another inode. What is known of the bucket stays known.
  func setApart(_ id: InodeID) {
    withState { state in
      guard let node = state.nodes[id], node.type == .file, !node.isLocal else { return }
      node.content?.withState { $0.orphaned = true }
      state.detach(node)
    }
  }

  /// Parts a file from its open handles, which are stale from now on: its name belongs to another version.
  func disown(_ id: InodeID, _ content: FileContent) {
    withState { state in
      content.withState { state in
        state.orphaned = true
        state.epoch += 1
      }
      guard let node = state.nodes[id], node.content === content else { return }
      state.give(nil, to: node)
      node.freshUntil = 0
      if let directory = node.parent.flatMap({ state.nodes[$0] }) {
        directory.listing = nil
        directory.touched[node.name] = nil
      }
    }
  }

  /// A copy made by the server: the same bytes under another version, and perhaps another key.
  /// - Returns: the staged file that stands on the version of before.
  func relocated(
    _ id: InodeID, _ content: FileContent?, from old: ETag, to version: FileVersion
  ) -> StagedFile? {
    withState { state in
      // It may have been opened since the copy was asked for.
      let content = state.nodes[id]?.content ?? content
      let staged: StagedFile? = content?.withState { state in
        guard state.version?.etag == old else { return nil }
        state.version = version
        return state.staged
      }
      guard let node = state.nodes[id] else { return staged }
      if node.kernelVersion == node.version?.etag { node.kernelVersion = version.etag }
      if node.shownVersion == node.version?.etag { node.shownVersion = version.etag }
      if let target = node.target { node.target = (target.text, version.etag) }
      node.version = version
      return staged
    }
  }
}
