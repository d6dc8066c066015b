import Basics
import ObjectStore

/// What the bucket has under a path.
enum RemoteEntry: Hashable, Sendable {
  /// An object, asked by HEAD.
  case file(ObjectMetadata)
  /// An object as a listing shows it: its attributes are not known.
  case listedFile(ListEntry)
  /// A common prefix, and its `name/` marker where there is one.
  case directory(marker: ObjectMetadata?)
  /// A common prefix of which a listing showed no more.
  case listedDirectory

  var isDirectory: Bool {
    switch self {
    case .directory, .listedDirectory: true
    case .file, .listedFile: false
    }
  }

  /// Whether it has the attributes of the object, so that nothing more is to be asked.
  var isWhole: Bool {
    switch self {
    case .file, .directory: true
    case .listedFile, .listedDirectory: false
    }
  }

  /// The version of an object; nil for a directory.
  var identity: ObjectIdentity? {
    switch self {
    case .file(let metadata): ObjectIdentity(etag: metadata.etag, lastModified: metadata.lastModified)
    case .listedFile(let entry): ObjectIdentity(etag: entry.etag, lastModified: entry.lastModified)
    case .directory, .listedDirectory: nil
    }
  }
}

/// What a version is told apart by, in listings and answers to HEAD alike: changed attributes leave the tag as it is.
struct ObjectIdentity: Hashable, Sendable {
  var etag: ETag
  var lastModified: Timestamp
}

/// What a name is looked for as.
enum RemoteKind: Hashable, Sendable {
  case object
  case directory
}

/// All names of a directory, as one complete listing showed them, with what this mount changed since.
struct Listing: Sendable {
  /// Objects as `.file` where a HEAD told more of the version that was listed.
  var entries: [FileName: RemoteEntry]
  /// Whether the objects may carry attributes that the listing does not show.
  var isMarked: Bool
  /// Monotonic time until which it is believed, in nanoseconds.
  var freshUntil: UInt64
}

/// A file or directory the kernel, an open handle or an unsent upload refers to. Lives in, and is guarded by, the
/// tree's mutex.
final class Node: @unchecked Sendable {
  // Sendable: a node never leaves the closures that run under the tree's mutex; NodeView is what travels.
  let id: InodeID
  let fileNumber: UInt64
  let type: FileType
  var name: FileName
  /// The directory it is in; nil for the root and for what was unlinked.
  var parent: InodeID?
  /// How often the kernel was given this inode.
  var lookups: UInt64 = 0
  var posix: PosixAttributes {
    didSet { content?.note(posix) }
  }
  /// For files and links: the version the attributes belong to; nil for what was never uploaded.
  var version: FileVersion?
  /// Whether `posix` is what the object carries (HEAD), or just what a listing can tell.
  var attributesKnown = false
  /// Whether what a listing tells is shown as it is: the directory was not marked.
  var isTrusted = false
  /// Monotonic time until which all this is believed, in nanoseconds.
  var freshUntil: UInt64 = 0
  /// For files that are open or hold what could not be sent; changed by `Tree.State.give`.
  fileprivate(set) var content: FileContent? {
    didSet { content?.note(posix) }
  }
  /// Its name is being taken away by an unlink or a rename over it: who opens it now must wait for how that ends.
  var isLeaving = false
  /// The version whose length the kernel was last told; nil for what is only here.
  var shownVersion: ETag?
  /// The version whose pages the kernel may hold.
  var kernelVersion: ETag?
  /// For links: where it leads, once read, and the version it was read from.
  var target: (text: String, etag: ETag)?

  // Directories.
  var children: [FileName: InodeID] = [:]
  var listing: Listing?
  /// When the directory, or one above it, got another name (monotonic): an answer of before is of no use.
  var movedAt: UInt64?
  var asked = AskedNames()
  /// When its names were last read, or a directory in it was opened by a program that does so for many (monotonic).
  var walkedAt: UInt64 = 0
  /// The last directory in it that was opened without its names being known, and when (monotonic).
  var openedBelow: (id: InodeID, at: UInt64)?
  /// From when on it may be walked again (monotonic).
  var walkableAt: UInt64 = 0
  /// Names that are known not to be there, and until when (monotonic).
  var absent: [FileName: UInt64] = [:]
  /// What this mount did to a name.
  struct Touch {
    /// When (monotonic).
    var at: UInt64
    /// Whether the name is gone since. Else it is there, also when the kernel has forgotten it meanwhile.
    var isRemoval: Bool
  }

