import Basics
import Logging
import ObjectStore
import WritePath

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

  /// Starts the request for a page.
  func list(_ path: String, _ token: String?, _ shot: PageShot) {
    let request = ListRequest(prefix: directoryPrefix(path), delimited: true, continuation: token)
    store.list(request, nil) { shot.fulfil($0) }
  }

  /// The names on a page: objects and common prefixes that can be file names; a directory hides an object of its name.
  func names(of page: ListPage, _ path: String) -> [StreamedName] {
    let prefix = directoryPrefix(path)
    var names: [StreamedName] = []
    var directories: Set<FileName> = []
    for entry in page.prefixes {
      guard let name = component(entry.dropLast(), after: prefix) else {
        unshowable(ObjectKey(entry))
        continue
      }
      directories.insert(name)
      names.append(StreamedName(name: name, remote: .listedDirectory))
    }
    for entry in page.entries where !entry.key.string.utf8.elementsEqual(prefix.utf8) {
      guard let name = component(entry.key.string[...], after: prefix) else {
        unshowable(entry.key)
        continue
      }
      // Some mount is trying the server with it at this moment.
      if ConditionalWrites.isScratch(name.string) { continue }
      if directories.contains(name) {
        hidden(NameRules.path(name, in: path))
      } else {
        names.append(StreamedName(name: name, remote: .listedFile(entry)))
      }
    }
    return names
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
