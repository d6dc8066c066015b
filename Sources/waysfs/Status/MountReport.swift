import Basics
import Metrics

// What a running mount tells of itself. The names of the members, in snake case, are the keys of `waysfs status --json`
// and of what goes over the control socket; docs/monitoring.md documents them, and a test compares. Lengths are bytes,
// times seconds. Nothing here is secret.

/// A running mount, all that is known of it by itself.
struct MountStatus: Hashable, Sendable {
  /// Version of the program that serves it.
  var version: String
  var pid: Int32
  var mountPoint: String
  /// What the mount table shows.
  var source: String
  /// When its process was started (RFC 3339).
  var started: String
  /// The same since the epoch: it stays what it is, whatever is done to the clock. Nil when the process does not tell.
  var startedSeconds: Double?
  var uptimeSeconds: Double
  var logLevel: String
  var phase: MountPhase
  /// What it does while it is starting, in words.
  var activity: String?
  /// Nil while it is starting, and for its last moment.
  var report: MountReport?
}

/// How far the life of a mount is.
enum MountPhase: String, Codable, Hashable, Sendable {
  /// Nothing answers at its mount point yet.
  case starting
  /// It works.
  case serving
  /// It is unmounted; its process finishes the uploads.
  case finishing
}

/// What the layers of a mount have counted.
struct MountReport: Codable, Hashable, Sendable {
  var endpoint: String
  var readOnly: Bool
  /// `close` or `writeback`.
  var writeMode: String
  /// What is mounted: one bucket, or several side by side.
  var buckets: [BucketReport]
  var memory: MemoryReport
  var blockCache: BlockCacheReport
  /// Absent without a disk cache.
  var diskCache: DiskCacheReport?
  /// The kernel's requests.
  var operations: [OperationReport]
}

/// One bucket, or the part of it below a prefix.
struct BucketReport: Codable, Hashable, Sendable {
  var bucket: String
  /// Empty, or ending in a slash.
  var prefix: String
  /// Files that the bucket does not have as they are.
  var pendingFiles: Int
  var pendingBytes: UInt64
  /// Those of them whose last upload has failed.
  var failedFiles: Int
  /// The first of these files: failed ones first.
  var uploads: [UploadReport]
  var requests: [RequestReport]
  /// Bodies of answers, and of requests that were answered.
  var receivedBytes: UInt64
  var sentBytes: UInt64
  /// Over the last ten seconds.
  var receivedBytesPerSecond: Double
  var sentBytesPerSecond: Double
  /// Absent on a mount that is read-only.
  var journal: JournalReport?
}

/// A file that the bucket does not have as it is.
struct UploadReport: Codable, Hashable, Sendable {
  /// Below the bucket or its prefix.
  var path: String
  /// `dirty`, `uploading` or `failed`.
  var state: String
  var size: UInt64
  /// What the server has in parts.
  var sentBytes: UInt64
  /// Since it was changed last; absent when nobody knows.
  var ageSeconds: Double?
  /// Failures since the last success.
  var failures: Int
  /// Why the last upload failed; absent when it did not.
  var error: String?
}

/// The files on this machine that are being written, or could not be sent.
struct JournalReport: Codable, Hashable, Sendable {
  var directory: String
  var usedBytes: UInt64
  /// Absent where only the disk's room counts.
  var limitBytes: UInt64?
  /// Files kept for a person: left open by a process that died.
  var recoveredFiles: Int
  /// Files kept for a person: not to be read.
  var quarantinedFiles: Int
}

/// Requests of one kind to one bucket.
struct RequestReport: Codable, Hashable, Sendable {
  /// The operation's name in S3's API.
  var operation: String
  /// Each try is one.
  var requests: UInt64
  var retries: UInt64
  /// By what the failure was.
  var errors: [String: UInt64]
  var receivedBytes: UInt64
  var sentBytes: UInt64
  var firstByte: LatencyReport
  var whole: LatencyReport
}

/// How long something took.
struct LatencyReport: Codable, Hashable, Sendable {
  var count: UInt64
  var sumSeconds: Double
  /// Absent when nothing was measured.
  var p50Seconds: Double?
  var p90Seconds: Double?
  var p99Seconds: Double?
  /// How many were not longer than each of `bounds`.
  var buckets: [UInt64]?

  /// Seconds: a doubling each, from a millisecond to a minute. Bounds of `LatencyScale`, so that the counts are exact.
  static let bounds: [Double] = (10...26).map { Double(UInt64(1024) << UInt64($0)) / 1e9 }
}

/// The kernel's requests of one kind.
struct OperationReport: Codable, Hashable, Sendable {
  var operation: String
  var duration: LatencyReport
}

/// Memory of the process.
struct MemoryReport: Codable, Hashable, Sendable {
  /// For file contents: blocks that are read or cached, and uploads.
  var usedBytes: UInt64
  var limitBytes: UInt64
  /// Of the whole process; absent when the system does not tell.
  var residentBytes: UInt64?
}

/// The memory that what is read passes through.
struct BlockCacheReport: Codable, Hashable, Sendable {
  /// Reads that were answered at once.
  var hits: UInt64
  var misses: UInt64
  var usedBytes: UInt64
  var limitBytes: UInt64
}

/// What was read, on the disk.
struct DiskCacheReport: Codable, Hashable, Sendable {
  var hits: UInt64
  var misses: UInt64
  /// Of all mounts that use the directory.
  var usedBytes: UInt64
  var limitBytes: UInt64
  /// Pieces that were not what they should be, and were dropped.
  var damaged: UInt64
  /// Whether it was given up because its disk fails.
  var isOff: Bool
}

extension MountReport {
  /// Files whose last upload has failed.
  var failedFiles: Int { buckets.reduce(0) { $0 + $1.failedFiles } }
  var pendingFiles: Int { buckets.reduce(0) { $0 + $1.pendingFiles } }
  var pendingBytes: UInt64 { buckets.reduce(0) { $0 + $1.pendingBytes } }
}

extension LatencyReport {
  /// - Parameter detailed: with the counts by bound.
  init(_ histogram: LatencyHistogram, detailed: Bool) {
    func seconds(_ part: Double) -> Double? { histogram.quantile(part).map { Double($0) / 1e9 } }
    self.init(
      count: histogram.count, sumSeconds: Double(histogram.sum) / 1e9, p50Seconds: seconds(0.5),
      p90Seconds: seconds(0.9), p99Seconds: seconds(0.99),
      buckets: detailed ? Self.bounds.map { histogram.count(upTo: UInt64(($0 * 1e9).rounded())) } : nil)
  }
}
