import Basics
import ObjectStore

/// A path below the mount's root, without slashes at its ends; empty for the root. Compared byte by byte.
struct DirectoryPath: ByteName {
  let string: String

  init(_ string: String) { self.string = string }
}

/// What a listing of a whole subtree shows, directory by directory. A value.
///
/// As long as the keys come in the order of their bytes, a directory is complete when the first key behind it has come.
/// Where they do not, all are complete at the end.
struct WalkedTree {
  struct Directory {
    var entries: [FileName: RemoteEntry] = [:]
    /// Whether its marker was listed.
    var hasMarker = false
  }

  /// By path below the mount's root; without those that were taken.
  private(set) var directories: [DirectoryPath: Directory]
  /// Directories that were taken as complete.
  private(set) var taken: Set<DirectoryPath> = []
  /// Whether there was a key for a directory that had been taken: the server has no such order.
  private(set) var isBroken = false
  /// Names in all directories together.
  private(set) var count = 0
  /// Keys that cannot be shown, and paths of objects that a directory hides.
  private(set) var unshowable: [ObjectKey] = []
  private(set) var hidden: [String] = []
  private let prefix: String
  private let root: String
  /// The directory of the last key, below those it is in: more of them may come.
  private var open: [DirectoryPath]
  private var closed: [DirectoryPath] = []
  /// Whether the keys have come in the order of their bytes so far.
  private(set) var isAscending = true
  private var lastKey = ObjectKey("")
  /// Keys of a directory mostly come one after the other.
  private var last: (bytes: Substring.UTF8View, path: String)?

  /// - Parameters:
  ///   - root: the path of the directory that was listed.
  ///   - prefix: what all its keys start with.
  init(root: String, prefix: String) {
    self.root = root
    self.prefix = prefix
    directories = [DirectoryPath(root): Directory()]
    open = [DirectoryPath(root)]
  }

  /// Takes in a page.
  /// - Returns: paths of directories whose marker is on it.
  mutating func add(_ page: ListPage) -> [String] {
    var markers: [String] = []
    for entry in page.entries {
      if isAscending, entry.key < lastKey { isAscending = false }
      lastKey = entry.key
      guard let (path, name) = place(of: entry.key) else {
        unshowable.append(entry.key)
        continue
      }
      guard let name else {
        directories[DirectoryPath(path)]?.hasMarker = true
        markers.append(path)
        continue
      }
      let fileName = FileName(name)
      if NameRules.isHidden(fileName, prefix: path.isEmpty ? prefix : path) { continue }
      var listed = entry
      listed.key = ObjectKey("")
      insert(fileName, .listedFile(listed), in: path)
    }
    return markers
  }

  /// The directory of a key, made if it is new, and the name in it; no name for a marker. Nil when a part of the key cannot
  /// be a file name.
  private mutating func place(of key: ObjectKey) -> (path: String, name: String?)? {
    let rest = key.string[...].utf8.dropFirst(prefix.utf8.count)
    let end = rest.lastIndex(of: UInt8(ascii: "/"))
    let above = end.map { rest[..<$0] } ?? rest[rest.startIndex..<rest.startIndex]
    guard let name = String(end.map { rest[rest.index(after: $0)...] } ?? rest) else { return nil }
    // A slash that nothing stands before is part of a name that cannot be.
    guard end == nil || !above.isEmpty, let path = directory(above) else { return nil }
    if name.isEmpty { return (path, nil) }
    return NameRules.canShow(name) ? (path, name) : nil
  }

  private mutating func directory(_ below: Substring.UTF8View) -> String? {
    if below.isEmpty { return root }
    if let last, last.bytes.elementsEqual(below) { return last.path }
    var path = root
    var chain = [DirectoryPath(root)]
    for part in below.split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: false) {
      guard let name = String(part), NameRules.canShow(name) else { return nil }
      let parent = path
      path = NameRules.path(FileName(name), in: parent)
      let made = DirectoryPath(path)
      chain.append(made)
      guard directories[made] == nil else { continue }
      if taken.contains(made) { isBroken = true }
      directories[made] = Directory()
      insert(FileName(name), .listedDirectory, in: parent)
    }
    last = (below, path)
    let common = zip(open, chain).prefix { $0 == $1 }.count
    closed += open[common...].reversed()
    open = chain
    return path
  }

  /// Directories that are complete, the deepest first; each is given once.
  /// - Parameter atEnd: whether there are no more pages.
  mutating func takeComplete(atEnd: Bool = false) -> [DirectoryPath] {
    if atEnd { return directories.keys.sorted { $0.string.utf8.count > $1.string.utf8.count } }
    defer { closed = [] }
    return isAscending ? closed : []
  }

  /// Directories of which some is known, and not all, without the one that is listed.
  var begun: ArraySlice<DirectoryPath> { open.dropFirst() }

  /// The names of a directory that is complete.
  mutating func take(_ path: DirectoryPath) -> [FileName: RemoteEntry] {
    taken.insert(path)
    return directories.removeValue(forKey: path)?.entries ?? [:]
  }

  /// A directory hides an object of its name, whichever comes first.
  private mutating func insert(_ name: FileName, _ entry: RemoteEntry, in path: String) {
    guard let index = directories.index(forKey: DirectoryPath(path)) else { return }
    let old = directories.values[index].entries[name]
    if let old, old.isDirectory != entry.isDirectory { hidden.append(NameRules.path(name, in: path)) }
    if old == nil { count += 1 }
    if old?.isDirectory ?? false { return }
    directories.values[index].entries[name] = entry
  }

  /// Notes what the marker of a directory carries.
  mutating func setMarker(_ marker: ObjectMetadata, of directory: DirectoryPath) {
    let path = directory.string
    guard !path.utf8.elementsEqual(root.utf8) else { return }
    let parts = path.utf8.lastIndex(of: UInt8(ascii: "/"))
    let parent = parts.flatMap { String(path.utf8[..<$0]) } ?? ""
    guard let name = parts.map({ String(path.utf8[path.utf8.index(after: $0)...]) }) ?? path else { return }
    directories[DirectoryPath(parent)]?.entries[FileName(name)] = .directory(marker: marker)
  }
}
