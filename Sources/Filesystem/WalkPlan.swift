import ObjectStore

/// How a walk is shared between several listings that are under way at a time. Pure.
///
/// A page of a listing tells how the next is asked for, so one listing takes a round trip for each of its pages, however
/// many requests the server could answer at once. But the directories in the one that is walked are known, and a listing
/// can begin behind any of them.
enum WalkPlan {
  /// Listings under way at a time: with each a page that may turn out not to be wanted (`Walk.pagesOnTrial`). Two or three
  /// are ahead of any program.
  static let mostListings = 3
  /// Pages for which a listing is worth it: each has about half a page more than its share.
  static let pagesEach = 2.5
  /// Names on a page.
  static let pageSize = 1000.0

  /// Where the others begin.
  /// - Parameters:
  ///   - markers: the keys of all directories in the one that is walked (`PREFIX/NAME/`).
  ///   - last: the last key of the first page.
  /// - Returns: keys, in order: each listing goes as far as the one where the next begins, and none of the keys below one
  ///   directory are on both sides.
  static func cuts(_ markers: [ObjectKey], after last: ObjectKey) -> [ObjectKey] {
    let markers = markers.sorted()
    let begun = markers.prefix { $0 < last }.count
    let rest = markers.count - begun
    // The last of those that have begun goes on on the next page, more or less.
    let pages = Double(rest) / max(0.5, Double(begun) - 0.5)
    // Where only the first directories can be kept, the order is worth more than the time.
    guard pages * pageSize <= Double(Walk.mostNames) else { return [] }
    let listings = min(mostListings, Int(pages / pagesEach), rest + 1)
    guard listings > 1 else { return [] }
    return (1..<listings).map { end(of: markers[begun + rest * $0 / listings - 1]) }
  }

  /// The first key behind all those that begin with that of a marker.
  static func end(of marker: ObjectKey) -> ObjectKey {
    // "0" comes after "/".
    ObjectKey(Substring(marker.string.utf8.dropLast()) + "0")
  }
}
