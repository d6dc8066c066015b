import Basics
import Glibc
import Logging
import Synchronization
import Testing

@testable import waysfs

/// An engine that notes what it is asked to do.
private final class FakeEngine: MountEngine {
  let calls = Mutex<[String]>([])
  let ended = Gateway()
  let mountFailure: Failure?
  let unfinished: UnfinishedUploads?
  let busy: Bool
  /// Whether another mount namespace has a copy of the mount.
  let isElsewhere: Bool
  /// Called when the mount is up.
  let whenServing: @Sendable (FakeEngine) -> Void
  /// Called while uploads are finished.
  let whenFinishing: @Sendable () -> Void
  /// Called with each of `calls`, before it does anything.
  let whenCalled: @Sendable (String) -> Void

  init(
    mountFailure: Failure? = nil, unfinished: UnfinishedUploads? = nil, busy: Bool = false,
    isElsewhere: Bool = false,
    whenServing: @escaping @Sendable (FakeEngine) -> Void = { $0.ended.open() },
    whenFinishing: @escaping @Sendable () -> Void = {}, whenCalled: @escaping @Sendable (String) -> Void = { _ in }
  ) {
    self.mountFailure = mountFailure
    self.unfinished = unfinished
    self.busy = busy
    self.isElsewhere = isElsewhere
    self.whenServing = whenServing
    self.whenFinishing = whenFinishing
    self.whenCalled = whenCalled
  }

  private func note(_ call: String) {
    calls.withLock { $0.append(call) }
    whenCalled(call)
  }

  func mount() throws(Failure) {
    note("mount")
    if let mountFailure { throw mountFailure }
  }

  var journalDirectory: String? { "/c/photos-1-0" }
  var report: MountReport? { fullStatus().report }
  var pending: PendingUploads? { PendingUploads(files: 1, bytes: 10, examples: ["a"]) }

  func finishUploads() -> UnfinishedUploads? {
    note("finish")
    whenFinishing()
    return unfinished
  }

  var load: EngineLoad { EngineLoad() }
  func answerOnce() -> Bool { true }
  func uploadLeftOver() { note("left over") }

  func unmount(lazily: Bool) -> UnmountOutcome {
    note(lazily ? "unmount lazily" : "unmount")
    if busy { return lazily ? .done : .busy }
    if !isElsewhere { ended.open() }
    return .done
  }

  func waitUntilUnmounted() {
    whenServing(self)
    ended.waitUntilOpen()
  }

  func endSession() {
    note("end")
    ended.open()
  }

  func shutDown() { note("shut down") }
}

struct MountDaemonTests {
  private let directory: TemporaryDirectory
  private let plan: MountPlan
  private let log = LogDestination(.descriptor(-1)).logger(label: "test", level: .error)

  init() throws {
    directory = try TemporaryDirectory()
    plan = MountPlan(
      target: .bucket(try BucketReference(parsing: "photos")), mountPoint: "/mnt", layers: [],
      context: MountSettingsTests.context,
      credentials: FoundCredentials(
        source: .controlPlane(apiKey: Secret("k"), baseURL: "http://localhost", origin: "test")),
      settings: try MountSettingsTests.settings())
  }

  private func run(
    _ engine: FakeEngine, probeFailure: Failure? = nil, gracePeriod: Double = 0,
    during: (MountDaemon) -> Void = { _ in }
  ) throws -> waysfs.ExitStatus {
    let record = try RuntimeRecord(
      directory: directory.path, contents: RecordContents(pid: getpid(), source: "s", mountPoint: "/mnt"))
    defer { record.finish() }
    let daemon = MountDaemon(plan: plan, log: log, readiness: .nobody(), gracePeriod: gracePeriod)
    during(daemon)
    return try daemon.run(
      connect: { _, _, _, _ throws(Failure) in engine },
      probe: { _ throws(Failure) in if let probeFailure { throw probeFailure } }, record: record,
      startSignals: { _ in true })
  }

  @Test func unmountedFromOutsideFinishesTheUploads() throws {
    let engine = FakeEngine()
    #expect(try run(engine) == .success)
    #expect(engine.calls.withLock { $0 } == ["mount", "finish", "shut down"])
  }

  @Test func unfinishedUploadsShowInTheStatusAndTheRecord() throws {
    let seen = Mutex<ForeignRecord?>(nil)
    let path = directory.path
    let engine = FakeEngine(unfinished: UnfinishedUploads(files: 2, keptIn: "/c")) { engine in
      seen.withLock { $0 = ForeignRecord(mountPoint: "/mnt", directories: [path]) }
      engine.ended.open()
    }
    #expect(try run(engine) == .unfinishedUploads)
    #expect(seen.withLock { $0?.lastWord()?.unfinished } == "2 files could not be uploaded; kept in /c")
  }

  @Test func whoUnmountsSeesWhatIsPendingAtOnce() throws {
    let seen = Mutex<RecordContents?>(nil)
    let path = directory.path
    let engine = FakeEngine(whenFinishing: {
      let contents = ForeignRecord(mountPoint: "/mnt", directories: [path])?.contents
      seen.withLock { $0 = contents }
    })
    #expect(try run(engine) == .success)
    #expect(seen.withLock { $0?.pending } == PendingUploads(files: 1, bytes: 10))
    #expect(seen.withLock { $0?.journal } == "/c/photos-1-0")
  }

