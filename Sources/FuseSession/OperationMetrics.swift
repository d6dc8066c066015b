public import Basics
public import Metrics

/// The kernel's requests, as they are counted.
public enum FuseOperation: Int, Hashable, Sendable, CaseIterable {
  case lookup, getattr, setattr, readlink, mknod, mkdir, symlink, unlink, rmdir, rename, open, create
  case read, write, flush, fsync, release, opendir, readdir, readdirplus, fsyncdir, releasedir
  case statfs, access, getxattr, listxattr, warm

  /// Its name in FUSE's protocol, in lowercase.
  public var name: String { String(describing: self) }
}

/// Counts the kernel's requests and how long each waits for its answer. Nothing is locked. Thread-safe.
public final class OperationMetrics: Sendable {
  private let time: TimeSource
  /// By operation: an array, since every request comes by here.
  private let recorders = FuseOperation.allCases.map { _ in LatencyRecorder() }

  /// Nothing was asked.
  public init(time: TimeSource = .system) { self.time = time }

  /// What was measured of each operation until now: from the moment in which a worker took it to its answer.
  public var histograms: [FuseOperation: LatencyHistogram] {
    Dictionary(uniqueKeysWithValues: zip(FuseOperation.allCases, recorders.map(\.histogram)))
  }

  /// Begins to measure an operation.
  func begin(_ operation: FuseOperation) -> OperationMeter {
    OperationMeter(recorder: recorders[operation.rawValue], time: time, start: time.monotonic)
  }
}

/// Measures one request of the kernel.
struct OperationMeter: Sendable {
  let recorder: LatencyRecorder
  let time: TimeSource
  let start: UInt64

  func end() { recorder.record(time.monotonic - start) }
}
