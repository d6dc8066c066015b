import Basics
import ObjectStore

/// A listing of everything below a directory, made because a program goes through the whole tree.
struct Walk: Sendable {
  let id: Int
  let directory: InodeID
  let path: String
  /// When it was asked for (monotonic).
  let askedAt: UInt64
  /// Directories opened below it since that nobody knew the names of.
  var evidence = 1
  /// When the last of them was (monotonic).
  var usedAt: UInt64
  /// A directory in it was made, moved or removed meanwhile: what is listed may be wrong.
  var isSpoiled = false
  /// Paths of directories that this mount changed and has forgotten since.
  var changed: Set<String> = []

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
  var askedAt: UInt64
}

extension Tree {
  /// Notes that the names of a directory are about to be read.
  /// - Returns: a walk to be made.
  func noteOpened(_ id: InodeID) -> Walk? {
    let now = now
    return withState { state in
      guard configuration.metadataLifetime > 0, let node = state.nodes[id], let path = state.path(of: node) else {
        return nil
      }
      guard (node.listing?.freshUntil ?? 0) <= now else {
        node.walkedAt = now
        return nil
      }
      for index in state.walks.indices where Self.contains(state.walks[index].path, path) {
        state.walks[index].evidence += 1
        state.walks[index].usedAt = now
        return nil
      }
      guard let parent = node.parent.flatMap({ state.nodes[$0] }), let above = state.path(of: parent),
        isWalked(parent, now)
      else { return nil }
      parent.walkedAt = now
      state.nextWalk += 1
      let walk = Walk(id: state.nextWalk, directory: parent.id, path: above, askedAt: now, usedAt: now)
      parent.walkableAt = now + Walk.patience
      state.walks.append(walk)
      return walk
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

  /// A walk is over.
  /// - Parameters:
  ///   - walked: everything below the directory; nil when the listing was not completed.
  ///   - marked: paths of directories that are marked.
  func end(_ walk: Walk, _ walked: WalkedTree?, marked: Set<String>) {
    var isKept = false
    if let walked, begin(keeping: walk) {
      // One by one, so that nobody waits long for the mutex.
      isKept = walked.directories.allSatisfy {
        keep($0.value.entries, at: $0.key, of: walk, isMarked: marked.contains($0.key))
      }
    }
    let now = now
    withState { state in
      state.walks.removeAll { $0.id == walk.id }
      // Too large, or of no use: not again for as long as it would have been believed.
      if !isKept { state.nodes[walk.directory]?.walkableAt = expiry(from: now) }
    }
  }

  private func begin(keeping walk: Walk) -> Bool {
    withState { state in
      guard let root = state.nodes[walk.directory], let path = state.path(of: root) else { return false }
      state.foreseen = [:]
      return path.utf8.elementsEqual(walk.path.utf8)
    }
  }

  /// - Returns: false when what was listed is of no use any more.
  private func keep(
    _ entries: [FileName: RemoteEntry], at path: String, of walk: Walk, isMarked: Bool
  ) -> Bool {
    withState { state in
      guard let current = state.walks.first(where: { $0.id == walk.id }), !current.isSpoiled else { return false }
      if current.changed.contains(path) { return true }
      if let node = state.node(at: path) {
        keep(entries, for: node, isMarked: isMarked, askedAt: walk.askedAt, state)
      } else {
        let isMarked = asks(whenMarked: isMarked, state)
        let listing = Listing(entries: entries, isMarked: isMarked, freshUntil: expiry(from: walk.askedAt))
        state.foreseen[path] = Foreseen(listing: listing, askedAt: walk.askedAt)
      }
      return true
    }
  }

  /// Gives a directory that has just come to be known the listing that was made before.
  func takeForeseen(_ node: Node, _ state: inout State) {
    guard !state.foreseen.isEmpty, let path = state.path(of: node),
      let foreseen = state.foreseen.removeValue(forKey: path)
    else { return }
    if foreseen.listing.freshUntil <= now {
      // All of them are of the same time.
      state.foreseen = [:]
    } else {
      node.listing = foreseen.listing
    }
  }

  static func contains(_ above: String, _ path: String) -> Bool {
    guard !above.isEmpty else { return true }
    let rest = path.utf8.dropFirst(above.utf8.count)
    return path.utf8.starts(with: above.utf8) && (rest.isEmpty || rest.first == UInt8(ascii: "/"))
  }
}

extension Tree.State {
  /// The known directory at a path.
  func node(at path: String) -> Node? {
    var node = nodes[.root]
    for name in path.split(separator: "/") {
      node = node?.children[FileName(String(name))].flatMap { nodes[$0] }
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
    for path in foreseen.keys where Tree.contains(changed, path) { foreseen[path] = nil }
  }

  /// A directory is forgotten, and with it what this mount changed there.
  mutating func noteForgotten(_ node: Node) {
    guard !walks.isEmpty, !node.touched.isEmpty, let path = path(of: node) else { return }
    for index in walks.indices { walks[index].changed.insert(path) }
  }
}
