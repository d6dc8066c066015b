import Basics
import BlockCache
import Filesystem
import Glibc
import Logging
import ObjectStore
import ReadPath
import Synchronization
import SystemPackage
import WritePath

@testable import AccountTree

/// An account whose buckets are in memory.
final class FakeAccount: BucketDirectory {
  struct State {
    var buckets: [String: AccountBucket] = [:]
    var failure: Errno?
    /// What is said of single ones.
    var details: [String: AccountBucket] = [:]
    var detailQuestions = 0
    var isWhole = true
    var questions = 0
    /// Called once, while the next question is on its way.
    var meanwhile: (@Sendable () -> Void)?
  }

  let state = Mutex(State())

  init(_ names: String...) {
    state.withLock { state in
      for name in names { state.buckets[name] = Self.bucket(name) }
    }
  }

  static func bucket(_ name: String) -> AccountBucket {
    var bucket = AccountBucket(name: name)
    bucket.created = Timestamp(seconds: 1_700_000_000 + Int64(name.utf8.count))
    bucket.createdText = "2023-11-14T22:13:20Z"
    bucket.region = "no-oslo-1"
    (bucket.objectCount, bucket.sizeBytes, bucket.isPublic) = (3, 10_000, false)
    return bucket
  }

  func change(_ body: (inout State) -> Void) { state.withLock { body(&$0) } }

  var questions: Int { state.withLock { $0.questions } }

  func list() throws(Errno) -> BucketAnswer {
    let (answer, failure, meanwhile) = state.withLock { state in
      state.questions += 1
      defer { state.meanwhile = nil }
      return (
        BucketAnswer(Array(state.buckets.values), isWhole: state.isWhole), state.failure, state.meanwhile
      )
    }
    meanwhile?()
    if let failure { throw failure }
    return answer
  }

  func details(of name: String, _ cancellation: Cancellation?) throws(Errno) -> AccountBucket? {
    let (details, failure) = state.withLock { state in
      state.detailQuestions += 1
      return (state.details[name], state.failure)
    }
    if let failure { throw failure }
    return details
  }

  func make(_ name: String, _ cancellation: Cancellation?) throws(Errno) -> AccountBucket {
    let isNew = state.withLock { state in
      guard state.buckets[name] == nil else { return false }
      state.buckets[name] = Self.bucket(name)
      return true
    }
    guard isNew else { throw .fileExists }
    var bucket = Self.bucket(name)
    bucket.tier = "enterprise"
    return bucket
  }

  func remove(_ name: String, _ cancellation: Cancellation?) throws(Errno) {
    guard state.withLock({ $0.buckets.removeValue(forKey: name) }) != nil else { throw .noSuchFileOrDirectory }
  }
}

/// One of its buckets, open.
final class FakeBucket: OpenBucket {
  let memory = InMemoryObjectStore()
  let filesystem: Filesystem
  private let threads = FilesystemThreads(each: 2)

  var operations: any FileOperations { filesystem }

  init(_ name: String, _ root: FilePath, _ room: JournalRoom, _ reading: ReadShare, _ clock: ManualClock) throws {
    let log = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
    let journal = try Journal(root: root, name: name, identity: name, space: JournalSpace(in: room))
    var configuration = FilesystemConfiguration(uid: 7, gid: 8)
    configuration.time = clock.timeSource
    filesystem = Filesystem(
      store: memory,
      readPath: ReadPath(store: memory, share: reading, configuration: ReadPathConfiguration(), log: log),
      journal: journal,
      conditions: ConditionalWrites(store: memory, journal: journal, scratchPrefix: "", random: { 42 }, log: log),
      workers: threads.share(), memory: ByteBudget(total: 16 << 20), configuration: configuration, log: log,
      schedule: { _, _ in })
  }

  deinit { threads.shutdown() }

  func prepareRemoval(_ cancellation: Cancellation?) throws(Errno) { try filesystem.prepareRemoval(cancellation) }
}

/// A tree over such an account, without FUSE.
final class Bench: Sendable {
  let account: FakeAccount
  let clock = ManualClock()
  let tree: AccountTree
  let kernel = FakeKernel()
  let context = CallContext(uid: 1000, gid: 100)
  /// How often a bucket was opened.
  let opened: Opened
  private let directory: TemporaryDirectory

