import Basics
import CFuse
public import Filesystem
import Glibc
public import Logging
import Synchronization
import SystemPackage

/// A mounted filesystem: carries the kernel's requests to `FileOperations` and the answers back.
///
/// Life: `init`, `mount`, `run` (which blocks until the filesystem is unmounted). Threads are started by `run` only, so
/// that a daemon may fork before it. All methods may be called from any thread; `mount` and `run` once each.
public final class FuseSession: Sendable {
  private enum State {
    case made
    case mounted(MountTableEntry)
    case running(MountTableEntry)
    case ended
  }

  /// Tells the kernel what it must not remember any longer. Usable from `init` on; sends while `run` runs.
  public var kernelCache: any KernelCache { invalidator }

  /// Lets the kernel read files by itself where `MountOptions.passthrough` asked for it. Usable while `run` runs.
  public var passthrough: any KernelPassthrough { connection }

  private let options: MountOptions
  let connection: FuseConnection
  private let invalidator: Invalidator
  private let log: Logger
  // Held for a look or a change only, never across a system call or another lock.
  private let state = Mutex(State.made)

  /// Prepares a mount; nothing is mounted yet.
  ///
  /// - Parameters:
  ///   - metrics: counts the kernel's requests.
  ///   - asker: who asks for `ask`, made for the mount point.
  /// - Throws: `badOption` for options libfuse does not know.
  public init(
    options: MountOptions, operations: any FileOperations, metrics: OperationMetrics? = nil,
    asker: AskingProcess? = nil, log: Logger
  ) throws(FuseSessionError) {
    self.options = options
    self.log = log
    connection = try FuseConnection(options: options, operations: operations, metrics: metrics, asker: asker, log: log)
    invalidator = Invalidator(connection)
  }

  deinit {
    if let entry { try? entry.unmount(lazy: true) }
    invalidator.end()
  }

  /// Mounts. Accesses to the mount point wait from now on until `run` answers them.
  ///
  /// - Throws: an error whose message says what to do.
  public func mount() throws(FuseSessionError) {
    guard case .made = state.withLock({ $0 }) else { throw FuseSessionError(.outOfTurn, "mount was called twice") }
    let path = try MountChecks(options: options).run()
    let mounted = withMessage { waysfs_session_mount(connection.raw, path, $0, $1) }
    guard mounted.result == 0 else {
      throw FuseSessionError(.mountFailed, "cannot mount on \(path): \(mounted.message)")
    }
    guard let entry = (try? MountTable.current())?.top(at: path) else {
      umount2(path, Int32(MNT_DETACH))
      throw FuseSessionError(.mountFailed, "cannot mount on \(path): it does not appear in the mount table")
    }
    if options.followsNoLinks {
      let result = waysfs_follow_no_links(path)
      guard result == 0 else {
        umount2(path, Int32(MNT_DETACH))
        throw FuseSessionError(
          .mountFailed, "cannot mount on \(path) with nosymfollow, which needs Linux 5.14",
          cause: Errno(rawValue: -result))
      }
    }
    state.withLock { $0 = .mounted(entry) }
  }

  /// Serves the mount until it is unmounted or `stop` is called.
  ///
  /// Reads that were begun may still be answered after this returned. The kernel drops what it has not sent yet when it
  /// unmounts: every close was flushed, but some handles may not have been released, and inodes not forgotten.
  /// - Parameter onReady: called on this thread as soon as the mount answers.
  public func run(onReady: () -> Void = {}) throws(FuseSessionError) {
    let entry = state.withLock { state -> MountTableEntry? in
      guard case .mounted(let entry) = state else { return nil }
      state = .running(entry)
      return entry
    }
    guard let entry else { throw FuseSessionError(.outOfTurn, "run was called without mount, or twice") }
    defer { finish(entry) }

    let handshake = waysfs_session_handshake(connection.raw)
    if handshake == -Errno.operationNotSupportedByDevice.rawValue { return }
    guard handshake == 0 else {
      throw FuseSessionError(
        .connectionFailed, "the kernel and libfuse did not agree on a protocol", cause: Errno(rawValue: -handshake))
    }
    raiseReadAhead(of: entry, toKiB: options.maxReadAheadKiB, log)
    let started = waysfs_session_start(connection.raw)
    if started == 0 {
      invalidator.start()
      onReady()
    }
    let ended = waysfs_session_wait(connection.raw)
    if started == -Errno.canceled.rawValue { return }
    guard started == 0 else {
      throw FuseSessionError(.connectionFailed, "cannot start threads", cause: Errno(rawValue: -started))
    }
    guard ended == 0 else {
      throw FuseSessionError(.connectionFailed, "the FUSE device failed", cause: Errno(rawValue: -ended))
    }
  }

  /// Ends `run`, also when the mount is in use: it is detached, calls under way get their answer, later ones an error.
  /// Returns at once. May be called at any time, any number of times, also from a request.
  public func stop() {
    if let entry { detach(entry) }
    waysfs_session_stop(connection.raw)
  }

  /// Unmounts; `run` then returns once the last file is closed.
  ///
  /// - Parameter lazy: whether a mount that is in use is detached instead of being `busy`.
  /// - Throws: `busy`, `notMounted`, `helperMissing`, `unmountFailed`.
  public func unmount(lazy: Bool = false) throws(FuseSessionError) {
    guard let entry else { throw FuseSessionError(.notMounted, "\(options.mountpoint) is not mounted") }
    try entry.unmount(lazy: lazy)
  }

  /// How busy the session is. Usable while `run` runs.
  public var load: SessionLoad {
    let load = waysfs_session_load(connection.raw)
    return SessionLoad(isSaturated: load.saturated, requests: load.taken)
  }

  /// Has the kernel ask the session something that is answered from memory (statvfs(3), which leaves nothing in the page
  /// cache), and blocks until the answer is there: for ever if nobody answers. For a thread of its own.
  /// - Returns: false, at once, where it cannot be asked; a mount that is gone or hidden needs not be.
  public func ask() -> Bool {
    let top = entry.flatMap { (try? MountTable.current())?.top(at: $0.mountpoint) }
    guard let top, top.mountID == entry?.mountID else { return true }
    return connection.asker.map { $0.ask() != .notAsked } ?? false
  }

  /// The mount while it is there.
  private var entry: MountTableEntry? {
    switch state.withLock({ $0 }) {
    case .mounted(let entry), .running(let entry): entry
    case .made, .ended: nil
    }
  }

  private func finish(_ entry: MountTableEntry) {
    state.withLock { $0 = .ended }
    // Stopped, or failed: nobody answers any more, so nobody should be led here.
    if (try? MountTable.current())?.entries.contains(entry) == true { detach(entry) }
    waysfs_session_disconnect(connection.raw)
    invalidator.end()
  }

  private func detach(_ mount: MountTableEntry) {
    do throws(FuseSessionError) { try mount.unmount(lazy: true) } catch {
      if error.code != .notMounted { log.error("\(error)") }
    }
  }
}

/// How busy a session is.
public struct SessionLoad: Hashable, Sendable {
  /// Whether every thread is at work on a request, so that further ones wait.
  public var isSaturated: Bool
  /// How many requests were ever taken up. Where nobody finishes any, a saturated session takes up no more.
  public var requests: UInt64
}
