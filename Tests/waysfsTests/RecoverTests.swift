import ArgumentParser
import Basics
import Glibc
import Logging
import ObjectStore
import Synchronization
import SystemPackage
import Testing
import WritePath

@testable import waysfs

/// Journals of mounts that have ended, and what is shown of them.
final class RecoverBench {
  let directory: TemporaryDirectory
  var shown: [String] = []
  var said: [String] = []
  var asked: [String] = []
  var answer: Bool?

  init() throws { directory = try TemporaryDirectory() }

  var root: FilePath { FilePath(directory.path) }

  func journal(_ bucket: String = "photos") throws -> Journal {
    try Journal(
      root: root, name: bucket, identity: "https://s3.example/\(bucket):2024/", bounds: JournalBounds(freeFraction: 0))
  }

  /// What a daemon leaves that has recorded these files, and dies.
  func leave(_ files: [(key: String, text: String)], bucket: String = "photos") throws {
    try Self.record(files, in: try journal(bucket))
  }

  static func record(_ files: [(key: String, text: String)], in journal: Journal) throws {
    for (key, text) in files {
      let entry = try journal.makeEntry()
      let bytes = Array(text.utf8)
      guard pwrite(entry.file.descriptor.rawValue, bytes, bytes.count, 0) == bytes.count else {
        throw TestFailure("pwrite: \(errno)")
      }
      var present = RangeSet64()
      present.insert(0..<UInt64(bytes.count))
      try entry.write(
        JournalRecord(
          state: .closed, target: UploadTarget(key: ObjectKey(key), attributes: ObjectAttributes()),
          size: UInt64(bytes.count), condition: .ifAbsent, base: nil, present: present, dirty: present),
        durable: false)
    }
  }

  func recover(_ bucket: String? = nil) throws -> Recover {
    Recover(
      root: root, bucket: try bucket.map { try BucketReference(parsing: $0) }, show: { self.shown.append($0) },
      say: { self.said.append($0) },
      ask: { question in
        self.asked.append(question)
        return self.answer
      })
  }

  func keys() throws -> [String] { try recover().items().compactMap { $0.key?.string }.sorted() }
}

private func failure(_ work: () throws(Failure) -> Void) -> Failure? {
  do throws(Failure) {
    try work()
    return nil
  } catch {
    return error
  }
}

@Suite struct RecoverTests {
  private let bench: RecoverBench

  init() throws { bench = try RecoverBench() }

  @Test func nothingIsSaidToBeNothing() throws {
    try bench.recover().list(asJSON: false)
    try bench.recover().list(asJSON: true)
    #expect(bench.shown == ["Nothing is kept in \(bench.directory.path).", "[]"])
    // Nor is an empty journal anything.
    _ = try bench.journal()
    #expect(try bench.recover().items().isEmpty)
  }

