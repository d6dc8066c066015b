public import Basics
public import Metrics

/// The kernel's requests, as they are counted.
public enum FuseOperation: String, Hashable, Sendable, CaseIterable {
  case lookup, getattr, setattr, readlink, mknod, mkdir, symlink, unlink, rmdir, rename, open, create, read, write,
    flush,
    fsync, release, opendir, readdir, readdirplus, fsyncdir, releasedir, statfs, access, getxattr, listxattr, warm
}

/// Counts the kernel's requests and how long each waits for its answer. Nothing is locked. Thread-safe.
public final class OperationMetrics: Sendable {
  private let time: TimeSource
  private let recorders = Dictionary(
    uniqueKeysWithValues: FuseOperation.allCases.map { ($0, LatencyRecorder()) })

  /// Nothing was asked.
  public init(time: TimeSource = .system) { self.time = time }

  /// What was measured of each operation until now: from the moment in which a worker took it to its answer.
  public var histograms: [FuseOperation: LatencyHistogram] { recorders.mapValues(\.histogram) }

  /// Begins to measure an operation.
  func begin(_ operation: FuseOperation) -> OperationMeter? {
    recorders[operation].map { OperationMeter(recorder: $0, time: time, start: time.monotonic) }
  }
}

/// Measures one request of the kernel.
struct OperationMeter: Sendable {
  let recorder: LatencyRecorder
  let time: TimeSource
  let start: UInt64

  func end() { recorder.record(time.monotonic - start) }
}
