import Basics
import ObjectStore

/// A listing of everything below a directory, made because a program goes through the whole tree.
struct Walk: Sendable {
  let id: Int
  let directory: InodeID
  let path: String
  /// When it was asked for (monotonic).
  let askedAt: UInt64
  /// Directories opened below it.
  var evidence: Int
  /// When the last of them was (monotonic).
  var usedAt: UInt64
  /// A directory in it was made, moved or removed meanwhile: what is listed may be wrong.
  var isSpoiled = false
  /// Paths of directories that this mount changed and has forgotten since.
  var changed: Set<DirectoryPath> = []
  /// Directories that are known in part: most likely the next page has the rest of them.
  var begun: Set<DirectoryPath> = []
  let pages = WalkPages()

  /// Names that are kept at most for directories that may never be opened.
  static let mostNames = 200_000
  /// Pages that are worth it for a first directory below one that was just listed, as long as no other follows.
  static let pagesOnTrial = 4
  /// Nanoseconds after which a program counts as doing something else.
  static let patience: UInt64 = 1_500_000_000
}

/// A directory that was listed before anybody has looked it up.
struct Foreseen: Sendable {
  var listing: Listing
}

/// What somebody who opens a directory has to do with walks.
enum WalkRole {
  /// Nothing.
  case none
  /// One is to be made.
  case leading(Walk)
  /// The next page of one tells sooner than an answer of its own, after so many pages.
  case following(WalkPages, after: Int)
}

extension Tree {
  /// Notes that the names of a directory are about to be read.
  func noteOpened(_ id: InodeID) -> WalkRole {
    let now = now
    return withState { state in
      guard configuration.metadataLifetime > 0, let node = state.nodes[id], let path = state.path(of: node) else {
        return .none
      }
      let isKnown = (node.listing?.freshUntil ?? 0) > now
      for index in state.walks.indices where state.walks[index].directory != id {
        // Those that it has found already count as well: nobody would open them but who goes on.
        guard Self.contains(state.walks[index].path, path) else { continue }
        state.walks[index].evidence += 1
        state.walks[index].usedAt = now
        let (pages, begun) = (state.walks[index].pages, state.walks[index].begun)
        let taken = pages.taken
        guard !isKnown, taken == 0 || begun.contains(DirectoryPath(path)) else { return .none }
        return .following(pages, after: taken)
      }
      if isKnown {
        node.walkedAt = now
        return .none
      }
      guard let parent = node.parent.flatMap({ state.nodes[$0] }), let above = state.path(of: parent),
        isWalked(parent, now)
      else { return .none }
      parent.walkedAt = now
      let isSecond = parent.openedBelow.map { $0.id != id && now < $0.at + Walk.patience } ?? false
      parent.openedBelow = (id, now)
      guard isSecond || isFirst(node, in: parent) else { return .none }
      state.nextWalk += 1
      let walk = Walk(
        id: state.nextWalk, directory: parent.id, path: above, askedAt: now, evidence: isSecond ? 2 : 1, usedAt: now)
      parent.walkableAt = now + Walk.patience
      state.walks.append(walk)
      // What an earlier one found and nobody wanted.
      state.foreseen = state.foreseen.filter {
        $0.value.listing.freshUntil > now && !Self.contains(above, $0.key.string)
      }
      return .leading(walk)
    }
  }

  /// Whether a program has just listed a directory that has others in it.
  private func isWalked(_ node: Node, _ now: UInt64) -> Bool {
    guard let listing = node.listing, listing.freshUntil > now, now < node.walkedAt + Walk.patience,
      now >= node.walkableAt
    else { return false }
    var directories = listing.entries.values.lazy.filter(\.isDirectory).makeIterator()
    return directories.next() != nil && directories.next() != nil
  }

  /// Programs that go through a tree mostly begin with the first; who does not has to open two.
  private func isFirst(_ node: Node, in parent: Node) -> Bool {
    parent.listing?.entries.contains { $0.value.isDirectory && $0.key < node.name } == false
  }

  /// The directories in one that was listed.
  func directories(in id: InodeID) -> [FileName] {
    let entries = withState { $0.nodes[id]?.listing?.entries ?? [:] }
    return entries.compactMap { $0.value.isDirectory ? $0.key : nil }
  }

  /// Whether a listing may begin in the middle of the keys.
  var keysAreOrdered: Bool { withState { !$0.keysAreUnordered } }

  /// The server has been seen to list keys in another order than that of their bytes.
  func noteUnordered() { withState { $0.keysAreUnordered = true } }

