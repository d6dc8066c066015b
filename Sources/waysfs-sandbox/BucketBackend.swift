import Foundation

/// A bucket as the storage server knows it.
struct StoredBucket: Equatable, Sendable {
  var name: String
  var created: Date
}

/// What a bucket holds.
struct BucketUsage: Equatable, Sendable {
  var bytes: UInt64 = 0
  var objects: UInt64 = 0
}

/// The storage server below the control plane.
protocol BucketBackend: Sendable {
  func buckets() async throws -> [StoredBucket]
  /// Counts by listing; nil when there is no such bucket.
  func usage(of bucket: String) async throws -> BucketUsage?
  func create(_ bucket: String) async throws
  /// Removes a bucket which the caller has found empty.
  func remove(_ bucket: String) async throws
}
