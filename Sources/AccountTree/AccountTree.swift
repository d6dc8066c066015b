public import Basics
public import Filesystem
public import Logging
import Synchronization
public import SystemPackage

/// How an account's buckets are shown.
public struct AccountTreeConfiguration: Sendable {
  /// Owner of the root and of the directories that stand for buckets.
  public var uid: UInt32
  /// Their group.
  public var gid: UInt32
  /// Their permission bits.
  public var directoryMode: UInt32
  /// For how many seconds the list of buckets is believed.
  public var metadataLifetime: Double
  /// Refuses every change with EROFS.
  public var readOnly: Bool
  /// Whether buckets can be made and removed.
  public var allowsBucketChanges: Bool
  /// The clocks.
  public var time: TimeSource

  /// A configuration with the defaults of `waysfs mount`.
  public init(
    uid: UInt32 = 0, gid: UInt32 = 0, directoryMode: UInt32 = 0o755, metadataLifetime: Double = 10,
    readOnly: Bool = false, allowsBucketChanges: Bool = false, time: TimeSource = .system
  ) {
    self.uid = uid
    self.gid = gid
    self.directoryMode = directoryMode
    self.metadataLifetime = metadataLifetime
    self.readOnly = readOnly
    self.allowsBucketChanges = allowsBucketChanges
    self.time = time
  }
}

/// The buckets of an account as the directories of one filesystem, each with a filesystem of its own below.
///
/// The root and what `stat` shows of a bucket come from the list of buckets; everything else goes to the bucket, which
/// is opened when it is first needed and stays open: what it still has to send, and files that are open there, outlive
/// its place in the list. The methods of `FileOperations` are in the extensions. Thread-safe.
///
/// The mutexes here are leaves, held for a few memory accesses.
public final class AccountTree: FileOperations {
  /// Opens a bucket; `kernel` is what it tells of changes. Blocks; what led to an error was logged before it is thrown.
  public typealias Open = @Sendable (_ name: String, _ kernel: any KernelCache) throws(Errno) -> any OpenBucket

  /// A bucket has a place from the first time on that somebody was told of it.
  struct Branches {
    /// By slot, from 1 on.
    var all: [Branch] = []
    var byName: [FileName: Branch] = [:]
  }

  let directory: any BucketDirectory
  let list: BucketList
  let configuration: AccountTreeConfiguration
  let log: Logger
  let streams = RootStreams()
  /// The buckets of which an earlier mount has left something to be sent that nobody has taken up yet.
  let unsent: @Sendable () -> [String]
  private let openBucket: Open
  private let kernel: KernelLink
  private let branches = Mutex(Branches())
  /// What the root shows as its times.
  private let changed: ChangeTime

  /// Makes the tree; asks nobody yet.
  /// - Parameters:
  ///   - first: which buckets there are now.
  ///   - unsent: the names of buckets that have something to send before anybody goes there.
  ///   - noteAppeared: told which buckets the list shows that it did not show before; it must not block for long.
  public init(
    directory: any BucketDirectory, first: BucketAnswer, configuration: AccountTreeConfiguration, log: Logger,
    unsent: @escaping @Sendable () -> [String] = { [] },
    noteAppeared: @escaping @Sendable ([String]) -> Void = { _ in }, open: @escaping Open
  ) {
    self.directory = directory
    self.configuration = configuration
    self.log = log
    self.unsent = unsent
    openBucket = open
    if !first.isWhole { log.warning("\(Self.partWarning)") }
    let kernel = KernelLink()
    let changed = ChangeTime(configuration.time.wall)
    self.kernel = kernel
    self.changed = changed
    list = BucketList(
      directory, first: first, lifetime: configuration.metadataLifetime, time: configuration.time
    ) { change in
      if change.isPartNow { log.warning("\(Self.partWarning)") }
      guard !change.appeared.isEmpty || !change.vanished.isEmpty else { return }
      changed.note(configuration.time.wall)
      for name in change.appeared + change.vanished { kernel.invalidate(name, in: .root) }
      if !change.appeared.isEmpty { noteAppeared(change.appeared.map(\.string)) }
      for name in change.vanished { log.notice("a bucket is not there any more", metadata: ["bucket": "\(name)"]) }
    }
  }

  /// Said once, until the list is whole again.
  private static let partWarning =
    "the list of buckets is not whole: the others are not shown, and one that has vanished stays"

  /// Tells how to reach the kernel's caches, once there is a session.
  public func attach(_ kernelCache: any KernelCache) { kernel.attach(kernelCache) }

  /// Opens a bucket without anybody going there.
  public func open(bucket name: String) throws(Errno) { _ = try branch(FileName(name)).bucket(nil) }

  // MARK: Branches

  /// The place of a bucket.
  /// - Throws: ENOSPC when there is no place left.
  func branch(_ name: FileName) throws(Errno) -> Branch {
    let branch: Branch? = branches.withLock { branches in
      if let branch = branches.byName[name] { return branch }
      guard branches.all.count < Slot.highest else { return nil }
      let slot = Slot(number: UInt16(branches.all.count + 1))
      let cache = BranchKernelCache(slot: slot, kernel: kernel)
      let branch = Branch(name, slot) { [openBucket] () throws(Errno) in try openBucket(name.string, cache) }
      branches.all.append(branch)
      branches.byName[name] = branch
      return branch
    }
    guard let branch else { throw .noSpace }
    return branch
  }

  /// This mount has removed a bucket: the next one of that name gets another place, and a filesystem of its own. To the
  /// kernel the directory with the old number is dead for as long as anybody is in it.
  func removed(_ name: FileName) {
    branches.withLock { $0.byName.removeValue(forKey: name) }?.noteRemoved()
  }

  /// The bucket that a number of the mount belongs to; nil for the root's own.
  /// - Throws: ESTALE for a number that was never given out.
  func branch(of number: UInt64) throws(Errno) -> (branch: Branch, inBucket: UInt64)? {
    let (slot, inBucket) = Slot.split(number)
    guard slot != .root else { return nil }
    let branch: Branch? = branches.withLock { branches in
      branches.all.count >= Int(slot.number) ? branches.all[Int(slot.number) - 1] : nil
    }
    guard let branch else { throw .staleNFSFileHandle }
    return (branch, inBucket)
  }

  /// Every bucket that was heard of.
  var known: [Branch] { branches.withLock { $0.all } }

  /// When a bucket last appeared or vanished, as far as this mount knows.
  var changedAt: Timestamp { changed.value }

  func noteChanged() { changed.note(configuration.time.wall) }
}

/// The way to the kernel's caches, once there is one. Thread-safe.
private final class KernelLink: KernelCache {
  private let cache = Mutex<(any KernelCache)?>(nil)

  func attach(_ cache: any KernelCache) { self.cache.withLock { $0 = cache } }

  func invalidate(_ inode: InodeID) { cache.withLock { $0 }?.invalidate(inode) }

  func invalidateAttributes(_ inode: InodeID) { cache.withLock { $0 }?.invalidateAttributes(inode) }

  func invalidate(_ name: FileName, in parent: InodeID) { cache.withLock { $0 }?.invalidate(name, in: parent) }
}

/// A time that is moved. Thread-safe.
private final class ChangeTime: Sendable {
  private let time: Mutex<Timestamp>

  init(_ time: Timestamp) { self.time = Mutex(time) }

  var value: Timestamp { time.withLock { $0 } }

  func note(_ now: Timestamp) { time.withLock { $0 = now } }
}
