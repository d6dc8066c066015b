import Testing

@testable import waysfs

struct PrometheusTests {
  private static func lines(_ findings: [MountFinding]) -> [String] {
    PrometheusText(findings).text.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
  }

  @Test func everyMetricIsOneGroupWithHelpAndType() {
    let lines = Self.lines([finding(fullStatus()), finding(fullStatus(mountPoint: "/mnt/other")), deadFinding])
    #expect(lines.last == "")
    var seen: [String] = []
    for (index, line) in lines.enumerated() where line.hasPrefix("# HELP ") {
      let name = String(line.split(separator: " ")[2])
      #expect(!seen.contains(name))
      seen.append(name)
      #expect(lines[index + 1].hasPrefix("# TYPE \(name) "))
      let samples = lines[(index + 2)...].prefix { !$0.hasPrefix("#") && !$0.isEmpty }
      #expect(!samples.isEmpty && samples.allSatisfy { $0.hasPrefix(name) })
    }
    #expect(seen == MetricName.allCases.map(\.rawValue))
  }

  @Test func samplesAreWhatTheReportSays() {
    let lines = Self.lines([finding(fullStatus()), deadFinding])
    let labels = "mountpoint=\"/mnt/photos\",bucket=\"photos\",prefix=\"2024/\""
    for line in [
      "waysfs_up{mountpoint=\"/mnt/photos\"} 1", "waysfs_up{mountpoint=\"/mnt/dead\"} 0",
      "waysfs_state{mountpoint=\"/mnt/photos\",state=\"serving\"} 1",
      "waysfs_state{mountpoint=\"/mnt/photos\",state=\"dead\"} 0",
      "waysfs_state{mountpoint=\"/mnt/dead\",state=\"serving\"} 0",
      "waysfs_state{mountpoint=\"/mnt/dead\",state=\"dead\"} 1",
      "waysfs_start_time_seconds{mountpoint=\"/mnt/photos\"} 1795365506.123",
      "waysfs_requests_total{\(labels),operation=\"GetObject\"} 100",
      "waysfs_request_errors_total{\(labels),operation=\"GetObject\",code=\"throttled\"} 3",
      "waysfs_request_duration_seconds_bucket{\(labels),operation=\"GetObject\",le=\"+Inf\"} 100",
      "waysfs_request_duration_seconds_count{\(labels),operation=\"GetObject\"} 100",
      "waysfs_failed_files{\(labels)} 1", "waysfs_kept_files{\(labels),kind=\"quarantined\"} 2",
      "waysfs_memory_limit_bytes{mountpoint=\"/mnt/photos\"} 268435456",
      "waysfs_operation_duration_seconds_count{mountpoint=\"/mnt/photos\",operation=\"read\"} 100",
    ] {
      #expect(lines.contains(line), "\(line)")
    }
    // 1 to 100 ms: up to 67.1 ms there are 67.
    #expect(
      lines.contains { $0.hasPrefix("waysfs_request_duration_seconds_bucket") && $0.contains("le=\"0.067108864\"} 67") }
    )
  }

  /// Whoever watches it must not hear of a mount that works as it should.
  @Test func aMountThatStartsIsUp() {
    let lines = Self.lines([startingFinding()])
    #expect(lines.contains("waysfs_up{mountpoint=\"/mnt/new\"} 1"))
    #expect(lines.contains("waysfs_state{mountpoint=\"/mnt/new\",state=\"starting\"} 1"))
    #expect(lines.contains("waysfs_state{mountpoint=\"/mnt/new\",state=\"serving\"} 0"))
    #expect(!lines.contains { $0.contains("waysfs_info") || $0.contains("bucket=") })
  }

  /// A series for each mount, whatever becomes of it.
  @Test func theStateIsNoLabelOfAnythingElse() {
    func series(_ state: MountFinding.State) -> Set<Substring> {
      var found = finding(fullStatus())
      found.state = state
      return Set(Self.lines([found]).compactMap { $0.split(separator: " ").first })
    }
    #expect(series(.serving) == series(.finishing))
  }

  @Test func bucketsOfAHistogramOnlyGrow() {
    let counts = Self.lines([finding(fullStatus())])
      .filter { $0.hasPrefix("waysfs_request_duration_seconds_bucket") }
      .compactMap { $0.split(separator: " ").last.flatMap { UInt64($0) } }
    #expect(counts.count == LatencyReport.bounds.count + 1 && counts == counts.sorted())
  }

  @Test func labelsAreEscaped() {
    #expect(PrometheusText.escaped("a\"b\\c\nd") == "a\\\"b\\\\c\\nd")
    var status = fullStatus()
    status.mountPoint = "/mnt/\"x\"\\\ny"
    let lines = Self.lines([finding(status)])
    #expect(lines.contains("waysfs_memory_bytes{mountpoint=\"/mnt/\\\"x\\\"\\\\\\ny\"} 104857600"))
  }

  @Test func namesFollowTheRules() {
    for name in MetricName.allCases {
      #expect(name.rawValue.hasPrefix("waysfs_") && name.help.hasSuffix("."))
      #expect(name.rawValue.utf8.allSatisfy { (0x61...0x7A).contains($0) || $0 == 0x5F })
      #expect(name.rawValue.hasSuffix("_total") == (name.kind == .counter))
      for label in name.labels { #expect(!["le", "quantile", "mountpoint"].contains(label)) }
    }
  }
}

