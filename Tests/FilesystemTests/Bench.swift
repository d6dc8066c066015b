import Basics
import BlockCache
import Glibc
import Logging
import ObjectStore
import ReadPath
import Synchronization
import SystemPackage
import Testing

@testable import Filesystem
@testable import WritePath

/// A filesystem over an in-memory bucket behind a failing one, without FUSE, with a clock that stands still.
final class Bench: Sendable {
  let memory: InMemoryObjectStore
  let store: FailingObjectStore
  let clock = ManualClock()
  let directory: TemporaryDirectory
  let journal: Journal
  private let threads = FilesystemThreads(each: 1)
  let filesystem: Filesystem
  /// Uploads in the background that nobody has let begin yet.
  private let scheduled: Scheduled
  let context = CallContext(uid: 1000, gid: 100)

  /// - Parameter rootIsMarked: someone has written to the root before, as to every bucket in use.
  init(
    over memory: InMemoryObjectStore? = nil, prefix: String = "", lifetime: Double = 10, readOnly: Bool = false,
    directory: TemporaryDirectory? = nil, writeMode: WriteMode = .close, journalLimit: UInt64? = nil,
    power: Power? = nil, disk: JournalDisk? = nil, attributes: AttributesMode = .auto, rootIsMarked: Bool = true
  ) throws {
    let memory = memory ?? InMemoryObjectStore(time: clock.timeSource)
    self.memory = memory
    store = FailingObjectStore(wrapping: memory)
    self.directory = try directory ?? TemporaryDirectory()
    let log = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
    let space = JournalSpace(bounds: JournalBounds(limit: journalLimit, freeFraction: 0)) { nil }
    journal = try Journal(
      root: self.directory.path, name: "test", identity: prefix, space: space,
      disk: disk ?? power?.disk ?? JournalDisk(),
      clock: .system)
    var configuration = FilesystemConfiguration(prefix: prefix, uid: 7, gid: 8)
    configuration.metadataLifetime = lifetime
    configuration.attributes = attributes
    configuration.readOnly = readOnly
    configuration.time = clock.timeSource
    configuration.host = "bench"
    configuration.writeMode = writeMode
    // Tests count requests.
    configuration.probesEarly = false
    let scheduled = Scheduled()
    self.scheduled = scheduled
    let readPath = ReadPath(
      store: store, pool: try BlockPool(budget: 16 << 20), configuration: ReadPathConfiguration(), log: log)
    filesystem = Filesystem(
      store: store, readPath: readPath, journal: journal,
      conditions: ConditionalWrites(store: store, journal: journal, scratchPrefix: prefix, random: { 42 }, log: log),
      workers: threads.share(), memory: ByteBudget(total: 32 << 20), configuration: configuration, log: log,
      schedule: { _, body in scheduled.add(body) })
    if rootIsMarked, prefix.isEmpty {
      try memory.put(PutRequest(ObjectKey(DirectoryMark.rootName), body: .bytes([])))
      filesystem.tree.marked(.root)
    }
    if let power { store.setRule(power.rule) }
  }

  deinit {
    // They hold the filesystem, and so its journal.
    _ = scheduled.take()
    threads.shutdown()
  }

  /// Lets the uploads in the background happen that were asked for.
  func runUploads() {
    let isOver = OneShot<Void>()
    // Behind them: there is one thread.
    filesystem.uploads.add(after: 0) { isOver.fulfil(()) }
    for body in scheduled.take() { body() }
    isOver.wait()
  }

  // MARK: Paths, as the kernel would walk them

  /// Looks up every component of a path.
  func inode(_ path: String) throws -> InodeID {
    try path.split(separator: "/").reduce(InodeID.root) { parent, name in
      let entry = try filesystem.lookup(parent, FileName(String(name)), context)
      guard let inode = entry.inode else { throw Errno.noSuchFileOrDirectory }
      return inode
    }
  }

  func stat(_ path: String) throws -> FileAttributes {
    try filesystem.getAttributes(try inode(path), nil, context).attributes
  }

  func exists(_ path: String) throws -> Bool {
    do {
      _ = try inode(path)
      return true
    } catch Errno.noSuchFileOrDirectory {
      return false
    }
  }

