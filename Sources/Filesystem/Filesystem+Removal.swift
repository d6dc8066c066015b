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
      let page = try store.list(ListRequest(prefix: "", delimited: false, limit: 100), cancellation)
      isEmpty = page.continuation == nil && page.entries.allSatisfy(isOwn)
      if isEmpty { for entry in page.entries { try store.delete(entry.key, cancellation) } }
    } catch {
      throw log.report("rmdir", error)
    }
    guard isEmpty else { throw .directoryNotEmpty }
    // If the bucket stays after all, or is made again, the mark is, too, with the first file that needs it.
    tree.learnMark(of: .root, nil, askedAt: askedAt)
  }

  /// Whether nobody sees an object, and nobody misses it: the mark of the root, or a scratch object so old that whoever
  /// made it has died over it.
  private func isOwn(_ entry: ListEntry) -> Bool {
    if entry.key.string == DirectoryMark.rootName { return true }
    let minutes: Int64 = 5
    return ConditionalWrites.isScratch(entry.key.string)
      && entry.lastModified.seconds < configuration.time.wall.seconds - minutes * 60
  }
}
