import Basics
import BlockCache
import Filesystem
import FuseSession
import Glibc
import Metrics
import ReadPath
import S3
import Synchronization
import WritePath

/// Gathers what the layers below one bucket of a mount have counted. Thread-safe; the mutex is a leaf.
final class BucketReporter: Sendable {
  private let target: BucketReference
  private let filesystem: Filesystem
  private let readPath: ReadPath
  private let journal: Journal?
  private let requests: RequestMetrics
  private let time: TimeSource
  private let rates = Mutex((received: RateWindow(), sent: RateWindow()))

  /// Names in a report: enough for a person, and the number of all goes with them.
  private static let longestList = 100

  init(
    _ target: BucketReference, _ filesystem: Filesystem, _ readPath: ReadPath, _ journal: Journal?,
    _ requests: RequestMetrics, time: TimeSource = .system
  ) {
    self.target = target
    self.filesystem = filesystem
    self.readPath = readPath
    self.journal = journal
    self.requests = requests
    self.time = time
  }

  /// Notes how much was transferred until now; called every half second or so.
  func sample() {
    rates.withLock { rates in
      // In here: two threads take samples, and the later time must not go with the smaller sum.
      let (bytes, now) = (requests.bytes, time.monotonic)
      rates.received.add(total: bytes.received, at: now)
      rates.sent.add(total: bytes.sent, at: now)
    }
  }

  var reads: ReadStatistics { readPath.statistics }

  var report: BucketReport {
    sample()
    let (bytes, rates) = (requests.bytes, rates.withLock { (received: $0.received.rate, sent: $0.sent.rate) })
    let uploads = filesystem.unsentFiles()
    return BucketReport(
      bucket: target.bucket, prefix: target.prefix, pendingFiles: uploads.count,
      pendingBytes: uploads.reduce(0) { $0 + $1.size }, failedFiles: uploads.count { $0.trouble != nil },
      uploads: shown(uploads), requests: requestReports, receivedBytes: bytes.received, sentBytes: bytes.sent,
      receivedBytesPerSecond: rates.received, sentBytesPerSecond: rates.sent, journal: journal.map(Self.report))
  }

  private func shown(_ uploads: [FileUpload]) -> [UploadReport] {
    let now = time.wall
    let ordered = uploads.sorted { left, right in
      let (first, second) = (left.trouble != nil, right.trouble != nil)
      return first == second ? left.path < right.path : first
    }
    return ordered.prefix(Self.longestList).map { upload in
      UploadReport(
        path: upload.path, state: upload.state.rawValue, size: upload.size, sentBytes: upload.sent,
        ageSeconds: upload.changed.map { max(0, Double(now.seconds - $0.seconds)) },
        failures: upload.trouble?.failures ?? 0, error: upload.trouble?.reason)
    }
  }

  private var requestReports: [RequestReport] {
    let counts = requests.counts
    return RequestKind.allCases.compactMap { kind in
      counts[kind].map { count in
        RequestReport(
          operation: kind.rawValue, requests: count.requests, retries: count.retries,
          errors: Dictionary(uniqueKeysWithValues: count.errors.map { ($0.rawValue, $1) }),
          receivedBytes: count.received, sentBytes: count.sent,
          firstByte: LatencyReport(count.firstByte, detailed: true), whole: LatencyReport(count.whole, detailed: true))
      }
    }
  }

  private static func report(_ journal: Journal) -> JournalReport {
    let kept = journal.keptFiles()
    return JournalReport(
      directory: journal.directory.string, usedBytes: journal.space.used, limitBytes: journal.space.limit,
      recoveredFiles: kept.recovered, quarantinedFiles: kept.quarantined)
  }
}

/// Gathers what all layers of a mount have counted. Thread-safe.
final class MountReporter: Sendable {
  private let settings: MountSettings
  private let buckets: @Sendable () -> [BucketReporter]
  private let pool: BlockPool
  private let uploadMemory: ByteBudget
  private let cache: DiskCache?
  private let operations: OperationMetrics

  /// - Parameters:
  ///   - buckets: those that are open now.
  ///   - pool: the memory of what is read from any of the buckets.
  ///   - uploadMemory: the memory of what is sent to any of them.
  init(
    _ settings: MountSettings, _ buckets: @escaping @Sendable () -> [BucketReporter], _ pool: BlockPool,
    _ uploadMemory: ByteBudget, _ cache: DiskCache?, _ operations: OperationMetrics
  ) {
    self.settings = settings
    self.buckets = buckets
    self.pool = pool
    self.uploadMemory = uploadMemory
    self.cache = cache
    self.operations = operations
  }

  /// To be called every half second or so, for the rates.
  func sample() {
    for bucket in buckets() { bucket.sample() }
  }

  /// Reads a few small files and directories; never asks the server.
  var report: MountReport {
    let blocks = UInt64(clamping: pool.statistics.resident * BlockGeometry.blockSize)
    let buckets = buckets()
    let reads = buckets.map(\.reads)
    return MountReport(
      endpoint: settings.endpoint.description, readOnly: settings.readOnly, writeMode: settings.writeMode.rawValue,
      buckets: buckets.map(\.report),
      memory: MemoryReport(
        usedBytes: blocks + uploadMemory.used, limitBytes: UInt64(clamping: pool.budget) + uploadMemory.total,
        residentBytes: Self.residentBytes()),
      blockCache: BlockCacheReport(
        hits: reads.reduce(0) { $0 + $1.hits }, misses: reads.reduce(0) { $0 + $1.misses }, usedBytes: blocks,
        limitBytes: UInt64(clamping: pool.budget)),
      diskCache: cache.map { Self.report($0.statistics) }, operations: operationReports)
  }

  private static func report(_ statistics: DiskCacheStatistics) -> DiskCacheReport {
    DiskCacheReport(
      hits: statistics.hits, misses: statistics.misses, usedBytes: statistics.used, limitBytes: statistics.limit,
      damaged: statistics.damaged, isOff: statistics.isOff)
  }

  private var operationReports: [OperationReport] {
    let histograms = operations.histograms
    return FuseOperation.allCases.compactMap { operation in
      guard let histogram = histograms[operation], histogram.count > 0 else { return nil }
      return OperationReport(operation: operation.name, duration: LatencyReport(histogram, detailed: false))
    }
  }

  /// The second number of /proc/self/statm is in pages.
  private static func residentBytes() -> UInt64? {
    guard case .text(let text, _) = readSmallFile("/proc/self/statm") else { return nil }
    let fields = text.split(separator: " ")
    guard fields.count > 1, let pages = UInt64(fields[1]) else { return nil }
    return pages * UInt64(clamping: sysconf(Int32(_SC_PAGESIZE)))
  }
}