  @Test func filesAreShownByMount() throws {
    try bench.leave([("2024/a.txt", "hello")])
    try bench.leave([("2024/b.txt", "hello, world")], bucket: "music")
    let running = try bench.journal()
    try RecoverBench.record([("2024/c.txt", "")], in: running)
    try bench.recover().list(asJSON: false)
    let lines = try #require(bench.shown.first).split(separator: "\n", omittingEmptySubsequences: false)
    #expect(
      lines.filter { $0.hasPrefix("https://") } == [
        "https://s3.example/music:2024/", "https://s3.example/photos:2024/",
      ])
    #expect(lines.contains { $0.contains("2024/b.txt") && $0.contains("12 bytes") && $0.contains("  pending  ") })
    #expect(lines.contains { $0.contains("2024/c.txt") && $0.contains("pending (in use)") })
    #expect(try bench.recover("music:2024").items().map(\.key?.string) == ["2024/b.txt"])
    #expect(try bench.recover("music").items().isEmpty)
    withExtendedLifetime(running) {}
  }

  @Test func exportWritesEveryFileAndOverwritesNone() throws {
    try bench.leave([("2024/a.txt", "one"), ("../x", "two"), ("2024", "three")])
    let target = "\(bench.directory.path)/out"
    mkdir(target, 0o700)
    mkdir("\(target)/2024", 0o700)
    for (name, text) in [("2024/a.txt", "old")] { _ = try bench.directory.file("out/\(name)", text) }
    try bench.recover().export(to: "out", workingDirectory: bench.directory.path)
    func read(_ name: String) -> FileText { readSmallFile("\(target)/\(name)") }
    #expect(read("2024/a.txt") == .text("old"))
    #expect(read("2024/a (2).txt") == .text("one"))
    #expect(read("%2E%2E/x") == .text("two"))
    #expect(read("2024 (2)") == .text("three"))
    #expect(bench.shown.count == 3 && bench.said.isEmpty)
    // Nothing is gone from the journal.
    #expect(try bench.keys() == ["../x", "2024", "2024/a.txt"])
  }

  @Test func exportWorksBesideAMount() throws {
    try bench.leave([("a", "one")], bucket: "music")
    let running = try bench.journal()
    try RecoverBench.record([("b", "two")], in: running)
    try Recover(root: bench.root, show: { self.bench.shown.append($0) }, say: { self.bench.said.append($0) })
      .export(to: "\(bench.directory.path)/out", workingDirectory: "/")
    #expect(bench.shown.count == 2 && bench.said.isEmpty)
    #expect(readSmallFile("\(bench.directory.path)/out/a") == .text("one"))
    #expect(readSmallFile("\(bench.directory.path)/out/b") == .text("two"))
    withExtendedLifetime(running) {}
  }

  @Test func discardAsksAndRemovesOne() throws {
    try bench.leave([("a", "one"), ("b", "two"), ("b", "three")])
    let recover = try bench.recover()
    #expect(
      failure { () throws(Failure) in try recover.discard("a", isConfirmed: false) }?.remedy.contains("--yes") == true)
    bench.answer = false
    try recover.discard("a", isConfirmed: false)
    #expect(bench.asked.count == 2 && bench.asked[0].hasPrefix("Remove a (3 bytes, "))
    #expect(try bench.keys() == ["a", "b", "b"])
    bench.answer = true
    try recover.discard("a", isConfirmed: false)
    #expect(try bench.keys() == ["b", "b"])
    let ambiguous = failure { () throws(Failure) in try recover.discard("b", isConfirmed: true) }
    #expect(ambiguous?.reason == "'b' is ambiguous")
    let id = try #require(try recover.items().last?.id)
    #expect(ambiguous?.remedy.contains(id) == true)
    try recover.discard(id, isConfirmed: true)
    #expect(try recover.items().map(\.size) == [3])
    #expect(failure { () throws(Failure) in try recover.discard("c", isConfirmed: true) }?.reason == "there is no 'c'")
  }

  @Test func whatAMountHasIsNotDiscarded() throws {
    let running = try bench.journal()
    try RecoverBench.record([("a", "one")], in: running)
    let recover = try bench.recover()
    let error = failure { () throws(Failure) in try recover.discard("a", isConfirmed: true) }
    #expect(error?.reason == "a running mount of https://s3.example/photos:2024/ has it")
    #expect(try bench.keys() == ["a"])
    withExtendedLifetime(running) {}
  }

  @Test(arguments: [
    ["--json", "--upload"], ["b", "--upload", "--export", "d"], ["--export", "d", "--discard", "n"], ["--upload"],
    ["--yes"],
    ["--list"],
  ])
  func impossibleCommandLines(_ arguments: [String]) {
    #expect(throws: (any Error).self) { try Waysfs.parseAsRoot(["recover"] + arguments) }
  }

  @Test(arguments: [
    [], ["photos"], ["--json"], ["photos:x", "--upload", "--cache-dir", "/c"], ["--discard", "a", "--yes"],
  ])
  func possibleCommandLines(_ arguments: [String]) throws {
    #expect(try Waysfs.parseAsRoot(["recover"] + arguments) is RecoverCommand)
  }
}

@Suite struct RecoverTableTests {
  private func row(_ key: String?, state: String = "pending", inUse: Bool = false) -> RecoverRow {
    RecoverRow(
      mount: "https://h/b", id: "b-1-0/7", directory: "/c/b-1-0", key: key, size: 4 << 20,
      modified: Timestamp(seconds: 1_369_353_600), state: state, isInUse: inUse, reason: "why", data: nil)
  }