  private func split(_ path: String) throws -> (InodeID, FileName) {
    let names = path.split(separator: "/").map(String.init)
    return (try inode(names.dropLast().joined(separator: "/")), FileName(try #require(names.last)))
  }

  func create(_ path: String, exclusive: Bool = false) throws -> HandleID {
    let (parent, name) = try split(path)
    let mode = OpenMode(reads: true, writes: true, exclusive: exclusive)
    return try filesystem.create(parent, name, permissions: 0o644, mode, context).open.handle
  }

  func open(_ path: String, writes: Bool = false, truncates: Bool = false) throws -> HandleID {
    let mode = OpenMode(reads: true, writes: writes, truncates: truncates)
    return try filesystem.open(try inode(path), mode, context).handle
  }

  func write(_ bytes: some Collection<UInt8>, to handle: HandleID, at offset: UInt64 = 0) throws {
    try Array(bytes).withUnsafeBytes { try filesystem.write(handle, offset: offset, $0, context) }
  }

  func read(_ handle: HandleID, at offset: UInt64 = 0, count: Int = 1 << 20) throws -> [UInt8] {
    try waitFor { (done: @escaping Completion<[UInt8], Errno>) in
      filesystem.read(handle, offset: offset, count: count, context) { result in
        done(result.map { buffers in buffers.buffers.flatMap { Array($0) } })
      }
    }
  }

  func close(_ handle: HandleID) throws {
    defer { filesystem.release(handle) }
    try filesystem.flush(handle, context)
  }

  /// Makes or replaces a file as `cp` does.
  func save(_ path: String, _ bytes: some Collection<UInt8>, makingDirectories: Bool = false) throws {
    if makingDirectories {
      let names = path.split(separator: "/").dropLast()
      for count in names.indices {
        let directory = names[...count].joined(separator: "/")
        if try !exists(directory) { try makeDirectory(directory) }
      }
    }
    let handle = try exists(path) ? open(path, writes: true, truncates: true) : create(path)
    try write(bytes, to: handle)
    try close(handle)
  }

  func load(_ path: String) throws -> [UInt8] {
    let handle = try open(path)
    defer { filesystem.release(handle) }
    var bytes: [UInt8] = []
    while true {
      let piece = try read(handle, at: UInt64(bytes.count))
      if piece.isEmpty { return bytes }
      bytes += piece
    }
  }

  @discardableResult
  func makeDirectory(_ path: String) throws -> InodeID? {
    let (parent, name) = try split(path)
    return try filesystem.makeDirectory(parent, name, mode: 0o755, context).inode
  }

  func unlink(_ path: String) throws {
    let (parent, name) = try split(path)
    try filesystem.unlink(parent, name, context)
  }

  func removeDirectory(_ path: String) throws {
    let (parent, name) = try split(path)
    try filesystem.removeDirectory(parent, name, context)
  }

  func rename(_ path: String, to newPath: String, _ mode: RenameMode = .replace) throws {
    let (parent, name) = try split(path)
    let (newParent, newName) = try split(newPath)
    try filesystem.rename(parent, name, to: newParent, newName, mode, context)
  }

  func list(_ path: String, plus: Bool = false, capacity: Int = 7) throws -> [DirectoryEntry] {
    let handle = try filesystem.openDirectory(try inode(path), context)
    defer { filesystem.releaseDirectory(handle) }
    var entries: [DirectoryEntry] = []
    while true {
      var room = capacity
      let before = entries.count
      try filesystem.readDirectory(
        handle, offset: entries.last?.nextOffset ?? 0, plus: plus, context
      ) { entry in
        guard room > 0 else { return false }
        room -= 1
        entries.append(entry)
        return true
      }
      if entries.count == before { return entries }
    }
  }

  func names(_ path: String) throws -> [String] {
    try list(path).map(\.name.string).filter { $0 != "." && $0 != ".." }.sorted()
  }

  // MARK: The bucket, as another client sees it

  func put(_ key: String, _ text: String, metadata: [String: String] = [:]) throws {
    try memory.put(
      PutRequest(
        ObjectKey(key), body: .bytes(Array(text.utf8)), attributes: ObjectAttributes(userMetadata: metadata)))
  }

  func object(_ key: String) -> [UInt8]? { memory.bytes(of: ObjectKey(key)) }

  func text(_ key: String) -> String? { object(key).map { String(decoding: $0, as: UTF8.self) } }

  func metadata(_ key: String) throws -> [String: String] {
    try memory.head(ObjectKey(key)).userMetadata
  }
}

extension InMemoryObjectStore {
  /// All objects but the mark of the root.
  var files: [ObjectKey] { keys.filter { $0.string != DirectoryMark.rootName } }
}

/// What is to be done later, in tests when they say so. Thread-safe.
final class Scheduled: Sendable {
  private let bodies = Mutex<[@Sendable () -> Void]>([])

  func add(_ body: @escaping @Sendable () -> Void) { bodies.withLock { $0.append(body) } }

  func take() -> [@Sendable () -> Void] {
    bodies.withLock { bodies in
      defer { bodies = [] }
      return bodies
    }
  }
}

/// A directory of its own, removed at the end.
final class TemporaryDirectory: Sendable {
  let path: FilePath

  init() throws {
    var template = Array("/tmp/waysfs-test-XXXXXX".utf8CString)
    guard mkdtemp(&template) != nil else { throw Errno(rawValue: errno) }
    path = FilePath(platformString: template)
  }

  deinit { remove(path) }

  private func remove(_ path: FilePath) {
    if let folder = path.withPlatformString({ opendir($0) }) {
      while let entry = readdir(folder) {
        let name = withUnsafePointer(to: &entry.pointee.d_name) {
          $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
        }
        if name != "." && name != ".." { remove(path.appending(name)) }
      }
      closedir(folder)
    }
    _ = path.withPlatformString { Glibc.remove($0) }
  }
}

/// Bytes that differ at every place, so that a shifted or mixed block is seen. Made in words: debug builds are slow.
func pattern(_ count: Int, seed: UInt64 = 1) -> [UInt8] {
  [UInt8](unsafeUninitializedCapacity: (count + 7) & ~7) { buffer, initialized in
    var state = seed &* 0x9E37_79B9_7F4A_7C15 | 1
    let words = UnsafeMutableRawBufferPointer(buffer)
    for offset in stride(from: 0, to: count, by: 8) {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      words.storeBytes(of: state ^ state >> 29, toByteOffset: offset, as: UInt64.self)
    }
    initialized = count
  }
}

/// The errno a call fails with; nil when it does not fail.
func failure(_ body: () throws -> Void) -> Errno? {
  do {
    try body()
    return nil
  } catch {
    return error as? Errno
  }
}
