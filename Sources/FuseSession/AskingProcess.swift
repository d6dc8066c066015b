import Basics
import CFuse
import Glibc
import Synchronization
public import SystemPackage

/// A process that asks a mount something when it is told to, as any program might.
///
/// The process that serves the mount must not do it itself: a thread whose request has been taken up waits for the answer
/// whatever happens, and as long as it does, its process keeps the device open. Killed while nobody answers, that process
/// would never end, the kernel would wait for it for ever, and with it everybody who uses the mount.
///
/// It holds nothing but a socket, and ends with this object or with this process. One that was killed is replaced.
/// Thread-safe; who asks waits for who asked before.
public final class AskingProcess: Sendable {
  /// What came of a question.
  public enum Outcome: Hashable, Sendable {
    case answered
    /// The mount, or the kernel in its place, has answered with an error.
    case failed(Errno)
    /// No answer in the time that was given.
    case silent
    /// There is no process that could ask, or the mount cannot be reached without asking the filesystem below it.
    case notAsked
  }

  private let mountpoint: String
  // Changed only by who asks; the gate is held while an answer is waited for, the mutex for a look or a change.
  private let asking = AccessGate()
  private let process: Mutex<waysfs_asker?>
  private let isWaiting = Atomic(false)

  /// Starts it. Memory that this process has by now is shared with it, so the earlier the better.
  /// - Parameter mountpoint: absolute.
  public init(mountpoint: String) {
    self.mountpoint = mountpoint
    process = Mutex(Self.start(mountpoint))
  }

  deinit {
    // Nobody asks any more, but an answer may have been given up.
    if let process = process.withLock({ $0 }) { end(process) }
  }

  /// Whether it is the one that has sent a request.
  func isSender(pid: Int32) -> Bool { process.withLock { $0?.process == pid } }

  /// Has it ask, and blocks until it has heard the answer.
  /// - Parameter seconds: how long to wait; nil waits for ever, if none comes. When it is over, nothing more can be asked.
  public func ask(within seconds: Double? = nil) -> Outcome {
    asking.exclusive {
      guard !isWaiting.load(ordering: .relaxed) else { return .notAsked }
      for _ in 0..<2 {
        guard let process = running() else { return .notAsked }
        isWaiting.store(true, ordering: .relaxed)
        let result = withUnsafePointer(to: process) {
          waysfs_asker_ask($0, seconds.map { Int32(clamping: Int($0 * 1000)) } ?? -1)
        }
        if result == -ETIMEDOUT { return .silent }
        isWaiting.store(false, ordering: .relaxed)
        if result != -ESRCH { return Self.outcome(result) }
        // Somebody has killed it.
        self.process.withLock { $0 = nil }
        end(process)
      }
      return .notAsked
    }
  }

  private func running() -> waysfs_asker? {
    if let process = process.withLock({ $0 }) { return process }
    let started = Self.start(mountpoint)
    process.withLock { $0 = started }
    return started
  }

  private func end(_ process: waysfs_asker) {
    withUnsafePointer(to: process) { waysfs_asker_end($0, isWaiting.load(ordering: .relaxed)) }
  }

  private static func start(_ mountpoint: String) -> waysfs_asker? {
    var process = waysfs_asker()
    return waysfs_asker_start(&process, mountpoint) == 0 ? process : nil
  }

  private static func outcome(_ result: Int32) -> Outcome {
    switch result {
    case 0: .answered
    case EAGAIN: .notAsked
    default: .failed(Errno(rawValue: result))
    }
  }
}
