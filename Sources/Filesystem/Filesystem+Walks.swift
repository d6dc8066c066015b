/// Listing a whole subtree for a program that goes through it (`find`, `du`, `git status`): one listing without a
/// delimiter takes a page for a thousand objects, where one of each directory takes at least a page for each.
extension Filesystem {
  /// To be called when a directory is opened, before it is looked where its names come from. Blocks while they are about to
  /// come.
  func noteOpened(_ directory: InodeID) {
    switch tree.noteOpened(directory) {
    case .none: break
    case .following(let pages, let seen): pages.wait(after: seen)
    case .leading(let walk):
      let isStarted = listings.start {
        var listing = WalkListing(walk, self)
        self.tree.end(walk, isComplete: listing.run())
      }
      if !isStarted { tree.end(walk, isComplete: false) }
    }
  }
}
