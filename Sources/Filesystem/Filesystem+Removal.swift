public import Basics
import ObjectStore
public import SystemPackage
import WritePath

/// The end of a bucket.
extension Filesystem {
  /// Takes away what waysfs keeps in an empty bucket for itself, so that the bucket can be deleted.
  /// - Throws: ENOTEMPTY when there is anything else, or something that is not in the bucket yet; EINVAL for a prefix.
  public func prepareRemoval(_ cancellation: Cancellation?) throws(Errno) {
    guard configuration.prefix.isEmpty else { throw .invalidArgument }
    guard pending().paths.isEmpty else { throw .directoryNotEmpty }
    // What was begun early for files that are gone by now: it puts objects into the bucket, too.
    workers.parts.waitUntilIdle(cancellation)
    let askedAt = tree.now
    let isEmpty: Bool
    do throws(ObjectStoreError) {
      let own = try onlyOwn(below: ObjectKey(""), cancellation)
      isEmpty = own != nil
      for key in own ?? [] { try store.delete(key, cancellation) }
    } catch {
      throw log.report("rmdir", error)
    }
    guard isEmpty else { throw .directoryNotEmpty }
    // If the bucket stays after all, or is made again, the mark is, too, with the first file that needs it.
    tree.learnMark(of: .root, nil, askedAt: askedAt)
  }

  /// What waysfs keeps for itself below a key that ends in a slash, without that key; nil when there is anything else.
  func onlyOwn(below root: ObjectKey, _ cancellation: Cancellation?) throws(ObjectStoreError) -> [ObjectKey]? {
    var own: [ObjectKey] = []
    var request = ListRequest(prefix: root.string, delimited: false, limit: 100)
    repeat {
      let page = try store.list(request, cancellation)
      let others = page.entries.filter { $0.key != root }
      guard others.allSatisfy({ isOwn($0, root) }) else { return nil }
      own += others.map(\.key)
      request.continuation = page.continuation
    } while request.continuation != nil
    return own
  }

  /// Whether nobody sees an object, and nobody misses it: the mark of the root, or a scratch object so old that whoever
  /// made it has died over it.
  private func isOwn(_ entry: ListEntry, _ root: ObjectKey) -> Bool {
    if entry.key.string == DirectoryMark.rootName { return true }
    let minutes: Int64 = 5
    // By its bytes; with a slash it is in a directory, which is seen.
    let name = String(decoding: entry.key.string.utf8.dropFirst(root.string.utf8.count), as: UTF8.self)
    return ConditionalWrites.isScratch(name) && !name.utf8.contains(UInt8(ascii: "/"))
      && entry.lastModified.seconds < configuration.time.wall.seconds - minutes * 60
  }
}
