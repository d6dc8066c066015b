import Metrics
import Testing

@testable import waysfs

/// A mount that has everything a report can have.
func fullStatus(mountPoint: String = "/mnt/photos", failed: Int = 1) -> MountStatus {
  var histogram = LatencyHistogram()
  for milliseconds in 1...100 { histogram.record(UInt64(milliseconds) * 1_000_000) }
  let latency = LatencyReport(histogram, detailed: true)
  let request = RequestReport(
    operation: "GetObject", requests: 100, retries: 3, errors: ["throttled": 3, "notFound": 2], receivedBytes: 1 << 20,
    sentBytes: 0, firstByte: latency, whole: latency)
  let upload = UploadReport(
    path: "a/b.jpg", state: failed > 0 ? "failed" : "dirty", size: 12 << 20, sentBytes: 8 << 20, ageSeconds: 90,
    failures: failed, error: failed > 0 ? "the server cannot be reached" : nil)
  let bucket = BucketReport(
    bucket: "photos", prefix: "2024/", pendingFiles: 2, pendingBytes: 13 << 20, failedFiles: failed, uploads: [upload],
    requests: [request], receivedBytes: 1 << 20, sentBytes: 2 << 20, receivedBytesPerSecond: 1024.5,
    sentBytesPerSecond: 0,
    journal: JournalReport(
      directory: "/var/cache/waysfs/photos-1-0", usedBytes: 100, limitBytes: 1 << 30, recoveredFiles: 1,
      quarantinedFiles: 2))
  let report = MountReport(
    endpoint: "https://storage.example", readOnly: false, writeMode: "close", buckets: [bucket],
    memory: MemoryReport(usedBytes: 100 << 20, limitBytes: 256 << 20, residentBytes: 150 << 20),
    blockCache: BlockCacheReport(hits: 90, misses: 10, usedBytes: 90 << 20, limitBytes: 192 << 20),
    diskCache: DiskCacheReport(hits: 1, misses: 3, usedBytes: 1 << 30, limitBytes: 10 << 30, damaged: 1, isOff: false),
    operations: [OperationReport(operation: "read", duration: LatencyReport(histogram, detailed: false))])
  return MountStatus(
    version: "0.1.0", pid: 1234, mountPoint: mountPoint, source: "waysfs:photos/2024",
    started: "2026-11-22T16:38:26.123Z", startedSeconds: 1_795_365_506.123, uptimeSeconds: 3700, logLevel: "info",
    phase: .serving, report: report)
}

func finding(_ status: MountStatus) -> MountFinding {
  MountFinding(
    mountPoint: status.mountPoint, source: status.source, state: .serving, pid: status.pid, status: status)
}

/// A mount that connects, which has nothing to report yet.
func startingFinding(_ phase: MountPhase = .starting) -> MountFinding {
  var status = fullStatus(mountPoint: "/mnt/new")
  (status.phase, status.activity, status.report) = (phase, "connecting to https://storage.example", nil)
  var found = finding(status)
  found.state = .init(phase)
  return found
}

let deadFinding = MountFinding(
  mountPoint: "/mnt/dead", source: "waysfs:old", state: .dead, pid: 7, problem: "its process has died")

struct StatusModelTests {
  @Test func theReportSurvivesTheSocket() throws {
    let status = fullStatus()
    let bytes = try StatusJSON.encode(status).get()
    #expect(try StatusJSON.decode(MountStatus.self, from: bytes).get() == status)
    // A later version may tell more.
    let more = Array(
      String(decoding: bytes, as: UTF8.self).replacing("{\"", with: "{\"news\":[1],\"", maxReplacements: 1).utf8)
    #expect(try StatusJSON.decode(MountStatus.self, from: more).get() == status)
    for status in [startingFinding(), startingFinding(.finishing)].compactMap(\.status) {
      let bytes = try StatusJSON.encode(status).get()
      #expect(try StatusJSON.decode(MountStatus.self, from: bytes).get() == status)
    }
    for count in [0, 1, 100, bytes.count - 1] {
      #expect(throws: Failure.self) { try StatusJSON.decode(MountStatus.self, from: Array(bytes.prefix(count))).get() }
    }
  }

  /// An upgrade leaves mounts at work, whose processes do not know the newer keys.
  @Test func anEarlierVersionIsUnderstood() throws {
    for (isFinishing, phase) in [(false, MountPhase.serving), (true, .finishing)] {
      var status = fullStatus()
      status.phase = phase
      // Sorted, a key a line: those two are not the last ones.
      let text = String(decoding: try StatusJSON.encode(status, pretty: true).get(), as: UTF8.self)
      let lines = text.split(separator: "\n")
      let earlier = lines.filter { !$0.hasPrefix("  \"started_seconds\"") && !$0.hasPrefix("  \"state\"") }
      #expect(earlier.count == lines.count - 2 && earlier.contains("  \"is_finishing\" : \(isFinishing),"))
      status.startedSeconds = nil
      let bytes = Array(earlier.joined(separator: "\n").utf8)
      #expect(try StatusJSON.decode(MountStatus.self, from: bytes).get() == status)
    }
  }

