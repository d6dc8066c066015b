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

  init(
    mountFailure: Failure? = nil, unfinished: UnfinishedUploads? = nil, busy: Bool = false,
    isElsewhere: Bool = false,
    whenServing: @escaping @Sendable (FakeEngine) -> Void = { $0.ended.open() },
    whenFinishing: @escaping @Sendable () -> Void = {}
  ) {
    self.mountFailure = mountFailure
    self.unfinished = unfinished
    self.busy = busy
    self.isElsewhere = isElsewhere
    self.whenServing = whenServing
    self.whenFinishing = whenFinishing
  }

  private func note(_ call: String) { calls.withLock { $0.append(call) } }

  func mount() throws(Failure) {
    note("mount")
    if let mountFailure { throw mountFailure }
  }

  var journalDirectory: String? { "/c/photos-1-0" }
  var pending: PendingUploads? { PendingUploads(files: 1, bytes: 10, examples: ["a"]) }

  func finishUploads() -> UnfinishedUploads? {
    note("finish")
    whenFinishing()
    return unfinished
  }

  var load: EngineLoad { EngineLoad() }
  func answerOnce() {}
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