/// docs/monitoring.md names what there is, and nothing else.
struct MonitoringDocumentTests {
  private func section(_ name: String) throws -> Substring {
    let root = #filePath.split(separator: "/").dropLast(3).joined(separator: "/")
    guard case .text(let text, _) = readSmallFile("/\(root)/docs/monitoring.md") else {
      throw TestFailure("docs/monitoring.md cannot be read")
    }
    let begin = try #require(text.firstRange(of: "<!-- \(name) -->"))
    let end = try #require(text.firstRange(of: "<!-- end of \(name) -->"))
    return text[begin.upperBound..<end.lowerBound]
  }

  /// What stands between backticks.
  private func words(_ text: Substring) -> Set<String> {
    var words: Set<String> = []
    for (index, piece) in text.split(separator: "`", omittingEmptySubsequences: false).enumerated()
    where index % 2 == 1 {
      words.insert(String(piece))
    }
    return words
  }

  @Test func metricsAreThoseOfTheDocument() throws {
    let rows = try section("metrics").split(separator: "\n").filter { $0.hasPrefix("| `") }
    let expected = MetricName.allCases.map { name in
      let labels = name.labels.map { "`\($0)`" }.joined(separator: ", ")
      return "| `\(name.rawValue)` | \(name.kind.rawValue) | \(labels) | \(name.help) |"
    }
    #expect(rows.map(String.init) == expected)
  }

  @Test func keysAreThoseOfTheDocument() throws {
    var dead = deadFinding
    dead.status = nil
    let json = try Status.json([finding(fullStatus()), startingFinding(), dead])
    // The keys of `errors` are codes.
    let codes: Set = ["throttled", "notFound"]
    var keys: Set<String> = []
    for line in json.split(separator: "\n") {
      let parts = line.split(separator: "\"", omittingEmptySubsequences: false)
      if parts.count > 2, parts[2].hasPrefix(" :"), !codes.contains(String(parts[1])) { keys.insert(String(parts[1])) }
    }
    keys.subtract(["format_version", "mounts"])
    let notKeys: Set = ["dirty", "uploading", "failed", "starting", "finishing", "notFound", "waysfs recover"]
    let documented = try words(section("keys")).subtracting(notKeys)
    #expect(keys.subtracting(documented).isEmpty, "not documented")
    #expect(documented.subtracting(keys).isEmpty, "not there")
  }
}
