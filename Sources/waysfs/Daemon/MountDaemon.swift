import Basics
import Glibc
import Logging
import Synchronization

/// The life of one mount in its process: connect, mount, serve, finish the uploads, end.
final class MountDaemon: Sendable {
  private let plan: MountPlan
  private let log: Logger
  private let readiness: Readiness
  /// Who has started this process as a service; nil when nobody did.
  private let manager: ServiceManager?
  /// How long a mount that is detached but still in use is served, in seconds.
  private let gracePeriod: Double

  // No lock is held while another is taken.
  private let sequence = Mutex(StopSequence())
  private let engine = Mutex<(any MountEngine)?>(nil)
  private let service = Mutex<ServiceReporter?>(nil)
  private let cancellation = Cancellation()

  init(
    plan: MountPlan, log: Logger, readiness: Readiness, manager: ServiceManager? = nil, gracePeriod: Double = 5
  ) {
    self.plan = plan
    self.log = log
    self.readiness = readiness
    self.manager = manager
    self.gracePeriod = gracePeriod
  }

  /// Runs until the mount has ended. Call it on the main thread, with the signals blocked.
  /// - Parameters:
  ///   - connect: builds the engine.
  ///   - probe: makes sure that the mount answers.
  ///   - startSignals: starts the thread that takes the signals.
  ///   - control: answers `waysfs status`.
  ///   - detach: called when the mount answers, before the starter is told.
  func run(
    connect: Connect, probe: (MountPlan) throws(Failure) -> Void, record: RuntimeRecord,
    control: MountControl? = nil,
    startSignals: (@escaping @Sendable (Int32) -> Void) -> Bool = Signals.startHandling, detach: () -> Void = {}
  ) throws(Failure) -> ExitStatus {
    raiseOpenFileLimit()
    guard startSignals({ self.handleSignal($0) }) else { throw Failure("the system has no thread left") }
    readiness.watch { self.perform(.stopRequested) }
    let engine = try start(connect: connect, probe: probe, control)
    record.update(journal: engine.journalDirectory)
    control?.serve(engine)
    detach()
    // Whoever waits is gone, so nobody knows of the mount: it must not stay.
    if !readiness.finish(.ready) { perform(.stopRequested) }
    log.info("mounted", metadata: ["source": "\(plan.target.source)", "on": "\(plan.mountPoint)"])
    report(to: manager, engine)
    let reporter = ProgressReporter(engine, record)
    if !reporter.start() { log.warning("the system has no thread left; how far uploads are is not shown") }
    engine.waitUntilUnmounted()
    perform(.unmounted)
    control?.noteUnmounted()
    return end(engine, record, reporter, control)
  }

  /// Tells everybody who may wait what is being done.
  private func note(_ activity: String, _ control: MountControl?) {
    readiness.progress(activity)
    manager?.tell([.status("Starting: \(activity)")])
    control?.note(activity)
  }

  private func start(
    connect: Connect, probe: (MountPlan) throws(Failure) -> Void, _ control: MountControl?
  ) throws(Failure) -> any MountEngine {
    let engine = try connectInTime(connect, control)
    do throws(Failure) {
      if cancellation.isCancelled { throw Failure("interrupted") }
      note("mounting on \(plan.mountPoint)", control)
      try engine.mount()
    } catch {
      engine.shutDown()
      throw error
    }
    self.engine.withLock { $0 = engine }
    do throws(Failure) {
      try probe(plan)
    } catch {
      engine.endSession()
      engine.waitUntilUnmounted()
      engine.shutDown()
      throw error
    }
    perform(.mounted)
    return engine
  }

  /// In the background whoever waits has the clock.
  private func connectInTime(_ connect: Connect, _ control: MountControl?) throws(Failure) -> any MountEngine {
    let seconds = plan.settings.mountTimeout
    let limit = readiness.isBackground ? nil : TimeLimit(seconds: seconds) { [cancellation] in cancellation.cancel() }
    defer { limit?.end() }
    var last = "starting"
    do throws(Failure) {
      return try connect(plan, log, cancellation) { activity in
        last = activity
        note(activity, control)
      }
    } catch {
      guard limit?.isOver == true else { throw error }
      throw Failure(
        "the mount did not answer within \(Int(seconds)) s (\(last))",
        remedy: "Look into the log, or give it more time with --mount-timeout")
    }
  }

