/// Listing a whole subtree for a program that goes through it (`find`, `du`, `git status`): one listing without a
/// delimiter takes a page for a thousand objects, where one of each directory takes at least a page for each.
extension Filesystem {
  /// To be called when a directory is opened.
  func noteOpened(_ directory: InodeID) {
    guard let walk = tree.noteOpened(directory) else { return }
    let isStarted = listings.start {
      var listing = WalkListing(walk, self)
      self.tree.end(walk, isComplete: listing.run())
    }
    if !isStarted { tree.end(walk, isComplete: false) }
  }
}
