import Basics
import Filesystem
import Synchronization
import SystemPackage

/// A bucket that was heard of, open from its first use on. Thread-safe; the mutex is held for a memory access.
final class Branch: Sendable {
  private enum State {
    case closed
    /// Somebody is opening it, and these wait.
    case opening([OneShot<Result<any OpenBucket, Errno>>])
    case open(any OpenBucket)
  }

  let name: FileName
  let slot: Slot
  let numbers: FileNumbers
  private let open: @Sendable () throws(Errno) -> any OpenBucket
  private let removed = Atomic(false)
  private let state = Mutex(State.closed)

  init(_ name: FileName, _ slot: Slot, open: @escaping @Sendable () throws(Errno) -> any OpenBucket) {
    self.name = name
    self.slot = slot
    self.open = open
    numbers = FileNumbers(bucket: name.string)
  }

  /// The bucket when it is open.
  var ifOpen: (any OpenBucket)? {
    state.withLock { state in
      guard case .open(let bucket) = state else { return nil }
      return bucket
    }
  }

  /// Whether this mount has removed the bucket: another one may have the name now.
  var isRemoved: Bool { removed.load(ordering: .acquiring) }

  func noteRemoved() { removed.store(true, ordering: .releasing) }

  /// The bucket's filesystem.
  func operations(_ context: CallContext) throws(Errno) -> any FileOperations {
    try bucket(context.cancellation).operations
  }

  /// The bucket, which is opened if it is not: once for all who want it, and on a thread of its own, since it may take
  /// seconds and who waits may give up.
  /// - Throws: EINTR to who gives up, or why it cannot be opened.
  func bucket(_ cancellation: Cancellation?) throws(Errno) -> any OpenBucket {
    if let bucket = ifOpen { return bucket }
    let answer = OneShot<Result<any OpenBucket, Errno>>()
    let isFirst = state.withLock { state in
      switch state {
      case .closed:
        state = .opening([answer])
        return true
      case .opening(let waiters):
        state = .opening(waiters + [answer])
      case .open(let bucket):
        answer.fulfil(.success(bucket))
      }
      return false
    }
    if isFirst {
      if let thread = Thread.start(name: "waysfs-open", { self.openNow() }) { thread.detach() } else { openNow() }
    }
    let token = cancellation?.addHandler { answer.fulfil(.failure(.interrupted)) }
    defer { cancellation?.removeHandler(token) }
    return try answer.wait().get()
  }

  private func openNow() {
    let result = Result { () throws(Errno) in try open() }
    let waiters = state.withLock { state in
      guard case .opening(let waiters) = state else { return [] as [OneShot<Result<any OpenBucket, Errno>>] }
      state = (try? result.get()).map { .open($0) } ?? .closed
      return waiters
    }
    for waiter in waiters { waiter.fulfil(result) }
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
