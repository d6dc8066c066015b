import Basics
import ObjectStore

/// The listings of one walk: one from the beginning, and others that begin further on when the first page has shown that
/// there is much to list (`WalkPlan`). Their pages are taken in turn, while all of them are being asked for. For one
/// thread.
struct WalkListing {
  private struct Part {
    let feed: PageFeed
    let token: Int?
    var walked: WalkedTree
    /// Its keys come after this one.
    let begin: ObjectKey?
    /// Keys from here on are those of the next.
    var end: ObjectKey?
    var isOver = false
  }

  private let walk: Walk
  private let filesystem: Filesystem
  private let source: DirectorySource
  private let prefix: String
  private var parts: [Part] = []
  /// The one whose page is taken next.
  private var turn = 0
  private var pages = 0
  private var markers: [DirectoryPath: (fetch: AttributeFetch, position: Int)] = [:]

  init(_ walk: Walk, _ filesystem: Filesystem) {
    self.walk = walk
    self.filesystem = filesystem
    source = filesystem.directorySource
    prefix = source.directoryPrefix(walk.path)
  }

  /// Lists everything, as long as somebody wants it, and hands complete directories to the tree.
  /// - Returns: whether it came to its end.
  mutating func run() -> Bool {
    defer { close() }
    begin(after: nil)
    while let index = nextInTurn() {
      turn = index + 1
      switch takePage(of: index) {
      case .taken: break
      case .useless: return false
      case .unordered: beginAgain()
      }
    }
    return true
  }

  private func nextInTurn() -> Int? {
    let waiting = parts.indices.filter { !parts[$0].isOver }
    return waiting.first { $0 >= turn } ?? waiting.first
  }

  private enum Step {
    case taken
    /// Nobody wants it, or it cannot be had.
    case useless
    /// The keys do not come in the order of their bytes, so that a listing may not begin in their middle.
    case unordered
  }

  private mutating func takePage(of index: Int) -> Step {
    let tree = filesystem.tree
    let count = parts.reduce(0) { $0 + $1.walked.count }
    guard tree.goesOn(walk, pages: pages), count <= Walk.mostNames,
      // An error is for whoever reads a directory, and asks by himself.
      var page = try? parts[index].feed.next()
    else { return .useless }
    pages += 1
    let last = page.entries.last?.key
    if parts.count > 1, !zip(page.entries, page.entries.dropFirst()).allSatisfy({ $0.key < $1.key }) {
      return .unordered
    }
    if let begin = parts[index].begin, page.entries.contains(where: { $0.key <= begin }) { return .unordered }
    if let end = parts[index].end, let beyond = page.entries.firstIndex(where: { $0.key >= end }) {
      if let last, last < end { return .unordered }
      page.entries.removeSubrange(beyond...)
      parts[index].isOver = true
    }
    if page.continuation == nil { parts[index].isOver = true }
    let found = parts[index].walked.add(page)
    ask(for: found)
    if parts.count > 1, !parts[index].walked.isAscending { return .unordered }
    if parts[index].walked.isBroken {
      filesystem.tree.retract(parts[index].walked.taken)
      return .useless
    }
    guard keepComplete(of: index) else { return .useless }
    tree.notePage(of: walk, begun: Set(parts.flatMap { $0.isOver ? [] : $0.walked.begun }))
    if pages == 1, let last, !parts[index].isOver { cut(after: last) }
    return .taken
  }

  /// Lets others list what comes later, where that is worth it.
  private mutating func cut(after last: ObjectKey) {
    guard parts[0].walked.isAscending, filesystem.tree.keysAreOrdered else { return }
    let names = filesystem.tree.directories(in: walk.directory)
    for cut in WalkPlan.cuts(names.map { ObjectKey("\(prefix)\($0)/") }, after: last) {
      parts[parts.count - 1].end = cut
      parts[parts.count - 1].feed.end(before: cut)
      begin(after: cut)
    }
    turn = 0
  }

  /// One listing after all, on which nothing is complete before its end.
  private mutating func beginAgain() {
    filesystem.tree.noteUnordered()
    for part in parts { filesystem.tree.retract(part.walked.taken) }
    close()
    turn = 0
    begin(after: nil)
  }

  private mutating func begin(after key: ObjectKey?) {
    let feed = PageFeed(source.store, prefix: prefix, delimited: false, after: key)
    let token = filesystem.listings.cancellation.addHandler { feed.close() }
    if key != nil { feed.start() }
    parts.append(Part(feed: feed, token: token, walked: WalkedTree(root: walk.path, prefix: prefix), begin: key))
  }

  /// Ends all listings.
  private mutating func close() {
    for part in parts {
      if let token = part.token { filesystem.listings.cancellation.removeHandler(token) }
      part.feed.close()
      for key in part.walked.unshowable { filesystem.noticeUnshowable(key) }
      for path in part.walked.hidden { filesystem.noticeHidden(path) }
    }
    parts = []
  }

  /// Asks for markers, which may carry marks.
  private mutating func ask(for paths: [String]) {
    guard filesystem.configuration.attributes == .auto, !paths.isEmpty else { return }
    let fetch = AttributeFetch(
      paths.enumerated().map { ($0.offset, filesystem.markerKey($0.element)) }, askedAt: walk.askedAt)
    fetch.start(source)
    for (position, path) in paths.enumerated() { markers[DirectoryPath(path)] = (fetch, position) }
  }

  /// Hands complete directories to the tree, when it is known whether they are marked.
  /// - Returns: false when they are of no use any more.
  private mutating func keepComplete(of index: Int) -> Bool {
    for path in parts[index].walked.takeComplete(atEnd: parts[index].isOver) {
      // Of the directory that is walked, each has a part only; its names are known anyway.
      if parts.count > 1, path.string.utf8.elementsEqual(walk.path.utf8) { continue }
      var isMarked = path.string.isEmpty && filesystem.tree.isMarked(.root)
      if let (fetch, position) = markers[path] {
        switch fetch.wait(for: position) {
        case .success(let marker?):
          isMarked = DirectoryMark.isSet(on: marker)
          parts[index].walked.setMarker(marker, of: path)
        // One that does not answer counts as marked.
        case .success(nil), .failure: isMarked = true
        }
      }
      let names = parts[index].walked.take(path)
      guard filesystem.tree.keep(names, at: path, of: walk, isMarked: isMarked) else { return false }
    }
    return true
  }
}
