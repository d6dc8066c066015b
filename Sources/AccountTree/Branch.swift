import Basics
import Filesystem
import Synchronization
import SystemPackage

/// A bucket that was heard of, open from its first use on. Thread-safe.
///
/// `opening` is a gate that blocks, held while the bucket is opened: for local I/O, and for what an earlier mount left,
/// to be sent first. The mutex is held for a memory access.
final class Branch: Sendable {
  let name: FileName
  let slot: Slot
  let numbers: FileNumbers
  private let open: @Sendable () throws(Errno) -> any OpenBucket
  private let opening = AccessGate()
  private let removed = Atomic(false)
  private let opened = Mutex<(any OpenBucket)?>(nil)

  init(_ name: FileName, _ slot: Slot, open: @escaping @Sendable () throws(Errno) -> any OpenBucket) {
    self.name = name
    self.slot = slot
    self.open = open
    numbers = FileNumbers(bucket: name.string)
  }

  /// The bucket when it is open.
  var ifOpen: (any OpenBucket)? { opened.withLock { $0 } }

  /// Whether this mount has removed the bucket: another one may have the name now.
  var isRemoved: Bool { removed.load(ordering: .acquiring) }

  func noteRemoved() { removed.store(true, ordering: .releasing) }

  /// The bucket, which is opened if it is not.
  func bucket() throws(Errno) -> any OpenBucket {
    if let bucket = ifOpen { return bucket }
    return try opening.exclusive { () throws(Errno) in
      if let bucket = ifOpen { return bucket }
      let bucket = try open()
      opened.withLock { $0 = bucket }
      return bucket
    }
  }

  // MARK: Numbers of the mount

  func entry(_ entry: EntryReply) throws(Errno) -> EntryReply {
    var entry = entry
    if let inode = entry.inode { entry.inode = try slot.inode(inode) }
    entry.attributes = numbers.shown(entry.attributes)
    return entry
  }

  func attributes(_ reply: AttributeReply) -> AttributeReply {
    AttributeReply(attributes: numbers.shown(reply.attributes), lifetime: reply.lifetime)
  }

  func open(_ reply: OpenReply) throws(Errno) -> OpenReply {
    var reply = reply
    reply.handle = try slot.handle(reply.handle)
    return reply
  }
}

/// What a bucket tells the kernel, in the numbers of the mount.
struct BranchKernelCache: KernelCache {
  let slot: Slot
  let kernel: any KernelCache

  func invalidate(_ inode: InodeID) {
    // What no number of the mount stands for the kernel was never told of.
    if let inode = try? slot.inode(inode) { kernel.invalidate(inode) }
  }

  func invalidateAttributes(_ inode: InodeID) {
    if let inode = try? slot.inode(inode) { kernel.invalidateAttributes(inode) }
  }

  func invalidate(_ name: FileName, in parent: InodeID) {
    if let parent = try? slot.inode(parent) { kernel.invalidate(name, in: parent) }
  }
}
