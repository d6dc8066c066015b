import Basics
import CFuse
import Filesystem
import Glibc
import Logging
import Synchronization

/// Sends invalidations to the kernel from a thread of its own.
///
/// The kernel may make a notification wait for a request under way on the same inode or directory. On a worker that
/// would be a deadlock; here it only delays the notifications behind it. They are sent in the order they were asked for.
/// Attributes alone need no such detour.
final class Invalidator: KernelCache {
  private enum Notification: Hashable {
    case inode(InodeID)
    case name(FileName, parent: InodeID)
  }

  private struct State {
    // Gone at the end: the filesystem holds this object, and the connection the filesystem.
    var connection: FuseConnection?
    var queue: [Notification] = []
    var thread: pthread_t?
  }

  private let state: Mutex<State>
  private let work = Semaphore()

  init(_ connection: FuseConnection) { state = Mutex(State(connection: connection)) }

  func invalidate(_ inode: InodeID) { add(.inode(inode)) }

  func invalidateAttributes(_ inode: InodeID) {
    guard let connection = state.withLock({ $0.connection }) else { return }
    let result = waysfs_session_invalidate_attributes(connection.raw, inode.value)
    if result != 0 { connection.log.debug("the kernel refused an invalidation: errno \(-result)") }
  }

  func invalidate(_ name: FileName, in parent: InodeID) {
    // A name the kernel cannot have been given it does not remember either.
    if name.isValid { add(.name(name, parent: parent)) }
  }

  private func add(_ notification: Notification) {
    let first = state.withLock { state in
      // The same one twice in a row, as a burst of changes to one file asks for, is sent once.
      guard state.connection != nil, state.queue.last != notification else { return false }
      state.queue.append(notification)
      return state.queue.count == 1
    }
    if first { work.signal() }
  }

  /// Starts the thread. Not earlier than the first worker: threads do not survive the fork of a daemon.
  func start() {
    var thread = pthread_t()
    let argument = Unmanaged.passRetained(self)
    guard waysfs_thread_start(&thread, "waysfs-inval", invalidatorMain, argument.toOpaque()) == 0 else {
      argument.release()
      let connection = state.withLock { $0.connection.take() }
      connection?.log.error("cannot start the invalidation thread; changes by others show when attributes expire")
      return
    }
    state.withLock { $0.thread = thread }
  }

  /// Drops what was not sent and ends the thread. After the workers have ended: nothing waits for anything then.
  func end() {
    let thread = state.withLock { state in
      state.connection = nil
      state.queue = []
      defer { state.thread = nil }
      return state.thread
    }
    guard let thread else { return }
    work.signal()
    pthread_join(thread, nil)
  }

  fileprivate func run() {
    while true {
      work.wait()
      let (batch, connection) = state.withLock { state in
        defer { state.queue = [] }
        return (state.queue, state.connection)
      }
      guard let connection else { return }
      for notification in batch { send(notification, connection) }
    }
  }

  private func send(_ notification: Notification, _ connection: FuseConnection) {
    let result =
      switch notification {
      case .inode(let inode): waysfs_session_invalidate_inode(connection.raw, inode.value)
      case .name(let name, let parent):
        name.string.withCString { waysfs_session_invalidate_entry(connection.raw, parent.value, $0, strlen($0)) }
      }
    if result != 0 { connection.log.debug("the kernel refused an invalidation: errno \(-result)") }
  }
}

private func invalidatorMain(_ argument: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? {
  guard let argument else { return nil }
  Unmanaged<Invalidator>.fromOpaque(argument).takeRetainedValue().run()
  return nil
}
