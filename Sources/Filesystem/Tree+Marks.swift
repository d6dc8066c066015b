import Basics
import ObjectStore

/// What is known of marks (`DirectoryMark`), and what follows for listings.
extension Tree {
  /// Whether the objects in a directory may carry attributes that its listing does not show.
  /// - Parameter found: whether the directory is marked.
  func asks(whenMarked found: Bool) -> Bool { withState { asks(whenMarked: found, $0) } }

  /// Where the names of a directory come from that is opened now.
  func origin(of id: InodeID) -> StreamOrigin {
    let now = now
    return withState { state in
      guard let node = state.nodes[id] else { return .bucket(mark: .known(true)) }
      if let listing = node.listing, listing.freshUntil > now { return .listing(listing) }
      return .bucket(mark: knownMark(node, state, now))
    }
  }

  private func knownMark(_ node: Node, _ state: State, _ now: UInt64) -> KnownMark {
    if asks(whenMarked: node.isMarked, state) { return .known(true) }
    if configuration.attributes == .never { return .known(false) }
    if hasNoMarker(node) { return .asksMarker }
    if node.markUntil > now { return .known(false) }
    return node.hasMarker ? .asksMarker : .seenInListing
  }

  /// The root of a bucket is marked by an object of its own.
  private func hasNoMarker(_ node: Node) -> Bool { node.id == .root && configuration.prefix.isEmpty }

  /// Notes what the object that carries a directory's mark told; nil when there is none.
  func learnMark(of id: InodeID, _ marker: ObjectMetadata?, askedAt start: UInt64) {
    withState { state in
      guard let node = state.nodes[id] else { return }
      if hasNoMarker(node) {
        if marker != nil || (node.markedAt ?? 0) < start { node.isMarked = marker != nil }
        return
      }
      if node.hasMoved(since: start) { return }
      if node.parent.flatMap({ state.nodes[$0] })?.touch(of: node.name, since: start) != nil { return }
      let known = Knowledge(until: max(node.freshUntil, expiry(from: start)), askedAt: start)
      learn(node, .directory(marker: marker), known, &state)
    }
  }

  func isMarked(_ id: InodeID) -> Bool { withState { $0.nodes[id]?.isMarked ?? false } }

  /// This mount has marked a directory: what its listings show from now on is not all there is.
  func marked(_ id: InodeID) {
    let now = now
    withState { state in
      guard let node = state.nodes[id] else { return }
      node.isMarked = true
      node.markedAt = now
      node.listing?.isMarked = true
      guard !hasNoMarker(node) else { return }
      node.hasMarker = true
      if node.markerTime == nil { node.markerTime = configuration.time.wall }
      if let parent = node.parent.flatMap({ state.nodes[$0] }) { note(node, in: parent, now) }
    }
  }
}
