import Basics
import ObjectStore

/// Listing a whole subtree for a program that goes through it (`find`, `du`, `git status`): one listing without a
/// delimiter takes a page for a thousand objects, where one of each directory takes at least a page for each.
extension Filesystem {
  /// To be called when a directory is opened.
  func noteOpened(_ directory: InodeID) {
    guard let walk = tree.noteOpened(directory) else { return }
    if !listings.start({ self.list(walk) }) { tree.end(walk, isComplete: false) }
  }

  private func list(_ walk: Walk) {
    let source = directorySource
    var walked = WalkedTree(root: walk.path, prefix: source.directoryPrefix(walk.path))
    let feed = PageFeed(store, prefix: source.directoryPrefix(walk.path), delimited: false)
    let token = listings.cancellation.addHandler { feed.close() }
    defer {
      if let token { listings.cancellation.removeHandler(token) }
      feed.close()
    }
    var markers: [DirectoryPath: (fetch: AttributeFetch, position: Int)] = [:]
    var (pages, isComplete) = (0, false)
    while !isComplete, tree.goesOn(walk, pages: pages), walked.count <= Walk.mostNames, !walked.isBroken {
      // An error is for whoever reads a directory, and asks by himself.
      guard let (page, isLast) = try? feed.next().map({ ($0, $0.continuation == nil) }) else { break }
      pages += 1
      isComplete = isLast
      let paths = walked.add(page)
      if configuration.attributes == .auto, !paths.isEmpty {
        let fetch = AttributeFetch(
          paths.enumerated().map { ($0.offset, markerKey($0.element)) }, askedAt: walk.askedAt)
        fetch.start(source)
        for (position, path) in paths.enumerated() { markers[DirectoryPath(path)] = (fetch, position) }
      }
      guard !walked.isBroken, keep(walked.takeComplete(atEnd: isLast), of: &walked, walk, markers) else {
        isComplete = false
        break
      }
    }
    for key in walked.unshowable { noticeUnshowable(key) }
    for path in walked.hidden { noticeHidden(path) }
    if walked.isBroken { tree.retract(walked.taken) }
    tree.end(walk, isComplete: isComplete)
  }

  /// Hands complete directories to the tree, when it is known whether they are marked.
  /// - Returns: false when they are of no use any more.
  private func keep(
    _ complete: [DirectoryPath], of walked: inout WalkedTree, _ walk: Walk,
    _ markers: [DirectoryPath: (fetch: AttributeFetch, position: Int)]
  ) -> Bool {
    for path in complete {
      var isMarked = path.string.isEmpty && tree.isMarked(.root)
      if let (fetch, position) = markers[path] {
        switch fetch.wait(for: position) {
        case .success(let marker?):
          isMarked = DirectoryMark.isSet(on: marker)
          walked.setMarker(marker, of: path)
        // One that does not answer counts as marked.
        case .success(nil), .failure: isMarked = true
        }
      }
      guard tree.keep(walked.take(path), at: path, of: walk, isMarked: isMarked) else { return false }
    }
    return true
  }
}
