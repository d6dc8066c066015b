import Basics
import Glibc
import Logging
import Synchronization
import Testing

@testable import waysfs

/// A socket that datagrams are sent to, read without blocking.
final class DatagramReceiver: Sendable {
  let path: String
  private let descriptor: Int32

  init(_ path: String) throws {
    self.path = path
    descriptor = socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_NONBLOCK.rawValue), 0)
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    var name = Array(path.utf8)
    let length = name.count + (path.hasPrefix("@") ? 0 : 1)
    if path.hasPrefix("@") { name[0] = 0 }
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: name) }
    let size = MemoryLayout.offset(of: \sockaddr_un.sun_path).map { socklen_t($0 + length) } ?? 0
    let bound = withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { bind(descriptor, $0, size) }
    }
    guard bound == 0 else { throw TestFailure("bind \(path): \(errno)") }
  }

  deinit { close(descriptor) }

  /// The datagrams that have come since the last call.
  func take() -> [[UInt8]] {
    var datagrams: [[UInt8]] = []
    var buffer = [UInt8](repeating: 0, count: 1 << 18)
    while true {
      let count = recv(descriptor, &buffer, buffer.count, 0)
      if count < 0 { return datagrams }
      datagrams.append(Array(buffer[..<count]))
    }
  }

  func takeLines() -> [String] {
    take().flatMap { String(decoding: $0, as: UTF8.self).split(separator: "\n").map(String.init) }
  }
}

struct ServiceManagerTests {
  private static func manager(_ environment: [String: String]) -> ServiceManager? {
    ServiceManager(environment: environment, pid: 7)
  }

  @Test func isThereWhenItHasASocket() {
    #expect(Self.manager([:]) == nil)
    #expect(Self.manager(["NOTIFY_SOCKET": ""]) == nil)
    #expect(Self.manager(["NOTIFY_SOCKET": "vsock:2:1"]) == nil)
    #expect(Self.manager(["NOTIFY_SOCKET": "/" + String(repeating: "a", count: 107)]) == nil)
    #expect(Self.manager(["NOTIFY_SOCKET": "/run/x"])?.address == "/run/x")
    #expect(Self.manager(["NOTIFY_SOCKET": "@abstract"])?.address == "@abstract")
  }

  static let times: [([String: String], Double?)] = [
    ([:], nil), (["WATCHDOG_USEC": "3000000"], 3), (["WATCHDOG_USEC": "500000", "WATCHDOG_PID": "7"], 0.5),
    (["WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "8"], nil), (["WATCHDOG_USEC": "0"], nil),
    (["WATCHDOG_USEC": "x"], nil), (["WATCHDOG_USEC": "-5"], nil), (["WATCHDOG_USEC": "18446744073709551615"], nil),
  ]

  @Test(arguments: times)
  func watches(_ environment: [String: String], _ seconds: Double?) {
    let all = environment.merging(["NOTIFY_SOCKET": "/run/x"]) { $1 }
    #expect(Self.manager(all)?.watchdog == seconds)
  }

  @Test func tells() throws {
    let directory = try TemporaryDirectory()
    for address in ["\(directory.path)/notify", "@waysfs-test-\(directory.path)"] {
      let receiver = try DatagramReceiver(address)
      let manager = try #require(Self.manager(["NOTIFY_SOCKET": address]))
      manager.tell([.ready, .status("a\nb"), .watchdog, .extendTimeout(60), .stopping])
      manager.tell([])
      #expect(
        receiver.take().map { String(decoding: $0, as: UTF8.self) }
          == ["READY=1\nSTATUS=a\\nb\nWATCHDOG=1\nEXTEND_TIMEOUT_USEC=60000000\nSTOPPING=1"])
    }
  }

  @Test func nobodyListens() throws {
    let directory = try TemporaryDirectory()
    try #require(Self.manager(["NOTIFY_SOCKET": "\(directory.path)/none"])).tell([.ready])
  }
}

struct WatchdogTests {
  private static let idle = EngineLoad(isSaturated: false, requests: 5)
  private static let busy = EngineLoad(isSaturated: true, requests: 5)

