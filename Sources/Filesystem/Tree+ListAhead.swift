import Basics

/// Who asks for names of a directory that was not listed, and whether to list it.
struct AskedNames: Sendable {
  /// Names that were asked for one by one since `since`.
  var count = 0
  /// Monotonic.
  var since: UInt64 = 0
  /// How many of them are being asked for.
  var underway = 0
  /// The listing under way.
  var listing: ListingAhead?
  /// Monotonic time until which a listing is not tried again: it was too long.
  var pausedUntil: UInt64 = 0

  /// So many names, one after the other, within this time (nanoseconds) are a program that goes through the directory.
  static let telling = 3
  static let window: UInt64 = 2_000_000_000
  /// How long a directory that is too large to be listed is left alone, in nanoseconds.
  static let pause: UInt64 = 60_000_000_000
}

/// What somebody who asks for a name has to do with a listing of its directory.
enum ListingRole {
  /// Nothing.
  case alone
  /// Someone makes one.
  case joining(ListingAhead)
  /// It is to be made, and others join.
  case leading(ListingAhead)
}

extension Tree {
  /// Notes that the bucket is about to be asked for a name in a directory.
  func noteAsked(in id: InodeID) -> ListingRole {
    let now = now
    return withState { state in
      guard configuration.metadataLifetime > 0, let node = state.nodes[id] else { return .alone }
      if let listing = node.asked.listing { return .joining(listing) }
      if now > node.asked.since + AskedNames.window { (node.asked.since, node.asked.count) = (now, 0) }
      node.asked.count += 1
      // Two at a time are a program with several threads, which wants more than these.
      let isTelling = node.asked.count >= AskedNames.telling || node.asked.underway > 0
      guard isTelling, now >= node.asked.pausedUntil else {
        node.asked.underway += 1
        return .alone
      }
      node.asked.count = 0
      let listing = ListingAhead()
      node.asked.listing = listing
      return .leading(listing)
    }
  }

  /// A name that was asked for alone has been answered.
  func noteAnswered(in id: InodeID) {
    withState { state in
      guard let node = state.nodes[id] else { return }
      node.asked.underway = max(0, node.asked.underway - 1)
    }
  }

  /// The listing that was begun is over.
  func endListingAhead(of id: InodeID, isComplete: Bool) {
    let now = now
    withState { state in
      guard let node = state.nodes[id] else { return }
      node.asked.listing = nil
      if !isComplete { node.asked.pausedUntil = now + AskedNames.pause }
    }
  }
}
