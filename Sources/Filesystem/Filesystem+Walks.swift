import Basics
import ObjectStore

/// Listing a whole subtree for a program that goes through it (`find`, `du`, `git status`): one listing without a
/// delimiter takes a page for a thousand objects, where one of each directory takes at least a page for each.
extension Filesystem {
  /// To be called when a directory is opened.
  func noteOpened(_ directory: InodeID) {
    guard let walk = tree.noteOpened(directory) else { return }
    if !listings.start({ self.list(walk) }) { tree.end(walk, nil, marked: []) }
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
    var fetches: [(paths: [String], fetch: AttributeFetch)] = []
    var pages = 0
    var isComplete = false
    while tree.goesOn(walk, pages: pages), walked.count <= Walk.mostNames {
      // An error is for whoever reads a directory, and asks by himself.
      guard let answer = try? feed.next().map({ ($0, $0.continuation == nil) }) else { break }
      pages += 1
      isComplete = answer.1
      let markers = walked.add(answer.0)
      if configuration.attributes == .auto, !markers.isEmpty {
        let fetch = AttributeFetch(
          markers.enumerated().map { ($0.offset, markerKey($0.element)) }, askedAt: walk.askedAt)
        fetch.start(source)
        fetches.append((markers, fetch))
      }
      if isComplete { break }
    }
    guard isComplete, walked.count <= Walk.mostNames else { return tree.end(walk, nil, marked: []) }
    let marked = self.marked(fetches, &walked)
    for key in walked.unshowable { noticeUnshowable(key) }
    for path in walked.hidden { noticeHidden(path) }
    tree.end(walk, walked, marked: tree.isMarked(.root) ? marked.union([""]) : marked)
  }

  /// Waits for what the markers carry; one that does not answer counts as marked.
  private func marked(_ fetches: [(paths: [String], fetch: AttributeFetch)], _ walked: inout WalkedTree) -> Set<String>
  {
    var marked: Set<String> = []
    for (paths, fetch) in fetches {
      for (position, path) in paths.enumerated() {
        guard case .success(let marker?) = fetch.wait(for: position) else {
          marked.insert(path)
          continue
        }
        if DirectoryMark.isSet(on: marker) { marked.insert(path) }
        walked.setMarker(marker, of: path)
      }
    }
    return marked
  }
}