  @Test func anAnswerIsTheProof() {
    var watchdog = Watchdog()
    for step in 0..<10 {
      let isAlive = watchdog.isAlive(answered: true, load: Self.busy, pending: 7, at: Double(step) * 1e4)
      #expect(isAlive)
    }
  }

  private typealias Look = (answered: Bool, load: EngineLoad, pending: UInt64?, at: Double)

  private func verdicts(_ looks: Look...) -> [Bool] {
    var watchdog = Watchdog()
    return looks.map { watchdog.isAlive(answered: $0.answered, load: $0.load, pending: $0.pending, at: $0.at) }
  }

  @Test func withThreadsToSpareItHasToAnswer() {
    // Others are served, and it is not: something is wrong all the same.
    let verdicts = verdicts(
      (true, Self.idle, 0, 0), (false, Self.idle, 0, 45), (false, EngineLoad(requests: 9), 0, 90),
      (true, Self.idle, 0, 135))
    #expect(verdicts == [true, false, false, true])
  }

  @Test func whoWaitsForAServerLivesForAWhile() {
    let verdicts = verdicts(
      (true, Self.busy, 0, 100), (false, Self.busy, 0, 100 + Watchdog.patience - 1),
      (false, Self.busy, 0, 100 + Watchdog.patience))
    #expect(verdicts == [true, true, false])
  }

  static let moves: [(EngineLoad, UInt64?)] = [
    (EngineLoad(isSaturated: true, requests: 6), 7), (EngineLoad(isSaturated: true, requests: 5), 6),
  ]

  @Test(arguments: moves)
  func orAsLongAsAnythingMoves(_ load: EngineLoad, _ pending: UInt64?) {
    let moved = Watchdog.patience - 1
    let verdicts = verdicts(
      (true, Self.busy, 7, 0), (false, load, pending, moved), (false, load, pending, moved + Watchdog.patience - 1),
      (false, load, pending, moved + Watchdog.patience))
    #expect(verdicts == [true, true, true, false])
  }
}

struct StopExtensionTests {
  private static func pending(_ bytes: UInt64) -> PendingUploads { PendingUploads(files: 1, bytes: bytes) }

  private func requests(_ looks: (pending: PendingUploads?, at: Double)...) -> [Bool] {
    var stop = StopExtension()
    return looks.map { stop.request(pending: $0.pending, at: $0.at) == StopExtension.request }
  }

  @Test func asksAsLongAsItGetsOn() {
    let requests = requests(
      (Self.pending(9), 0), (Self.pending(8), 299), (Self.pending(7), 598), (Self.pending(7), 897), (nil, 898))
    #expect(requests == [true, true, true, true, true])
  }

  @Test func givesUpWhenNothingMoves() {
    let requests = requests(
      (Self.pending(5), 1000), (Self.pending(5), 1299), (Self.pending(5), 1300), (Self.pending(4), 1301))
    #expect(requests == [true, true, false, true])
  }

  @Test func anotherErrorIsNoProgress() {
    func failed(_ error: String) -> PendingUploads {
      PendingUploads(files: 1, bytes: 5, examples: [error], failed: 1, lastError: error)
    }
    #expect(requests((failed("a"), 0), (failed("b"), 200), (failed("a"), 300)) == [true, true, false])
  }

  @Test func whereNobodyKnowsItAsksForAWhile() {
    #expect(requests((nil, 0), (nil, 299), (nil, 300)) == [true, true, false])
  }
}

/// An engine of which the test says what it answers.
private final class ScriptedEngine: MountEngine {
  struct State {
    var pending = PendingUploads.none
    var load = EngineLoad()
  }
  let state = Mutex(State())
  /// Opened when checks may come back.
  let answers = Gateway()
  let checks = Atomic<Int>(0)

  var pending: PendingUploads? { state.withLock { $0.pending } }
  var load: EngineLoad { state.withLock { $0.load } }
  func answerOnce() -> Bool {
    checks.add(1, ordering: .relaxed)
    answers.waitUntilOpen()
    return true
  }

