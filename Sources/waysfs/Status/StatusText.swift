/// Findings for a person.
enum StatusText {
  /// As many files of a bucket are named; programs get more.
  private static let longestList = 20

  /// One line for each mount, and one for each thing that is wrong.
  static func list(_ findings: [MountFinding]) -> String {
    guard !findings.isEmpty else { return "Nothing is mounted." }
    let header = ["MOUNT POINT", "SOURCE", "STATE", "UP", "PENDING", "FAILED", "RECEIVING", "SENDING"]
    let rows = findings.map { finding -> [String] in
      let names = [LineFormat.escaped(finding.mountPoint), LineFormat.escaped(finding.source), finding.state.rawValue]
      let up = finding.status.map { RecoverTable.age(seconds: Int64($0.uptimeSeconds)) } ?? "-"
      guard let report = finding.status?.report else { return names + [up] + Array(repeating: "-", count: 4) }
      return names + [
        up, pending(report.pendingFiles, report.pendingBytes),
        "\(report.failedFiles)", rate(report.buckets.reduce(0) { $0 + $1.receivedBytesPerSecond }),
        rate(report.buckets.reduce(0) { $0 + $1.sentBytesPerSecond }),
      ]
    }
    return ([TextTable.text(rows, header: header)] + problems(findings)).joined(separator: "\n")
  }

  /// All that is known of one.
  static func detail(_ finding: MountFinding) -> String {
    var lines = ["\(LineFormat.escaped(finding.mountPoint))  \(LineFormat.escaped(finding.source))"]
    lines.append("  " + state(finding))
    if let problem = finding.problem { lines.append("  WARNING: \(LineFormat.escaped(problem))") }
    guard let report = finding.status?.report else { return lines.joined(separator: "\n") }
    var facts = [
      ("server", "\(report.endpoint)\(report.readOnly ? ", read-only" : ", write mode \(report.writeMode)")")
    ]
    facts += memory(report)
    lines += TextTable.aligned(facts.map { ["  \($0.0)", LineFormat.escaped($0.1)] })
    for bucket in report.buckets { lines += self.bucket(bucket) }
    lines += operations(report.operations)
    return lines.joined(separator: "\n")
  }

  /// What somebody should do something about.
  static func problems(_ findings: [MountFinding]) -> [String] {
    findings.flatMap { finding -> [String] in
      let place = LineFormat.escaped(finding.mountPoint)
      var lines = finding.problem.map { ["\(place): \(LineFormat.escaped($0))"] } ?? []
      for bucket in finding.status?.report?.buckets ?? [] where bucket.failedFiles > 0 {
        let cause = bucket.uploads.compactMap(\.error).first.map { ": \(LineFormat.escaped($0))" } ?? ""
        lines.append("\(place): \(files(bucket.failedFiles)) could not be uploaded, and will be tried again\(cause)")
      }
      return lines
    }
  }

  private static func state(_ finding: MountFinding) -> String {
    guard let status = finding.status else {
      return [finding.state.rawValue, finding.pid.map { "process \($0)" }].compactMap(\.self).joined(separator: ", ")
    }
    let up = RecoverTable.age(seconds: Int64(status.uptimeSeconds))
    let activity = status.activity.map { ": \(LineFormat.escaped($0))" } ?? ""
    return "\(finding.state.rawValue)\(activity), up \(up), process \(status.pid), log level \(status.logLevel), "
      + "waysfs \(status.version)"
  }

  private static func memory(_ report: MountReport) -> [(String, String)] {
    var facts = [("memory", of(report.memory.usedBytes, report.memory.limitBytes) + " for file contents")]
    if let resident = report.memory.residentBytes { facts[0].1 += ", \(ByteCount.text(resident)) of the process" }
    let blocks = report.blockCache
    facts.append(
      ("reads", "\(share(blocks.hits, blocks.misses)) from memory, \(of(blocks.usedBytes, blocks.limitBytes))"))
    if let disk = report.diskCache {
      let state =
        disk.isOff
        ? "OFF: its disk has failed" : "\(share(disk.hits, disk.misses)) hits, \(of(disk.usedBytes, disk.limitBytes))"
      facts.append(("disk cache", state + (disk.damaged > 0 ? ", \(disk.damaged) damaged pieces dropped" : "")))
    }
    return facts
  }

