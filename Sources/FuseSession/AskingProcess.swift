import Basics
import CFuse

/// A process that asks a mount something when it is told to, as any program might.
///
/// The process that serves the mount must not do it itself: a thread whose request has been taken up waits for the answer
/// whatever happens, and as long as it does, its process keeps the device open. Killed while nobody answers, that process
/// would never end, the kernel would wait for it for ever, and with it everybody who uses the mount.
///
/// It holds nothing but its two pipes, and ends with this object or with this process. Thread-safe; who asks waits for who
/// asked before.
public final class AskingProcess: Sendable {
  /// Its number, by which its requests are known.
  let pid: Int32
  private let raw: waysfs_asker
  private let asking = AccessGate()

  /// Starts it. Memory that this process has by now is shared with it, so the earlier the better.
  /// - Parameter mountpoint: absolute.
  /// - Returns: nil when the system has no process left.
  public init?(mountpoint: String) {
    var raw = waysfs_asker()
    guard waysfs_asker_start(&raw, mountpoint) == 0 else { return nil }
    self.raw = raw
    pid = raw.process
  }

  deinit {
    var raw = raw
    waysfs_asker_end(&raw)
  }

  /// Has it ask, and blocks until it has heard the answer: for ever if none comes. Returns at once when it has ended.
  public func ask() {
    asking.exclusive {
      var raw = raw
      _ = waysfs_asker_ask(&raw)
    }
  }
}