  func mount() throws(Failure) {}
  var journalDirectory: String? { nil }
  func finishUploads() -> UnfinishedUploads? { nil }
  func uploadLeftOver() {}
  func unmount(lazily: Bool) -> UnmountOutcome { .done }
  func waitUntilUnmounted() {}
  func endSession() {}
  func shutDown() {}
}

struct ServiceReporterTests {
  private let directory: TemporaryDirectory
  private let receiver: DatagramReceiver
  private let engine = ScriptedEngine()
  private let clock = ManualClock()
  private let reporter: ServiceReporter

  init() throws {
    directory = try TemporaryDirectory()
    receiver = try DatagramReceiver("\(directory.path)/notify")
    let manager = try #require(ServiceManager(environment: ["NOTIFY_SOCKET": receiver.path], pid: 1))
    let log = LogDestination(.descriptor(-1)).logger(label: "test", level: .error)
    reporter = ServiceReporter(manager, engine, log: log, time: clock.timeSource)
  }

  /// Looks until the mount is found alive again: the thread of a check may take its time.
  private func linesWhenAnswered() -> [String] {
    while true {
      reporter.look()
      let lines = receiver.takeLines()
      if lines.contains("WATCHDOG=1") { return lines }
      sched_yield()
    }
  }

  @Test func ready() {
    engine.answers.open()
    reporter.ready()
    #expect(receiver.takeLines() == ["READY=1", "WATCHDOG=1", "STATUS=Serving"])
    engine.state.withLock { $0.pending = PendingUploads(files: 2, bytes: 3 << 20, failed: 1, lastError: "no route") }
    #expect(linesWhenAnswered().last == "STATUS=Serving; 2 files, 3 MiB to upload; 1 failed: no route")
    // What has not changed is not said again.
    #expect(linesWhenAnswered() == ["WATCHDOG=1"])
  }

  @Test func isNotFedWithoutAnAnswer() {
    reporter.ready()
    #expect(receiver.takeLines().contains("WATCHDOG=1"))
    // A moment is granted.
    clock.advance(seconds: 9)
    reporter.look()
    #expect(receiver.takeLines() == ["WATCHDOG=1"])
    clock.advance(seconds: 1)
    reporter.look()
    #expect(receiver.takeLines() == ["STATUS=The mount does not answer"])
    reporter.look()
    #expect(receiver.takeLines().isEmpty)
    // One check is out, however often it looks.
    #expect(engine.checks.load(ordering: .relaxed) <= 1)
    engine.answers.open()
    #expect(linesWhenAnswered() == ["WATCHDOG=1", "STATUS=Serving"])
  }

  @Test func isFedWhileAllWaitForTheServer() {
    engine.state.withLock { $0.load = EngineLoad(isSaturated: true, requests: 64) }
    reporter.ready()
    _ = receiver.takeLines()
    clock.advance(seconds: Watchdog.patience - 1)
    reporter.look()
    #expect(receiver.takeLines() == ["WATCHDOG=1"])
    clock.advance(seconds: 2)
    reporter.look()
    #expect(receiver.takeLines() == ["STATUS=The mount does not answer"])
    engine.answers.open()
  }

  @Test func theEnd() {
    engine.answers.open()
    reporter.ready()
    _ = receiver.takeLines()
    engine.state.withLock { $0.pending = PendingUploads(files: 1, bytes: 1 << 30) }
    reporter.stopping()
    let lines = receiver.takeLines()
    let status = "STATUS=Finishing: 1 file, 1 GiB to upload"
    #expect(lines == ["STOPPING=1", "WATCHDOG=1", "EXTEND_TIMEOUT_USEC=60000000", status])
    reporter.stopping()
    #expect(receiver.takeLines().isEmpty)
    reporter.ended("Everything is in the bucket")
    reporter.look()
    #expect(receiver.takeLines() == ["STATUS=Everything is in the bucket"])
  }
}
