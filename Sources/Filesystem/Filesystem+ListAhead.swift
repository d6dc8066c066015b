import Basics
import ObjectStore

/// Listing directories before anybody reads them.
extension Filesystem {
  /// Waits for a listing of the directory when several of its names were asked for in a short time.
  /// - Returns: whether there was something to wait for; then the tree may know more now.
  func listsAhead(_ directory: InodeID, _ cancellation: Cancellation?) -> Bool {
    switch tree.noteAsked(in: directory) {
    case .alone: return false
    case .joining(let listing):
      listing.wait(cancellation)
      return true
    case .leading(let listing):
      guard listings.start({ self.list(directory, listing) }) else {
        tree.endListingAhead(of: directory, isComplete: false)
        listing.end()
        return false
      }
      listing.wait(cancellation)
      return true
    }
  }

  private func list(_ directory: InodeID, _ listing: ListingAhead) {
    defer { listing.end() }
    let now = tree.now
    guard let path = tree.view(directory)?.path else { return tree.endListingAhead(of: directory, isComplete: false) }
    let source = directorySource
    let stream = DirectoryStream(inode: directory, path: path, tree.origin(of: directory), source, now: now)
    let token = listings.cancellation.addHandler { stream.close() }
    defer {
      if let token { listings.cancellation.removeHandler(token) }
      stream.close()
    }
    for page in 1...ListingAhead.mostPages {
      // An error says nothing to anybody: who wants a name asks for it, and gets it.
      guard (try? stream.name(at: stream.count, source, nil)) != nil, stream.complete == nil else { break }
      if page < ListingAhead.mostPages { listing.noteContinued() }
    }
    if let names = stream.complete { try? remember(names, stream, nil) }
    tree.endListingAhead(of: directory, isComplete: stream.complete != nil)
  }
}