  /// Names that this mount changed: an answer to a question asked before is out of date.
  var touched: [FileName: Touch] = [:]
  /// Whether its marker object is known to be there.
  var hasMarker = false
  /// Whether it is known to be marked (`DirectoryMark`).
  var isMarked = false
  /// When this mount marked it (monotonic).
  var markedAt: UInt64?
  /// Until when it is believed that it is not marked (monotonic); listings of the directory above do not tell.
  var markUntil: UInt64 = 0
  /// Metadata headers of the marker that are no attributes of ours.
  var foreign: [String: String] = [:]
  /// When the marker was stored.
  var markerTime: Timestamp?

  init(id: InodeID, fileNumber: UInt64, type: FileType, name: FileName, parent: InodeID?, posix: PosixAttributes) {
    self.id = id
    self.fileNumber = fileNumber
    self.type = type
    self.name = name
    self.parent = parent
    self.posix = posix
  }

  /// Whether what is known here counts more than what the bucket says.
  var isLocal: Bool { content?.isLocal ?? false }

  /// Whether a listed entry shows what is known, so that nothing needs to be asked.
  /// - Parameter isMarked: whether the object may carry attributes that the listing does not show.
  func matches(_ entry: RemoteEntry, isMarked: Bool) -> Bool {
    guard attributesKnown || (isTrusted && !isMarked) else { return false }
    switch entry {
    case .directory: return type == .directory
    case .listedDirectory: return type == .directory && !isMarked
    case .file, .listedFile: return type != .directory && identity != nil && entry.identity == identity
    }
  }

  /// Whether a listing shows the version that is known.
  func shows(_ entry: ListEntry) -> Bool {
    identity == ObjectIdentity(etag: entry.etag, lastModified: entry.lastModified)
  }

  private var identity: ObjectIdentity? {
    version.map { ObjectIdentity(etag: $0.etag, lastModified: $0.lastModified) }
  }

  /// Whether an answer to a question asked at `start` is about a path that the directory had before.
  func hasMoved(since start: UInt64) -> Bool { movedAt.map { $0 >= start } ?? false }

  /// What this mount did to a name since a question was asked.
  func touch(of child: FileName, since start: UInt64) -> Touch? { touched[child].flatMap { $0.at >= start ? $0 : nil } }

  /// Notes that this mount changed or removed a name in this directory.
  func touch(_ child: FileName, at now: UInt64, isRemoval: Bool = false) {
    // An answer older than this is never used: requests end long before.
    let horizon: UInt64 = 900 * 1_000_000_000
    if touched.count > 4096 { touched = touched.filter { $0.value.at + horizon > now } }
    touched[child] = Touch(at: now, isRemoval: isRemoval)
    absent[child] = nil
  }

  /// Notes that a name is not there.
  func noteAbsent(_ child: FileName, until: UInt64, now: UInt64) {
    if absent.count > 4096 { absent = absent.filter { $0.value > now } }
    absent[child] = until
  }
}

extension Tree.State {
  /// Gives a file its content, or takes it away.
  mutating func give(_ content: FileContent?, to node: Node) {
    node.content = content
    if content == nil { inUse.remove(node.id) } else { inUse.insert(node.id) }
  }
}

/// A copy of what is known of a node, to work with outside the tree's mutex.
struct NodeView: Sendable {
  var id: InodeID
  var parent: InodeID?
  var name: FileName
  /// Path below the mount's root, without slashes at its ends; nil for what was unlinked.
  var path: String?
  var type: FileType
  var posix: PosixAttributes
  var version: FileVersion?
  var attributes: FileAttributes
  var lifetime: Double
  var isFresh: Bool
  var isLocal: Bool
  var content: FileContent?
  /// The version whose length `attributes` show; nil for what is only here.
  var shownVersion: ETag?
  var isLeaving: Bool
  var hasMarker: Bool
  var isMarked: Bool
  /// Whether `posix` is what the object carries, not just what a listing can tell.
  var attributesKnown: Bool
  var foreign: [String: String]
  var target: String?
}
