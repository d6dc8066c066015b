import Basics
import Logging
import ObjectStore

/// The names on a page of a listing.
struct PageNames {
  var names: [StreamedName] = []
  /// Whether the directory's own marker was among the keys.
  var hasMarker = false
}

/// What a `DirectoryStream` needs of the filesystem: where names come from and which keys they stand for.
struct DirectorySource: Sendable {
  /// Names whose attributes are asked for in one go.
  static let attributesAhead = 1000

  let store: any ObjectStore
  let prefix: String
  let parallelRequests: Int
  let unshowable: @Sendable (ObjectKey) -> Void
  let hidden: @Sendable (String) -> Void

  func directoryPrefix(_ path: String) -> String { path.isEmpty ? prefix : "\(prefix)\(path)/" }

  /// The pages of a listing of a directory.
  func pages(_ path: String) -> PageFeed { PageFeed(store, prefix: directoryPrefix(path)) }

  /// The object that carries the mark of a directory (`DirectoryMark`).
  func markKey(_ path: String) -> ObjectKey {
    let prefix = directoryPrefix(path)
    return ObjectKey(prefix.isEmpty ? DirectoryMark.rootName : prefix)
  }

  /// The names on a page: objects and common prefixes that can be file names; a directory hides an object of its name.
  func names(of page: ListPage, _ path: String) -> PageNames {
    let prefix = directoryPrefix(path)
    var found = PageNames()
    found.names.reserveCapacity(page.prefixes.count + page.entries.count)
    var directories: Set<FileName> = []
    for entry in page.prefixes {
      guard let name = component(Substring(entry.utf8.dropLast()), after: prefix) else {
        unshowable(ObjectKey(entry))
        continue
      }
      directories.insert(name)
      found.names.append(StreamedName(name: name, remote: .listedDirectory))
    }
    for entry in page.entries {
      if entry.key.string.utf8.count == prefix.utf8.count {
        found.hasMarker = true
        continue
      }
      guard let name = component(entry.key.string[...], after: prefix) else {
        unshowable(entry.key)
        continue
      }
      if NameRules.isHidden(name, prefix: prefix) { continue }
      if directories.contains(name) {
        hidden(NameRules.path(name, in: path))
      } else {
        var listed = entry
        // Kept for long, and by name.
        listed.key = ObjectKey("")
        found.names.append(StreamedName(name: name, remote: .listedFile(listed)))
      }
    }
    return found
  }

  private func component(_ key: Substring, after prefix: String) -> FileName? {
    guard key.utf8.starts(with: prefix.utf8) else { return nil }
    let rest = key.utf8.dropFirst(prefix.utf8.count)
    guard let text = String(rest), NameRules.canShow(text) else { return nil }
    return FileName(text)
  }

  /// The object that carries a name's attributes: itself, or a directory's marker.
  func keyOfAttributes(_ name: StreamedName, _ path: String) -> ObjectKey {
    let key = directoryPrefix(path) + name.name.string
    return ObjectKey(name.remote.isDirectory ? key + "/" : key)
  }
}
