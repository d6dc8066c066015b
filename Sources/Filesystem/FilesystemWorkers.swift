import Basics

/// The threads that do what blocks, for one filesystem or several who share them. Thread-safe.
///
/// Four kinds, since nobody may wait for a kind of which all threads may be waiting for him: an upload waits for its
/// parts, and jobs of `uploads` and `flushes` for claims (`KeyLocks`), so who holds claims waits for others only. And
/// what somebody waits for must not queue behind what nobody does.
public final class FilesystemThreads: Sendable {
  fileprivate let parts: SharedWorkers
  fileprivate let uploads: SharedWorkers
  fileprivate let flushes: SharedWorkers
  fileprivate let claimed: SharedWorkers

  /// Starts none before there is work.
  /// - Parameters:
  ///   - each: how many of a kind work for one filesystem.
  ///   - isShared: whether there may be several filesystems.
  public init(each: Int = 16, isShared: Bool = false) {
    parts = SharedWorkers(name: "waysfs-work", each: each, isShared: isShared)
    uploads = SharedWorkers(name: "waysfs-upload", each: each, isShared: isShared)
    flushes = SharedWorkers(name: "waysfs-flush", each: each, isShared: isShared)
    claimed = SharedWorkers(name: "waysfs-rename", each: each, isShared: isShared)
  }

  /// What one filesystem gets of them.
  public func share() -> FilesystemWorkers {
    FilesystemWorkers(
      parts: parts.share(), uploads: uploads.share(), flushes: flushes.share(), claimed: claimed.share())
  }

  /// Waits for what is under way, and ends the threads, after the filesystems were shut down.
  /// - Parameter cut: ends the requests. What an earlier mount left may still be on its way when a mount fails, for as
  ///   long as the server is silent; it is kept.
  public func shutdown(cuttingOff cut: () -> Void = {}) {
    uploads.shutdown()
    parts.shutdown()
    cut()
    flushes.shutdown()
    claimed.shutdown()
  }
}

/// A filesystem's share of them. Thread-safe.
public struct FilesystemWorkers: Sendable {
  /// Send parts of files, and find out what will be needed soon. Wait for no claim.
  let parts: WorkerShare
  /// Upload files in the background. May wait for claims.
  let uploads: WorkerShare
  /// Upload files that somebody waits for who holds no claim. May wait for claims.
  let flushes: WorkerShare
  /// Upload files for somebody who has claimed them. Wait for no claim.
  let claimed: WorkerShare
}