  /// The names of a directory were read to their end.
  func noteRead(_ id: InodeID) {
    let now = now
    withState { $0.nodes[id]?.walkedAt = now }
  }

  /// Whether a walk is still worth its next page.
  func goesOn(_ walk: Walk, pages: Int) -> Bool {
    let now = now
    return withState { state in
      guard let walk = state.walks.first(where: { $0.id == walk.id }), !walk.isSpoiled else { return false }
      return now <= walk.usedAt + Walk.patience && (walk.evidence > 1 || pages < Walk.pagesOnTrial)
    }
  }

  /// One more page of a walk was taken in.
  /// - Parameter begun: directories of which it has shown a part.
  func notePage(of walk: Walk, begun: Set<DirectoryPath>) {
    withState { state in
      guard let index = state.walks.firstIndex(where: { $0.id == walk.id }) else { return }
      state.walks[index].begun = begun
    }
    walk.pages.noteTaken()
  }

  /// A walk is over. One that did not come to its end is not tried again for a while.
  func end(_ walk: Walk, isComplete: Bool) {
    let now = now
    withState { state in
      state.walks.removeAll { $0.id == walk.id }
      if !isComplete { state.nodes[walk.directory]?.walkableAt = expiry(from: now) }
    }
    walk.pages.end()
  }

  /// What was kept of a walk turned out to be incomplete.
  func retract(_ paths: Set<DirectoryPath>) {
    for path in paths {
      withState { state in
        state.foreseen[path] = nil
        state.node(at: path)?.listing = nil
      }
    }
  }

  /// Keeps the names of one directory that a walk has found, all of them.
  /// - Returns: false when what was listed is of no use any more.
  func keep(
    _ entries: [FileName: RemoteEntry], at path: DirectoryPath, of walk: Walk, isMarked: Bool
  ) -> Bool {
    withState { state in
      guard let current = state.walks.first(where: { $0.id == walk.id }), !current.isSpoiled else { return false }
      guard let root = state.nodes[walk.directory], let above = state.path(of: root),
        above.utf8.elementsEqual(walk.path.utf8)
      else { return false }
      if current.changed.contains(path) { return true }
      if let node = state.node(at: path) {
        keep(entries, for: node, isMarked: isMarked, askedAt: walk.askedAt, state)
      } else {
        let isMarked = asks(whenMarked: isMarked, state)
        let listing = Listing(entries: entries, isMarked: isMarked, freshUntil: expiry(from: walk.askedAt))
        state.foreseen[path] = Foreseen(listing: listing)
      }
      return true
    }
  }

  /// Gives a directory that has just come to be known the listing that was made before.
  func takeForeseen(_ node: Node, _ state: inout State) {
    guard !state.foreseen.isEmpty, let path = state.path(of: node),
      let foreseen = state.foreseen.removeValue(forKey: DirectoryPath(path))
    else { return }
    if foreseen.listing.freshUntil > now { node.listing = foreseen.listing }
  }

  static func contains(_ above: String, _ path: String) -> Bool {
    guard !above.isEmpty else { return true }
    let rest = path.utf8.dropFirst(above.utf8.count)
    return path.utf8.starts(with: above.utf8) && (rest.isEmpty || rest.first == UInt8(ascii: "/"))
  }
}

extension Tree.State {
  /// The known directory at a path.
  func node(at path: DirectoryPath) -> Node? {
    var node = nodes[.root]
    for name in path.string.utf8.split(separator: UInt8(ascii: "/")) {
      node = String(name).flatMap { node?.children[FileName($0)] }.flatMap { nodes[$0] }
    }
    return node?.type == .directory ? node : nil
  }

  /// A directory was made, moved or removed: what was listed below that path before is of no use.
  mutating func spoilWalks(_ name: FileName, in parent: Node) {
    guard !walks.isEmpty || !foreseen.isEmpty, let above = path(of: parent) else { return }
    let changed = NameRules.path(name, in: above)
    for index in walks.indices
    where Tree.contains(walks[index].path, changed) || Tree.contains(changed, walks[index].path) {
      walks[index].isSpoiled = true
    }
    for path in foreseen.keys where Tree.contains(changed, path.string) { foreseen[path] = nil }
  }

  /// A directory is forgotten, and with it what this mount changed there.
  mutating func noteForgotten(_ node: Node) {
    guard !walks.isEmpty, !node.touched.isEmpty, let path = path(of: node) else { return }
    for index in walks.indices { walks[index].changed.insert(DirectoryPath(path)) }
  }
}