  private func end(
    _ engine: any MountEngine, _ record: RuntimeRecord, _ reporter: ProgressReporter, _ control: MountControl?
  ) -> ExitStatus {
    // At once: who unmounts waits for it.
    reporter.report()
    let service = service.withLock { $0 }
    service?.stopping()
    if let pending = engine.pending, pending.files > 0 {
      log.notice("unmounted; finishing uploads", metadata: ["pending": "\(pending)"])
    }
    let left = engine.finishUploads().map { unfinished in
      let text = "\(unfinished.files) \(unfinished.files == 1 ? "file" : "files") could not be uploaded"
      log.error("\(text)", metadata: ["kept_in": "\(unfinished.keptIn)"])
      return "\(text); kept in \(unfinished.keptIn)"
    }
    reporter.stop()
    control?.letGo()
    service?.ended(left ?? "Everything is in the bucket")
    engine.shutDown()
    control?.stop()
    record.finish(unfinished: left)
    if left != nil { return .unfinishedUploads }
    log.info("ended", metadata: ["on": "\(plan.mountPoint)"])
    return .success
  }

  /// Tells the service manager, where there is one, from now on how it goes.
  private func report(to manager: ServiceManager?, _ engine: any MountEngine) {
    guard let manager else { return }
    let service = ServiceReporter(manager, engine, log: log)
    self.service.withLock { $0 = service }
    service.ready()
    if !service.start() { log.warning("the system has no thread left; the service manager hears no more") }
  }

  private func handleSignal(_ number: Int32) {
    log.notice("signal received", metadata: ["signal": "\(Signals.name(number))"])
    perform(number == SIGHUP ? .hangup : .stopRequested)
  }

  /// Takes note of what happened, and does what follows from it.
  func perform(_ event: StopSequence.Event) {
    let actions = sequence.withLock { $0.handle(event) }
    for action in actions { perform(action) }
  }

  private func perform(_ action: StopSequence.Action) {
    switch action {
    case .cancelStart: cancellation.cancel()
    case .logIgnoredHangup: log.notice("SIGHUP has no meaning here and is ignored")
    case .reportPending:
      guard let pending = engine.withLock({ $0 })?.pending else { return log.notice("still stopping") }
      log.notice(
        "still stopping",
        metadata: ["pending": "\(pending)", "examples": "\(pending.examples.prefix(3).joined(separator: ", "))"])
    case .finishUploads:
      // On a thread of its own: the one for the signals must be free for the next.
      let thread = Thread.start(name: "stop") { self.finishUploads() }
      // A system without a thread left still gets its orderly stop, only without answers to further signals.
      if thread == nil { finishUploads() }
      thread?.detach()
    case .unmount: unmount()
    }
  }

  private func finishUploads() {
    let engine = engine.withLock { $0 }
    service.withLock { $0 }?.stopping()
    log.notice("stopping; finishing uploads", metadata: engine?.pending.map { ["pending": "\($0)"] })
    // What is left over is reported when the mount has ended: more may come until then.
    _ = engine?.finishUploads()
    perform(.uploadsFinished)
  }

  private func unmount() {
    guard let engine = engine.withLock({ $0 }) else { return }
    let outcome = engine.unmount(lazily: false)
    switch outcome {
    case .done: break
    case .notMounted: log.notice("the mount was already gone", metadata: ["on": "\(plan.mountPoint)"])
    case .busy: log.notice("the mount is in use; detaching it", metadata: ["on": "\(plan.mountPoint)"])
    case .failed(let reason): log.error("cannot unmount", metadata: ["reason": "\(reason)"])
    }
    if ![.done, .notMounted].contains(outcome) { _ = engine.unmount(lazily: true) }
    // Programs that have files open keep a detached mount alive, and so does a copy of it in another mount namespace.
    // They get a moment; then their calls fail.
    sleepInterval(seconds: gracePeriod)
    guard sequence.withLock({ $0.phase }) != .ended else { return }
    if outcome == .done {
      log.notice(
        "the mount is still in use, perhaps in another mount namespace; ending it",
        metadata: ["on": "\(plan.mountPoint)"])
    }
    engine.endSession()
  }
}