  @Test func whatMakesNoSenseIsNotBelieved() {
    #expect(Plausibility.of(fullStatus()))
    #expect(startingFinding().status.map(Plausibility.of) == true)
    let changes: [(inout MountStatus) -> Void] = [
      { $0.uptimeSeconds = 1e300 }, { $0.uptimeSeconds = .nan }, { $0.uptimeSeconds = -1 },
      { $0.startedSeconds = .infinity }, { $0.logLevel = "\u{1B}[2J" }, { $0.version = "1\n2" },
    ]
    let wrongReports: [(inout MountReport) -> Void] = [
      { $0.buckets[0].pendingFiles = -1 }, { $0.buckets[0].journal?.recoveredFiles = .min },
      { $0.buckets[0].receivedBytes = .max }, { $0.buckets[0].uploads[0].state = "\u{7}" },
      { $0.operations[0].operation = "\u{9B}2J" }, { $0.buckets.append($0.buckets[0]) },
      { $0.operations.append($0.operations[0]) }, { $0.buckets[0].requests.append($0.buckets[0].requests[0]) },
    ]
    for change in changes {
      var status = fullStatus()
      change(&status)
      #expect(!Plausibility.of(status))
    }
    for change in wrongReports {
      var status = fullStatus()
      status.report.map { report in
        var report = report
        change(&report)
        status.report = report
      }
      #expect(!Plausibility.of(status))
    }
  }

  @Test func attentionIsForWhatIsWrong() {
    #expect(finding(fullStatus()).needsAttention)
    #expect(!finding(fullStatus(failed: 0)).needsAttention)
    #expect(!startingFinding().needsAttention && !startingFinding(.finishing).needsAttention)
    #expect(deadFinding.needsAttention)
    var silent = deadFinding
    silent.state = .silent
    #expect(silent.needsAttention)
    silent.state = .unknown
    #expect(!silent.needsAttention)
  }

  @Test func theListSaysWhatIsWrong() {
    let text = StatusText.list([finding(fullStatus()), deadFinding])
    let lines = text.split(separator: "\n").map(String.init)
    #expect(lines.count == 5)
    #expect(lines[0].hasPrefix("MOUNT POINT") && lines[0].hasSuffix("SENDING"))
    #expect(lines[1].contains("serving  1 h") && lines[1].contains("2 files, 13 MiB") && lines[1].contains("1 KiB/s"))
    #expect(lines[2].contains("dead") && lines[2].contains("-"))
    #expect(lines[3].hasSuffix("1 file could not be uploaded, and will be tried again: the server cannot be reached"))
    #expect(lines[4] == "/mnt/dead: its process has died")
    #expect(StatusText.list([]) == "Nothing is mounted.")
    let starting = StatusText.list([startingFinding()]).split(separator: "\n")
    #expect(starting.count == 2)
    #expect(starting[1].split(separator: " ").suffix(7) == ["starting", "1", "h", "-", "-", "-", "-"])
  }

  @Test func theDetailsNameEverything() {
    let text = StatusText.detail(finding(fullStatus()))
    for part in [
      "/mnt/photos  waysfs:photos/2024", "serving, up 1 h, process 1234, log level info, waysfs 0.1.0",
      "https://storage.example, write mode close", "100 MiB of 256 MiB for file contents, 150 MiB of the process",
      "90.0% of 100 from memory, 90 MiB of 192 MiB", "25.0% of 4 hits, 1 GiB of 10 GiB, 1 damaged pieces dropped",
      "bucket photos:2024/", "1 file recovered, 2 files quarantined ('waysfs recover' shows them)",
      "2 files, 13 MiB, 1 FAILED", "a/b.jpg", "12 MiB", "8 MiB", "1 min",
      "the server cannot be reached (1 times)", "and 1 more", "GetObject", "kernel", "read",
    ] {
      #expect(text.contains(part), "\(part)")
    }
    #expect(
      StatusText.detail(startingFinding()).hasSuffix(
        "starting: connecting to https://storage.example, up 1 h, process 1234, log level info, waysfs 0.1.0"))
    // Answers that say "there is none" are no failures.
    let row = text.split(separator: "\n").first { $0.contains("GetObject") }
    #expect(row?.split(separator: " ").dropFirst().prefix(3) == ["100", "3", "3"])
    #expect(!text.contains("\u{1B}"))
  }

  @Test func namesOfStrangersCannotDrawOnTheTerminal() {
    var status = fullStatus()
    status.report?.buckets[0].uploads[0].path = "a\u{1B}[2J\nb"
    status.report?.buckets[0].uploads[0].error = "x\u{1B}]0;y\u{7}"
    let found = finding(status)
    for text in [StatusText.detail(found), StatusText.list([found])] {
      #expect(!text.contains("\u{1B}") && !text.contains("\u{7}"))
    }
  }

  @Test func whatIsDrawnFitsTheTerminal() {
    let terminal = TerminalSize(columns: 20, rows: 5)
    #expect(terminal.drawing("a\n\nb") == "\u{1B}[Ha\u{1B}[K\r\n\u{1B}[K\r\nb\u{1B}[K\r\n\u{1B}[J")
    let long = (1...50).map { "line \($0) of a table that is wide" }.joined(separator: "\n")
    let lines = terminal.drawing(long).split(separator: "\r\n")
    #expect(lines.count == 5 && lines[0] == "\u{1B}[Hline 1 of a table t\u{1B}[K")
    #expect(lines[2] == "line 3 of a table t\u{1B}[K" && lines[3] == "... and 47 more lin\u{1B}[K")
    #expect(lines[4] == "\u{1B}[J")
    #expect(TerminalSize(columns: 1, rows: 1).drawing("ab\ncd").hasPrefix("\u{1B}[H.\u{1B}[K\r\n"))
    #expect(TerminalSize(of: -1) == nil)
  }

  static let durations: [(Double, String)] = [
    (0, "0 us"), (0.0000125, "13 us"), (0.0034, "3.4 ms"), (0.0999, "99.9 ms"), (0.25, "250 ms"), (2.25, "2.3 s"),
    (75, "75 s"), (1e300, "1000000000 s"),
  ]

  @Test(arguments: durations)
  func duration(_ seconds: Double, _ text: String) {
    #expect(StatusText.duration(seconds) == text)
  }
}
