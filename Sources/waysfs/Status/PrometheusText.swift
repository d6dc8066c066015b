/// Samples in Prometheus' text exposition format, version 0.0.4: all of one metric together, below its HELP and TYPE.
struct PrometheusText {
  private var samples: [MetricName: [String]] = [:]

  /// What is written as a sample: whole numbers exactly.
  enum Value {
    case whole(UInt64)
    case real(Double)

    var text: String {
      switch self {
      case .whole(let number): "\(number)"
      case .real(let number) where number.isNaN: "NaN"
      case .real(let number) where number.isInfinite: number > 0 ? "+Inf" : "-Inf"
      case .real(let number): "\(number)"
      }
    }
  }

  /// Adds a sample.
  /// - Parameters:
  ///   - labels: the values of `mountpoint` and of the metric's own labels, in order.
  ///   - suffix: of a histogram's or summary's parts.
  ///   - extra: the label of a bucket or quantile.
  mutating func add(
    _ name: MetricName, _ labels: [String], _ value: Value, suffix: String = "",
    extra: (name: String, value: String)? = nil
  ) {
    precondition(labels.count == name.labels.count + 1)
    var pairs = zip(["mountpoint"] + name.labels, labels).map { "\($0)=\"\(Self.escaped($1))\"" }
    if let extra { pairs.append("\(extra.name)=\"\(extra.value)\"") }
    samples[name, default: []].append("\(name.rawValue)\(suffix){\(pairs.joined(separator: ","))} \(value.text)")
  }

  /// Adds durations in the form that the metric has.
  mutating func add(_ name: MetricName, _ labels: [String], _ latency: LatencyReport) {
    if name.kind == .histogram {
      for (bound, count) in zip(LatencyReport.bounds, latency.buckets ?? []) {
        add(name, labels, .whole(count), suffix: "_bucket", extra: ("le", "\(bound)"))
      }
      add(name, labels, .whole(latency.count), suffix: "_bucket", extra: ("le", "+Inf"))
    } else {
      let quantiles = [("0.5", latency.p50Seconds), ("0.9", latency.p90Seconds), ("0.99", latency.p99Seconds)]
      for (quantile, value) in quantiles {
        add(name, labels, .real(value ?? .nan), extra: ("quantile", quantile))
      }
    }
    add(name, labels, .real(latency.sumSeconds), suffix: "_sum")
    add(name, labels, .whole(latency.count), suffix: "_count")
  }

  /// The whole, each metric with a sample once.
  var text: String {
    MetricName.allCases.compactMap { name in
      samples[name].map { lines in
        "# HELP \(name.rawValue) \(Self.escapedHelp(name.help))\n# TYPE \(name.rawValue) \(name.kind.rawValue)\n"
          + lines.joined(separator: "\n") + "\n"
      }
    }.joined()
  }

  /// A label's value: backslash, double quote and line break are escaped.
  static func escaped(_ value: String) -> String {
    var escaped = ""
    for scalar in value.unicodeScalars {
      switch scalar {
      case "\\": escaped += "\\\\"
      case "\"": escaped += "\\\""
      case "\n": escaped += "\\n"
      default: escaped.unicodeScalars.append(scalar)
      }
    }
    return escaped
  }

  private static func escapedHelp(_ help: String) -> String {
    help.unicodeScalars.reduce(into: "") { text, scalar in
      text += scalar == "\\" ? "\\\\" : scalar == "\n" ? "\\n" : String(scalar)
    }
  }
}

extension PrometheusText {
  /// All metrics of all mounts.
  init(_ findings: [MountFinding]) {
    self.init()
    for finding in findings {
      let mount = [finding.mountPoint]
      add(.up, mount, .whole(finding.status == nil ? 0 : 1))
      for state in MountFinding.State.allCases {
        add(.state, mount + [state.rawValue], .whole(state == finding.state ? 1 : 0))
      }
      guard let status = finding.status else { continue }
      if let started = status.startedSeconds { add(.startTime, mount, .real(started)) }
      guard let report = status.report else { continue }
      add(
        .info,
        mount + [
          finding.source, status.version, report.endpoint, report.writeMode, report.readOnly ? "true" : "false",
        ], .whole(1))
      for bucket in report.buckets { add(bucket, mount) }
      add(report, mount)
    }
  }

  private mutating func add(_ bucket: BucketReport, _ mount: [String]) {
    let labels = mount + [bucket.bucket, bucket.prefix]
    for request in bucket.requests {
      let labels = labels + [request.operation]
      add(.requests, labels, .whole(request.requests))
      add(.requestRetries, labels, .whole(request.retries))
      for (code, count) in request.errors.sorted(by: { $0.key < $1.key }) {
        add(.requestErrors, labels + [code], .whole(count))
      }
      add(.requestDuration, labels, request.whole)
      add(.requestFirstByte, labels, request.firstByte)
    }
    add(.receivedBytes, labels, .whole(bucket.receivedBytes))
    add(.sentBytes, labels, .whole(bucket.sentBytes))
    add(.pendingFiles, labels, .whole(UInt64(bucket.pendingFiles)))
    add(.pendingBytes, labels, .whole(bucket.pendingBytes))
    add(.failedFiles, labels, .whole(UInt64(bucket.failedFiles)))
    guard let journal = bucket.journal else { return }
    add(.journalBytes, labels, .whole(journal.usedBytes))
    if let limit = journal.limitBytes { add(.journalLimit, labels, .whole(limit)) }
    add(.keptFiles, labels + ["recovered"], .whole(UInt64(journal.recoveredFiles)))
    add(.keptFiles, labels + ["quarantined"], .whole(UInt64(journal.quarantinedFiles)))
  }

  private mutating func add(_ report: MountReport, _ mount: [String]) {
    add(.blockCacheHits, mount, .whole(report.blockCache.hits))
    add(.blockCacheMisses, mount, .whole(report.blockCache.misses))
    add(.blockCacheBytes, mount, .whole(report.blockCache.usedBytes))
    add(.blockCacheLimit, mount, .whole(report.blockCache.limitBytes))
    if let disk = report.diskCache {
      add(.diskCacheHits, mount, .whole(disk.hits))
      add(.diskCacheMisses, mount, .whole(disk.misses))
      add(.diskCacheBytes, mount, .whole(disk.usedBytes))
      add(.diskCacheLimit, mount, .whole(disk.limitBytes))
      add(.diskCacheDamaged, mount, .whole(disk.damaged))
      add(.diskCacheUp, mount, .whole(disk.isOff ? 0 : 1))
    }
    add(.memoryBytes, mount, .whole(report.memory.usedBytes))
    add(.memoryLimit, mount, .whole(report.memory.limitBytes))
    if let resident = report.memory.residentBytes { add(.residentMemory, mount, .whole(resident)) }
    for operation in report.operations {
      add(.operationDuration, mount + [operation.operation], operation.duration)
    }
  }
}
