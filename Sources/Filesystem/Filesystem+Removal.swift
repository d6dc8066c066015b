public import Basics
import ObjectStore
public import SystemPackage

/// The end of a bucket.
extension Filesystem {
  /// Takes away what waysfs keeps in an empty bucket for itself, so that the bucket can be deleted.
  /// - Throws: ENOTEMPTY when there is anything else, or something that is not in the bucket yet; EINVAL for a prefix.
  public func prepareRemoval(_ cancellation: Cancellation?) throws(Errno) {
    guard configuration.prefix.isEmpty else { throw .invalidArgument }
    guard pending().paths.isEmpty else { throw .directoryNotEmpty }
    let mark = ObjectKey(DirectoryMark.rootName)
    let askedAt = tree.now
    let isEmpty: Bool
    do throws(ObjectStoreError) {
      let page = try store.list(ListRequest(prefix: "", delimited: false, limit: 2), cancellation)
      isEmpty = page.entries.allSatisfy { $0.key == mark }
      if isEmpty, !page.entries.isEmpty { try store.delete(mark, cancellation) }
    } catch {
      throw log.report("rmdir", error)
    }
    guard isEmpty else { throw .directoryNotEmpty }
    // If the bucket stays after all, or is made again, the mark is, too, with the first file that needs it.
    tree.learnMark(of: .root, nil, askedAt: askedAt)
  }
}
