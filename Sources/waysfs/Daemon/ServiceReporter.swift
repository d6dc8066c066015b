import Basics
import Logging
import Synchronization

/// Tells the service manager how a mount goes: that it is ready, what is still to be uploaded, that it answers, and at the
/// end that it takes time. Thread-safe.
final class ServiceReporter: Sendable {
  /// Seconds between two looks, or a quarter of the watchdog's time if that is less: one that comes late does no harm.
  private static let interval = 5.0

  private enum Check {
    /// On its way since that time, in seconds.
    case underWay(since: Double)
    case answered
  }

  private struct State {
    var watchdog = Watchdog()
    var stopExtension = StopExtension()
    var check = Check.answered
    var isStopping = false
    var isAlive = true
    var status = ""
    var cannotAsk = false

    var isCheckOver: Bool { if case .answered = check { true } else { false } }
  }

  private let manager: ServiceManager
  private let engine: any MountEngine
  private let log: Logger
  private let time: TimeSource
  private let pause: Double
  private let isEnded = Atomic<Bool>(false)
  // Held for a look or a change only; the engine is never asked under it, and nothing sent.
  private let state = Mutex(State())
  /// Held while a look is made and told of, so that what is told keeps its order.
  private let looking = AccessGate()

  init(_ manager: ServiceManager, _ engine: any MountEngine, log: Logger, time: TimeSource = .system) {
    self.manager = manager
    self.engine = engine
    self.log = log
    self.time = time
    pause = min(Self.interval, (manager.watchdog ?? .infinity) / 4)
  }

  /// The mount answers.
  func ready() { look(saying: [.ready]) }

  /// The end has begun. What comes after the first call changes nothing.
  func stopping() {
    let isFirst = state.withLock { state in
      defer { state.isStopping = true }
      return !state.isStopping
    }
    if isFirst { look(saying: [.stopping]) }
  }

  /// The last word: what it ended with. Nothing is told after it.
  func ended(_ status: String) {
    looking.exclusive {
      isEnded.store(true, ordering: .relaxed)
      manager.tell([.status(status)])
    }
  }

  /// Looks again and again from now on; false when the system has no thread for it.
  func start() -> Bool {
    let thread = Thread.start(name: "waysfs-service") { [self] in
      while !isEnded.load(ordering: .relaxed) {
        look()
        sleepInterval(seconds: pause)
      }
    }
    thread?.detach()
    return thread != nil
  }

  /// Looks how the mount is, and tells what follows. Then sends the next check on its way, unless one is still out.
  func look(saying first: [ServiceMessage] = []) {
    let checks = looking.exclusive { () -> Bool in
      guard !isEnded.load(ordering: .relaxed) else { return false }
      let (load, pending) = (engine.load, engine.pending)
      let now = Double(time.monotonic) / 1e9
      var (checks, turned) = (false, Bool?.none)
      let messages = state.withLock { state in
        let wasAlive = state.isAlive
        checks = state.isCheckOver
        let messages = self.messages(&state, load, pending, at: now)
        if checks { state.check = .underWay(since: now) }
        if state.isAlive != wasAlive { turned = state.isAlive }
        return messages
      }
      manager.tell(first + messages)
      if turned == true { log.notice("the mount answers again") }
      if turned == false { log.error("the mount does not answer") }
      return checks
    }
    if checks { check() }
  }

  private func messages(
    _ state: inout State, _ load: EngineLoad, _ pending: PendingUploads?, at now: Double
  ) -> [ServiceMessage] {
    var messages: [ServiceMessage] = []
    state.isAlive = state.watchdog.isAlive(
      answered: answers(state.check, at: now), load: load, pending: pending?.bytes, at: now)
    if state.isAlive { messages.append(.watchdog) }
    if state.isStopping, let seconds = state.stopExtension.request(pending: pending, at: now) {
      messages.append(.extendTimeout(seconds))
    }
    let status = Self.status(isAlive: state.isAlive, isStopping: state.isStopping, pending)
    if status != state.status {
      state.status = status
      messages.append(.status(status))
    }
    return messages
  }

  /// A machine may be busy for a moment: a check that is out counts against the mount only after some time.
  private func answers(_ check: Check, at now: Double) -> Bool {
    if case .underWay(let since) = check { now - since < 2 * pause } else { true }
  }

  private static func status(isAlive: Bool, isStopping: Bool, _ pending: PendingUploads?) -> String {
    guard isAlive else { return "The mount does not answer" }
    let work = pending.flatMap { $0.files > 0 ? "\($0) to upload" : nil }
    if isStopping { return "Finishing" + (work.map { ": \($0)" } ?? "") }
    let failed = pending.flatMap { $0.failed > 0 ? "; \($0.failed) failed: \($0.lastError ?? "see the log")" : nil }
    return "Serving" + (work.map { "; \($0)" } ?? "") + (failed ?? "")
  }

  /// On a thread of its own, since it may never come back.
  private func check() {
    let thread = Thread.start(name: "waysfs-check") { [self] in
      let isAsked = engine.answerOnce()
      let isNew = state.withLock { state in
        state.check = .answered
        defer { state.cannotAsk = !isAsked }
        return !isAsked && !state.cannotAsk
      }
      guard isNew else { return }
      log.warning("the mount cannot be asked whether it answers; the watchdog would not notice if it did not")
    }
    // A machine without a thread left for this is in trouble, but the mount may be well.
    if thread == nil { state.withLock { $0.check = .answered } }
    thread?.detach()
  }
}
