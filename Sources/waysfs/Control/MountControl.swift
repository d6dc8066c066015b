import Basics
import Glibc
import Logging
import Synchronization

/// The control socket of this process's mount, and what it answers. Thread-safe.
final class MountControl: Sendable {
  private let path: String
  private let mountPoint: String
  private let source: String
  private let threshold: LogThreshold
  private let time: TimeSource
  private let started: (wall: Timestamp, monotonic: UInt64)
  private let isFinishing = Atomic(false)
  private let server = Mutex<ControlServer?>(nil)

  /// - Parameter directory: of the mount's record, which is locked by this process.
  init(
    directory: String, mountPoint: String, source: String, threshold: LogThreshold, time: TimeSource = .system
  ) {
    path = ControlSocket.path(forMountPoint: mountPoint, in: directory)
    self.mountPoint = mountPoint
    self.source = source
    self.threshold = threshold
    self.time = time
    started = (time.wall, time.monotonic)
  }

  /// Begins to answer for an engine, until `stop`. A mount works without: what is wrong goes into the log.
  func serve(_ engine: any MountEngine, _ log: Logger) {
    do throws(Failure) {
      let made = try ControlServer(path: path, time: time) { [self] in answer($0, engine, log) }
      server.withLock { $0 = made }
      guard made.start() else { throw Failure("the system has no thread left") }
    } catch {
      log.warning("'waysfs status' cannot ask this mount", metadata: ["reason": "\(error)"])
    }
  }

  /// The kernel has let go of the mount; its uploads go on.
  func noteUnmounted() { isFinishing.store(true, ordering: .relaxed) }

  /// Ends it. When this returns the engine is not asked any more.
  func stop() {
    let server = server.withLock { server in
      defer { server = nil }
      return server
    }
    server?.stop()
  }

  private func answer(_ request: ControlRequest, _ engine: any MountEngine, _ log: Logger) -> ControlAnswer {
    switch request {
    case .status:
      guard let report = engine.report else { return .error("it has nothing to report") }
      switch StatusJSON.encode(status(report)) {
      case .success(let bytes): return .ok(bytes)
      case .failure(let failure): return .error(failure.reason)
      }
    case .logLevel(let level):
      if let level {
        threshold.level = level
        log.notice("the log level was changed", metadata: ["level": "\(level.rawValue)"])
      }
      return .ok(Array(threshold.level.rawValue.utf8))
    }
  }

  private func status(_ report: MountReport) -> MountStatus {
    MountStatus(
      version: Waysfs.version, pid: getpid(), mountPoint: mountPoint, source: source,
      started: LineFormat.time(started.wall), uptimeSeconds: Double(time.monotonic - started.monotonic) / 1e9,
      logLevel: threshold.level.rawValue, isFinishing: isFinishing.load(ordering: .relaxed), report: report)
  }
}