  init(
    _ account: FakeAccount, readOnly: Bool = false, allowsChanges: Bool = true, lifetime: Double = 10,
    unsent: [String] = [], noteAppeared: @escaping @Sendable ([String]) -> Void = { _ in }
  ) throws {
    self.account = account
    let directory = try TemporaryDirectory()
    self.directory = directory
    let room = JournalRoom(root: directory.path, isShared: true)
    let reading = ReadShare(pool: try BlockPool(budget: 16 << 20), configuration: ReadPathConfiguration())
    let opened = Opened()
    self.opened = opened
    let configuration = AccountTreeConfiguration(
      uid: 7, gid: 8, metadataLifetime: lifetime, readOnly: readOnly, allowsBucketChanges: allowsChanges,
      time: clock.timeSource)
    tree = AccountTree(
      directory: account, first: try account.list(), configuration: configuration,
      log: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }, unsent: { unsent }, noteAppeared: noteAppeared
    ) { [clock] name, kernel throws(Errno) in
      do {
        let bucket = try FakeBucket(name, directory.path, room, reading, clock)
        bucket.filesystem.attach(kernel)
        opened.note(name, bucket)
        return bucket
      } catch {
        throw .ioError
      }
    }
    tree.attach(kernel)
  }

  func bucket(_ name: String) -> FakeBucket? { opened.buckets[name] }

  /// Looks up every component of a path.
  func inode(_ path: String) throws -> InodeID {
    try path.split(separator: "/").reduce(InodeID.root) { parent, name in
      let entry = try tree.lookup(parent, FileName(String(name)), context)
      guard let inode = entry.inode else { throw Errno.noSuchFileOrDirectory }
      return inode
    }
  }

  func stat(_ path: String) throws -> FileAttributes {
    try tree.getAttributes(try inode(path), nil, context).attributes
  }

  func names(_ path: String, plus: Bool = false) throws -> [DirectoryEntry] {
    let handle = try tree.openDirectory(try inode(path), context)
    defer { tree.releaseDirectory(handle) }
    var entries: [DirectoryEntry] = []
    // A page of two at a time, as if there were no more room.
    while true {
      let before = entries.count
      try tree.readDirectory(handle, offset: entries.last?.nextOffset ?? 0, plus: plus, context) { entry in
        guard entries.count < before + 2 else { return false }
        entries.append(entry)
        return true
      }
      if entries.count == before { return entries.filter { $0.name.string != "." && $0.name.string != ".." } }
    }
  }

  func write(_ path: String, _ text: String) throws {
    let names = path.split(separator: "/").map(String.init)
    let parent = try inode(names.dropLast().joined(separator: "/"))
    let made = try tree.create(
      parent, FileName(names.last ?? ""), permissions: 0o644, OpenMode(reads: true, writes: true), context)
    defer { tree.release(made.open.handle) }
    try Array(text.utf8).withUnsafeBytes { try tree.write(made.open.handle, offset: 0, $0, context) }
    try tree.flush(made.open.handle, context)
  }

  func read(_ path: String) throws -> String {
    let handle = try tree.open(try inode(path), OpenMode(reads: true, writes: false), context).handle
    defer { tree.release(handle) }
    let bytes: [UInt8] = try waitFor { (done: @escaping Completion<[UInt8], Errno>) in
      tree.read(handle, offset: 0, count: 1 << 20, context) { result in
        done(result.map { buffers in buffers.buffers.flatMap { Array($0) } })
      }
    }
    return String(decoding: bytes, as: UTF8.self)
  }
}

/// Which buckets were opened. Thread-safe.
final class Opened: Sendable {
  private let state = Mutex<(names: [String], buckets: [String: FakeBucket])>(([], [:]))

  func note(_ name: String, _ bucket: FakeBucket) {
    state.withLock { state in
      state.names.append(name)
      state.buckets[name] = bucket
    }
  }

  var names: [String] { state.withLock { $0.names } }
  var buckets: [String: FakeBucket] { state.withLock { $0.buckets } }
}

/// Notes what the kernel is told to forget. Thread-safe.
final class FakeKernel: KernelCache {
  private let state = Mutex<(inodes: [InodeID], attributes: [InodeID], names: [String])>(([], [], []))

  var attributes: [InodeID] { state.withLock { $0.attributes } }
  var inodes: [InodeID] { state.withLock { $0.inodes } }
  var names: [String] { state.withLock { $0.names } }

  func invalidate(_ inode: InodeID) { state.withLock { $0.inodes.append(inode) } }

  func invalidateAttributes(_ inode: InodeID) { state.withLock { $0.attributes.append(inode) } }

  func invalidate(_ name: FileName, in parent: InodeID) {
    state.withLock { $0.names.append("\(parent)/\(name)") }
  }
}

func failure(_ body: () throws -> Void) -> Errno? {
  do {
    try body()
    return nil
  } catch {
    return error as? Errno
  }
}

/// A directory that goes with its last user.
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