  @Test func columnsAreAligned() {
    let text = RecoverTable.text(
      [row("a\nb"), row(nil, state: "quarantined"), row("größer", inUse: true)], now: 1_369_353_600 + 7200)
    #expect(
      text == """
        https://h/b
          NAME    SIZE   AGE  STATE             ID       REASON
          a\\nb    4 MiB  2 h  pending           b-1-0/7  why
          -       4 MiB  2 h  quarantined       b-1-0/7  why
          größer  4 MiB  2 h  pending (in use)  b-1-0/7  why
        """)
  }

  @Test func jsonIsEscaped() {
    var odd = row("a\"\\\n\u{1}é")
    odd.data = "/c/7.data"
    #expect(
      RecoverTable.json([odd, row(nil)]) == #"""
        [
          {"id": "b-1-0/7", "mount": "https://h/b", "directory": "/c/b-1-0", "in_use": false, "key": "a\"\\\n\u0001é", "size": 4194304, "modified": "2013-05-24T00:00:00.000Z", "state": "pending", "reason": "why", "data": "/c/7.data"},
          {"id": "b-1-0/7", "mount": "https://h/b", "directory": "/c/b-1-0", "in_use": false, "key": null, "size": 4194304, "modified": "2013-05-24T00:00:00.000Z", "state": "pending", "reason": "why", "data": null}
        ]
        """#)
  }

  @Test func ages() {
    for (seconds, text) in [(-5, "now"), (0, "now"), (59, "59 s"), (60, "1 min"), (86_399, "23 h"), (200_000, "2 d")] {
      #expect(RecoverTable.age(seconds: Int64(seconds)) == text)
    }
  }

  @Test func namesOfExportedFiles() {
    for (key, parts) in [
      ("a/b.txt", ["a", "b.txt"]), ("a/", ["a"]), ("/etc/passwd", ["%", "etc", "passwd"]),
      ("a//../.", ["a", "%", "%2E%2E", "%2E"]), ("/", ["%"]),
      (String(repeating: "x", count: 300), [String(repeating: "x", count: 240)]),
    ] {
      #expect(RecoverExport.components(key: key, id: "i") == parts)
    }
    #expect(RecoverExport.components(key: nil, id: "b-0/recovered/7") == ["unnamed-b-0-recovered-7"])
    #expect(RecoverExport.numbered("a.tar.gz", 1) == "a.tar.gz")
    #expect(RecoverExport.numbered("a.tar.gz", 2) == "a.tar (2).gz")
    #expect(RecoverExport.numbered(".profile", 3) == ".profile (3)")
  }
}

@Suite struct RecoverUploadTests {
  /// An engine that only uploads what is left over.
  private final class Engine: MountEngine {
    let upload: @Sendable () -> Void
    let isShutDown = Mutex(false)

    init(_ upload: @escaping @Sendable () -> Void) { self.upload = upload }

    func mount() throws(Failure) {}
    var journalDirectory: String? { nil }
    var pending: PendingUploads? { nil }
    var load: EngineLoad { EngineLoad() }
    func answerOnce() -> Bool { true }
    func finishUploads() -> UnfinishedUploads? { nil }
    func uploadLeftOver() { upload() }
    func unmount(lazily: Bool) -> UnmountOutcome { .done }
    func waitUntilUnmounted() {}
    func endSession() {}
    func shutDown() { isShutDown.withLock { $0 = true } }
  }

  private let bench: RecoverBench

  init() throws { bench = try RecoverBench() }

  private func run(_ engine: Engine, _ more: [String] = []) throws -> Failure? {
    let settings = try MountSettingsTests.settings(["--cache-dir", bench.directory.path] + more)
    let plan = MountPlan(
      target: .bucket(try BucketReference(parsing: "photos:2024")), mountPoint: "/", layers: [],
      context: MountSettingsTests.context,
      credentials: FoundCredentials(
        source: .controlPlane(apiKey: Secret("k"), baseURL: "http://localhost", origin: "test")),
      settings: settings)
    return failure { () throws(Failure) in
      try RecoverUpload(
        plan: plan, connect: { _, _, _, _ throws(Failure) in engine }, show: { self.bench.shown.append($0) },
        makeWait: { ProgressWait(ProgressDisplay(width: nil, purpose: $0), time: .system, write: { _ in }) }
      ).run()
    }
  }

  @Test func whatIsGoneFromTheJournalIsInTheBucket() throws {
    try bench.leave([("a", "one"), ("b", "two")])
    let root = bench.root
    let engine = Engine {
      for item in (try? JournalInventory.read(root: root)) ?? [] { try? JournalInventory.discard(item) }
    }
    #expect(try run(engine) == nil)
    #expect(bench.shown == ["2 files are in the bucket now."])
    #expect(engine.isShutDown.withLock { $0 })
  }

  @Test func whatIsStillThereIsAFailure() throws {
    try bench.leave([("a", "one"), ("b", "two")])
    let root = bench.root
    let engine = Engine {
      for item in (try? JournalInventory.read(root: root)) ?? [] where item.key == ObjectKey("a") {
        try? JournalInventory.discard(item)
      }
    }
    #expect(try run(engine)?.reason == "1 of 2 files could not be uploaded")
    #expect(try bench.keys() == ["b"])
  }

  @Test func othersAndNothing() throws {
    let engine = Engine { Issue.record("nothing is to be uploaded") }
    try bench.leave([("a", "one")], bucket: "music")
    #expect(try run(engine) == nil)
    #expect(bench.shown == ["There is nothing to upload for photos:2024/."])
    let running = try bench.journal()
    try RecoverBench.record([("a", "one")], in: running)
    #expect(try run(engine)?.reason == "a running mount of https://s3.example/photos:2024/ has it")
    #expect(try run(engine, ["--read-only"])?.exitCode == .usage)
    withExtendedLifetime(running) {}
  }
}
