import Basics
import Glibc
import Logging
import Synchronization

/// The control socket of this process's mount, and what it answers: from the moment in which the mount has a record to
/// the one in which it has none any more. Thread-safe.
final class MountControl: Sendable {
  private struct State {
    var phase = MountPhase.starting
    var activity: String?
    var engine: (any MountEngine)?
  }

  private let path: String
  private let mountPoint: String
  private let source: String
  private let threshold: LogThreshold
  private let time: TimeSource
  private let started: (wall: Timestamp, monotonic: UInt64)
  /// Shared while the engine is asked, alone when it is put in or taken away. The mutexes are taken behind it.
  private let asking = AccessGate()
  private let state = Mutex(State())
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

  /// Begins to answer, until `stop`. A mount works without: what is wrong goes into the log.
  func start(_ log: Logger) {
    do throws(Failure) {
      let made = try ControlServer(path: path, time: time) { [weak self] request in
        self?.answer(request, log) ?? .error("it has ended")
      }
      guard made.start() else {
        made.stop()
        throw Failure("the system has no thread left")
      }
      server.withLock { $0 = made }
    } catch {
      log.warning("'waysfs status' cannot ask this mount", metadata: ["reason": "\(error)"])
    }
  }

  /// What is done before the mount answers, in words.
  func note(_ activity: String) { state.withLock { $0.activity = activity } }

  /// The mount answers: from now on its engine tells how it does.
  func serve(_ engine: any MountEngine) {
    asking.exclusive { state.withLock { $0 = State(phase: .serving, engine: engine) } }
  }

  /// The kernel has let go of the mount; its uploads go on.
  func noteUnmounted() { state.withLock { $0.phase = .finishing } }

  /// When this returns the engine is not asked any more; that the process is at work is still told.
  func letGo() { asking.exclusive { state.withLock { $0.engine = nil } } }

  /// Ends it.
  func stop() {
    let server = server.withLock { server in
      defer { server = nil }
      return server
    }
    server?.stop()
  }

  private func answer(_ request: ControlRequest, _ log: Logger) -> ControlAnswer {
    switch request {
    case .status:
      switch StatusJSON.encode(asking.shared { status() }) {
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

  private func status() -> MountStatus {
    let (phase, activity, engine) = state.withLock { ($0.phase, $0.activity, $0.engine) }
    return MountStatus(
      version: Waysfs.version, pid: getpid(), mountPoint: mountPoint, source: source,
      started: LineFormat.time(started.wall),
      startedSeconds: Double(started.wall.seconds) + Double(started.wall.nanoseconds / 1_000_000) / 1000,
      uptimeSeconds: Double(time.monotonic - started.monotonic) / 1e9, logLevel: threshold.level.rawValue, phase: phase,
      activity: activity, report: engine?.report)
  }
}