  private static func bucket(_ bucket: BucketReport) -> [String] {
    let name = bucket.prefix.isEmpty ? bucket.bucket : "\(bucket.bucket):\(bucket.prefix)"
    var facts = [
      ("received", "\(ByteCount.text(bucket.receivedBytes)), now \(rate(bucket.receivedBytesPerSecond))"),
      ("sent", "\(ByteCount.text(bucket.sentBytes)), now \(rate(bucket.sentBytesPerSecond))"),
    ]
    if let journal = bucket.journal {
      var text = journal.limitBytes.map { of(journal.usedBytes, $0) } ?? ByteCount.text(journal.usedBytes)
      if journal.recoveredFiles > 0 { text += ", \(files(journal.recoveredFiles)) recovered" }
      if journal.quarantinedFiles > 0 { text += ", \(files(journal.quarantinedFiles)) quarantined" }
      if journal.recoveredFiles + journal.quarantinedFiles > 0 { text += " ('waysfs recover' shows them)" }
      facts.append(("journal", text))
      let failed = bucket.failedFiles > 0 ? ", \(bucket.failedFiles) FAILED" : ""
      facts.append(("uploads", pending(bucket.pendingFiles, bucket.pendingBytes) + failed))
    }
    var lines = ["", "  bucket \(LineFormat.escaped(name))"]
    lines += TextTable.aligned(facts.map { ["    \($0.0)", LineFormat.escaped($0.1)] })
    lines += uploads(bucket) + requests(bucket.requests)
    return lines
  }

  private static func uploads(_ bucket: BucketReport) -> [String] {
    guard !bucket.uploads.isEmpty else { return [] }
    let shown = bucket.uploads.prefix(longestList)
    let rows = shown.map { upload in
      [
        LineFormat.escaped(upload.path), upload.state, ByteCount.text(upload.size), ByteCount.text(upload.sentBytes),
        upload.ageSeconds.map { RecoverTable.age(seconds: Int64($0)) } ?? "-",
        upload.error.map { "\(LineFormat.escaped($0)) (\(upload.failures) times)" } ?? "",
      ]
    }
    let table = TextTable.aligned([["NAME", "STATE", "SIZE", "SENT", "AGE", "LAST ERROR"]] + rows)
    let more = bucket.pendingFiles - shown.count
    return ([""] + table + (more > 0 ? ["and \(more) more"] : [])).map(indented)
  }

  private static func requests(_ requests: [RequestReport]) -> [String] {
    guard !requests.isEmpty else { return [] }
    let header = ["REQUEST", "COUNT", "RETRIES", "ERRORS", "FIRST BYTE 50%", "90%", "99%", "WHOLE 50%", "90%", "99%"]
    let rows = requests.map { request in
      [request.operation, "\(request.requests)", "\(request.retries)", "\(request.failures)"]
        + percentiles(request.firstByte) + percentiles(request.whole)
    }
    return ([""] + TextTable.aligned([header] + rows)).map(indented)
  }

  private static func operations(_ operations: [OperationReport]) -> [String] {
    guard !operations.isEmpty else { return [] }
    let rows = operations.map { operation in
      [operation.operation, "\(operation.duration.count)"] + percentiles(operation.duration)
    }
    return ["", "  kernel"] + TextTable.aligned([["CALL", "COUNT", "50%", "90%", "99%"]] + rows).map(indented)
  }

  private static func indented(_ line: String) -> String { line.isEmpty ? "" : "    \(line)" }

  // MARK: Numbers

  private static func percentiles(_ latency: LatencyReport) -> [String] {
    [latency.p50Seconds, latency.p90Seconds, latency.p99Seconds].map { $0.map(duration) ?? "-" }
  }

  /// `12 us`, `3.4 ms`, `21 s`.
  static func duration(_ seconds: Double) -> String {
    switch seconds {
    case ..<0.001: "\(Int((seconds * 1e6).rounded())) us"
    case ..<0.1: "\(tenths(seconds * 1e3)) ms"
    case ..<1: "\(Int((seconds * 1e3).rounded())) ms"
    case ..<10: "\(tenths(seconds)) s"
    default: "\(Int(min(seconds, 1e9).rounded())) s"
    }
  }

  private static func tenths(_ value: Double) -> String {
    let tenths = Int((value * 10).rounded())
    return "\(tenths / 10).\(tenths % 10)"
  }

  private static func rate(_ bytesPerSecond: Double) -> String {
    "\(ByteCount.text(UInt64(max(0, min(bytesPerSecond, 1e18)))))/s"
  }

  private static func of(_ used: UInt64, _ limit: UInt64) -> String {
    "\(ByteCount.text(used)) of \(ByteCount.text(limit))"
  }

  private static func files(_ count: Int) -> String { "\(count) \(count == 1 ? "file" : "files")" }

  private static func pending(_ files: Int, _ bytes: UInt64) -> String {
    files == 0 ? "none" : "\(PendingUploads(files: files, bytes: bytes))"
  }

  /// `93.5% of 1200`
  private static func share(_ hits: UInt64, _ misses: UInt64) -> String {
    let all = hits + misses
    return all == 0 ? "0%" : "\(tenths(Double(hits) / Double(all) * 100))% of \(all)"
  }
}

extension RequestReport {
  /// Without what is an answer rather than a failure: that there is nothing, or that somebody else was first.
  var failures: UInt64 {
    errors.reduce(0) { ["notFound", "preconditionFailed", "cancelled"].contains($1.key) ? $0 : $0 + $1.value }
  }
}