  /// Who watches it is told at any time how far it is: nothing of this is a reason for an alarm.
  @Test func whoAsksIsAnsweredFromTheFirstMomentToTheLast() throws {
    let record = try RuntimeRecord(
      directory: directory.path, contents: RecordContents(pid: getpid(), source: "s", mountPoint: "/mnt"))
    let control = MountControl(
      directory: directory.path, mountPoint: "/mnt", source: "s", threshold: LogThreshold(.info))
    let path = ControlSocket.path(forMountPoint: "/mnt", in: directory.path)
    let told = Mutex<[String]>([])
    let ask: @Sendable (String) -> Void = { moment in
      let answer = try? ControlClient(patience: 30).ask(.status, at: path, owner: geteuid())
      let status = answer.flatMap { try? StatusJSON.decode(MountStatus.self, from: $0).get() }
      let words = [
        moment, status?.phase.rawValue ?? "nothing", status?.activity ?? "-", status?.report == nil ? "-" : "report",
      ]
      told.withLock { $0.append(words.joined(separator: " ")) }
    }
    control.start(log)
    ask("first")
    let engine = FakeEngine(
      whenServing: {
        ask("serving")
        $0.ended.open()
      }, whenCalled: ask)
    let daemon = MountDaemon(plan: plan, log: log, readiness: .nobody(), gracePeriod: 0)
    let status = try daemon.run(
      connect: { _, _, _, progress throws(Failure) in
        progress("connecting")
        ask("connect")
        return engine
      }, probe: { _ throws(Failure) in }, record: record, control: control, startSignals: { _ in true })
    #expect(status == .success)
    #expect(
      told.withLock { $0 } == [
        "first starting - -", "connect starting connecting -", "mount starting mounting on /mnt -",
        "serving serving - report", "finish finishing - report", "shut down finishing - -",
      ])
    #expect(access(path, F_OK) != 0)
  }

  @Test func aServerThatDoesNotAnswerInTimeIsGivenUp() throws {
    let record = try RuntimeRecord(
      directory: directory.path, contents: RecordContents(pid: getpid(), source: "s", mountPoint: "/mnt"))
    defer { record.finish() }
    let hasty = MountPlan(
      target: plan.target, mountPoint: plan.mountPoint, layers: [], context: plan.context,
      credentials: plan.credentials, settings: try MountSettingsTests.settings(["--mount-timeout", "1s"]))
    let daemon = MountDaemon(plan: hasty, log: log, readiness: .nobody())
    let failure = #expect(throws: Failure.self) {
      try daemon.run(
        connect: { _, _, cancellation, progress throws(Failure) in
          progress("connecting")
          let cancelled = OneShot<Void>()
          cancellation.addHandler { cancelled.fulfil(()) }
          cancelled.wait()
          throw Failure("cancelled")
        }, probe: { _ throws(Failure) in }, record: record, startSignals: { _ in true })
    }
    #expect(failure?.reason == "the mount did not answer within 1 s (connecting)")
  }

  @Test func aFailedMountLeavesNothing() throws {
    let engine = FakeEngine(mountFailure: Failure("no"))
    #expect(throws: Failure("no")) { try run(engine) }
    #expect(engine.calls.withLock { $0 } == ["mount", "shut down"])
  }

  @Test func aMountThatDoesNotAnswerIsTakenAway() throws {
    let engine = FakeEngine()
    #expect(throws: Failure("silent")) { try run(engine, probeFailure: Failure("silent")) }
    #expect(engine.calls.withLock { $0 } == ["mount", "end", "shut down"])
  }

  @Test func aStopFinishesTheUploadsFirst() throws {
    let daemon = Mutex<MountDaemon?>(nil)
    let engine = FakeEngine { _ in
      let current = daemon.withLock { $0 }
      current?.perform(.stopRequested)
      current?.perform(.stopRequested)
    }
    let status = try run(engine, gracePeriod: 600) { made in daemon.withLock { $0 = made } }
    #expect(status == .success)
    #expect(engine.calls.withLock { $0 } == ["mount", "finish", "unmount", "finish", "shut down"])
  }

  @Test func aStopEndsWhatAnotherNamespaceStillHas() throws {
    let daemon = Mutex<MountDaemon?>(nil)
    let engine = FakeEngine(isElsewhere: true) { _ in daemon.withLock { $0 }?.perform(.stopRequested) }
    #expect(try run(engine) { made in daemon.withLock { $0 = made } } == .success)
    #expect(engine.calls.withLock { $0 } == ["mount", "finish", "unmount", "end", "finish", "shut down"])
  }

  @Test func aBusyMountIsDetachedAndEnded() throws {
    let daemon = Mutex<MountDaemon?>(nil)
    let engine = FakeEngine(busy: true) { _ in daemon.withLock { $0 }?.perform(.stopRequested) }
    #expect(try run(engine) { made in daemon.withLock { $0 = made } } == .success)
    #expect(
      engine.calls.withLock { $0 } == ["mount", "finish", "unmount", "unmount lazily", "end", "finish", "shut down"])
  }

  @Test func aStopBeforeTheMountGivesUp() throws {
    let engine = FakeEngine()
    #expect(throws: Failure("interrupted")) { try run(engine) { $0.perform(.stopRequested) } }
    #expect(engine.calls.withLock { $0 } == ["shut down"])
  }
}
