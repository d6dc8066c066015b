import Foundation

@testable import waysfs_sandbox

/// A storage server in memory, which can be told to fail.
actor FakeBackend: BucketBackend {
  struct Broken: Error {}

  private(set) var contents: [String: BucketUsage]
  private var broken = false

  init(_ contents: [String: BucketUsage] = [:]) { self.contents = contents }

  func fail(_ broken: Bool) { self.broken = broken }

  func put(_ usage: BucketUsage, in bucket: String) { contents[bucket] = usage }

  func buckets() async throws -> [StoredBucket] {
    try check()
    return contents.keys.map { StoredBucket(name: $0, created: Date(timeIntervalSince1970: 1_000_000_000)) }
  }

  func usage(of bucket: String) async throws -> BucketUsage? {
    try check()
    return contents[bucket]
  }

  func create(_ bucket: String) async throws {
    try check()
    contents[bucket] = BucketUsage()
  }

  func remove(_ bucket: String) async throws {
    try check()
    contents[bucket] = nil
  }

  private func check() throws {
    if broken { throw Broken() }
  }
}
