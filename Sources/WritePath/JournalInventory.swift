public import Basics
import Glibc
public import ObjectStore
public import SystemPackage

/// A file in a journal, as a person sees it.
public struct JournalItem: Hashable, Sendable {
  /// What it is.
  public enum State: Hashable, Sendable {
    /// To be uploaded by the next mount.
    case pending(JournalRecord.State)
    /// Changes an object that somebody else replaced, so that the rest of it is gone; kept for a person.
    case stranded
    /// Being written; or, with no daemon, left open by one that died.
    case open
    /// Left open by a daemon that died; kept for a person.
    case recovered
    /// Cannot be read; kept for a person.
    case quarantined
  }

  /// Names it among all items of a root: `DIRECTORY/17`, `DIRECTORY/recovered/17`, `DIRECTORY/quarantine/17`.
  public var id: String
  /// The directory of the mount.
  public var directory: FilePath
  /// Endpoint, bucket and prefix as text; nil when not known.
  public var identity: String?
  /// Whether a daemon has the directory: nothing can be changed then.
  public var isInUse: Bool
  /// The key it was to have; nil when not known.
  public var key: ObjectKey?
  /// Length in bytes.
  public var size: UInt64
  /// When it was recorded, or last written to.
  public var modified: Timestamp
  /// What it is.
  public var state: State
  /// Why it is here, for a person.
  public var reason: String
  /// Its bytes; nil when there are none.
  public var data: FilePath?
  /// The record of a pending file.
  public var record: JournalRecord?
  /// What `discard` removes, in that order.
  var files: [FilePath]
}

/// Why something cannot be done with an item.
public enum JournalInventoryError: Error, Hashable, Sendable, CustomStringConvertible {
  /// A daemon has that directory.
  case inUse(FilePath)
  /// It is not there any more, or is not what it was.
  case changed(String)
  /// There are no bytes.
  case noData(String)
  /// A file or directory failed.
  case failed(FilePath, Errno)

  /// One line for a person.
  public var description: String {
    switch self {
    case .inUse(let path): "\(path) is in use by a running mount"
    case .changed(let id): "\(id) has changed meanwhile"
    case .noData(let id): "\(id) has no bytes"
    case .failed(let path, let errno): "\(path): \(errno)"
    }
  }
}

/// What an export wrote.
public struct JournalExport: Hashable, Sendable {
  /// Length of the file in bytes.
  public var size: UInt64
  /// The ranges that were never here: they are those of the base, in the bucket, and read as zeros in the file. Nil
  /// when nobody knows, for want of a record: then every hole may be such a range.
  public var missing: [Range<UInt64>]?
}

/// What all the journals below a root hold, for a command that works without mounting.
///
/// Nothing is cached; everything blocks for local I/O. Thread-safe.
public enum JournalInventory {
  /// All items of all mounts, by directory. Directories that are no journals are passed over.
  public static func read(root: FilePath) throws(JournalInventoryError) -> [JournalItem] {
    let names: [String]
    do throws(Errno) {
      names = try FileSystem.names(in: root)
    } catch {
      // No mount has ever been here.
      if error == .noSuchFileOrDirectory { return [] }
      throw .failed(root, error)
    }
    return names.flatMap { name -> [JournalItem] in
      let directory = root.appending(name)
      guard JournalDisk.exists(directory.appending("lock")), JournalDisk.exists(directory.appending("files")) else {
        return []
      }
      // Held for this moment only.
      let isInUse = (try? JournalSlots.lock(directory)) == nil
      return JournalListing(directory: directory, isInUse: isInUse).items()
    }
  }

  /// The identities of journals in which a mount that has ended left something to be done, to be taken up by the next of
  /// them; and how many files it left to be sent, which may be none.
  public static func remains(root: FilePath) -> [String: Int] {
    let names = (try? FileSystem.names(in: root)) ?? []
    let remains: [(String, Int)] = names.compactMap { name in
      let directory = root.appending(name)
      guard JournalDisk.exists(directory.appending("lock")),
        let files = try? FileSystem.names(in: directory.appending("files")), !files.isEmpty,
        // Held for this moment only.
        (try? JournalSlots.lock(directory)) != nil, let identity = JournalSlots.identity(of: directory)
      else { return nil }
      let items = JournalListing(directory: directory, isInUse: false).items()
      return (identity, items.count { if case .pending = $0.state { true } else { false } })
    }
    return Dictionary(remains, uniquingKeysWith: +)
  }

  /// Writes an item's bytes to a new file, on stable storage when this returns. What is there is never written over.
  ///
  /// A daemon may have the directory meanwhile: whatever it does to an item shows in what the item looks like
  /// afterwards, since it never changes bytes under a record. It is `changed` then, and nothing is written.
  public static func export(
    _ item: JournalItem, to path: FilePath
  ) throws(JournalInventoryError) -> JournalExport {
    try check(item)
    guard let data = item.data else { throw .noData(item.id) }
    let source = try failing(data) { () throws(Errno) in try JournalDisk.open(data, O_RDONLY) }
    let disk = JournalDisk()
    let target = try failing(path) { () throws(Errno) in try disk.make(path) }
    do throws(JournalInventoryError) {
      try failing(path) { () throws(Errno) in
        try disk.copy(source, to: target, path) { _ in }
        guard ftruncate(target.descriptor.rawValue, item.size.asInt) == 0 else { throw Errno(rawValue: errno) }
        try FileSystem.sync(target.descriptor)
        let folder = path.removingLastComponent()
        try disk.syncDirectory(folder.isEmpty ? "." : folder)
      }
      try check(item)
      return JournalExport(size: item.size, missing: item.record.map { $0.present.gaps(in: 0..<$0.size) })
    } catch {
      // Half a file is of no use to anybody.
      try? FileSystem.remove(path)
      throw error
    }
  }

  /// Removes exactly that item's files. An upload that it had begun is aborted by the next mount.
  public static func discard(_ item: JournalItem) throws(JournalInventoryError) {
    let held = try lock(item)
    defer { withExtendedLifetime(held) {} }
    try check(item)
    let disk = JournalDisk()
    for path in item.files { try failing(path) { () throws(Errno) in try disk.remove(path) } }
  }

  /// Whether it is still what it was when it was read; a daemon may have come or gone.
  private static func check(_ item: JournalItem) throws(JournalInventoryError) {
    let isSame = JournalListing(directory: item.directory, isInUse: item.isInUse).items().contains { found in
      var expected = item
      expected.reason = found.reason
      return found == expected
    }
    guard isSame else { throw .changed(item.id) }
  }

  private static func lock(_ item: JournalItem) throws(JournalInventoryError) -> SharedDescriptor {
    let held = try failing(item.directory) { () throws(Errno) in try JournalSlots.lock(item.directory) }
    guard let held else { throw .inUse(item.directory) }
    return held
  }

  private static func failing<Value>(
    _ path: FilePath, _ body: () throws(Errno) -> Value
  ) throws(JournalInventoryError) -> Value {
    do throws(Errno) {
      return try body()
    } catch {
      throw .failed(path, error)
    }
  }
}
