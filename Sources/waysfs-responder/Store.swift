import Basics
import Synchronization

/// The buckets. Thread-safe: each operation is one step for all others. Nothing waits while it holds the mutex.
final class Store: Sendable {
  struct Bucket: Sendable {
    var created: Int
    var objects = SortedMap<StoredObject>()
    /// Multipart uploads by their key and id.
    var uploads = SortedMap<Upload>()
  }

  private let buckets = Mutex<[String: Bucket]>([:])
  private let clock: TimeSource

  init(clock: TimeSource = .system) {
    self.clock = clock
  }

  /// Seconds since 1970.
  var now: Int { Int(clock.wall.seconds) }

  /// Runs `body` on a bucket, as one step.
  func with<Result: Sendable>(
    _ name: String, _ body: (inout Bucket) throws(Refusal) -> Result
  ) throws(Refusal) -> Result {
    let result: Swift.Result<Result, Refusal> = buckets.withLock { buckets in
      guard buckets[name] != nil else { return .failure(.noSuchBucket) }
      // In place: a copy of the bucket would copy its sorted lists at the first change.
      return Self.run(&buckets[name, default: Bucket(created: 0)], body)
    }
    return try result.get()
  }

  private static func run<Result>(
    _ bucket: inout Bucket, _ body: (inout Bucket) throws(Refusal) -> Result
  ) -> Swift.Result<Result, Refusal> {
    do throws(Refusal) { return .success(try body(&bucket)) } catch { return .failure(error) }
  }

  /// All buckets by name, with the time they were made at.
  func list() -> [(name: String, created: Int)] {
    buckets.withLock { $0.map { (name: $0.key, created: $0.value.created) } }.sorted { $0.name < $1.name }
  }

  /// Makes a bucket; leaves one that is there as it is.
  func create(_ name: String) {
    let now = now
    buckets.withLock { buckets in
      if buckets[name] == nil { buckets[name] = Bucket(created: now) }
    }
  }

  func remove(_ name: String) throws(Refusal) {
    try buckets.withLock { buckets throws(Refusal) in
      guard let bucket = buckets[name] else { throw .noSuchBucket }
      guard bucket.objects.isEmpty else {
        throw Refusal(409, "BucketNotEmpty", "The bucket is not empty.")
      }
      buckets[name] = nil
    }
  }

  /// An object under conditions.
  func get(_ bucket: String, _ key: Key) throws(Refusal) -> StoredObject {
    try with(bucket) { bucket throws(Refusal) in
      guard let object = bucket.objects[key] else { throw .noSuchKey }
      return object
    }
  }

  /// Stores an object unless a condition does not hold.
  func put(_ bucket: String, _ key: Key, _ object: StoredObject, _ conditions: Conditions) throws(Refusal) {
    // What is replaced is let go of outside of the lock: it may be thousands of slabs.
    let old = try with(bucket) { bucket throws(Refusal) in
      try conditions.check(bucket.objects[key])
      return bucket.objects.set(key, object)
    }
    withExtendedLifetime(old) {}
  }

  /// Deletes an object; one that is not there is no error, unless a condition asks for it.
  func delete(_ bucket: String, _ key: Key, _ conditions: Conditions) throws(Refusal) {
    let old = try with(bucket) { bucket throws(Refusal) in
      try conditions.check(bucket.objects[key])
      return bucket.objects.remove(key)
    }
    withExtendedLifetime(old) {}
  }
}
