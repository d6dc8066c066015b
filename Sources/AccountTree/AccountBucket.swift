public import Basics
public import Filesystem
public import SystemPackage

/// A bucket as the list of an account shows it. Only the name is certain.
public struct AccountBucket: Hashable, Sendable {
  /// Name.
  public var name: String
  /// When it was made.
  public var created: Timestamp?
  /// The same as the service writes it.
  public var createdText: String?
  /// Where it is stored.
  public var region: String?
  /// How it is stored.
  public var tier: String?
  /// How many objects it holds.
  public var objectCount: UInt64?
  /// Sum of their sizes in bytes.
  public var sizeBytes: UInt64?
  /// Whether everybody can read it.
  public var isPublic: Bool?

  /// Makes a description.
  public init(name: String) { self.name = name }

  /// What getfattr(1) shows of it, by name: what is known.
  var extendedAttributes: [(name: String, value: String)] {
    [
      ("region", region), ("tier", tier), ("created_at", createdText),
      ("object_count", objectCount.map { "\($0)" }), ("size_bytes", sizeBytes.map { "\($0)" }),
      ("is_public", isPublic.map { $0 ? "true" : "false" }),
    ].compactMap { name, value in value.map { ("user.waysfs.\(name)", $0) } }
  }

  /// Whether everything is known that the service says of a bucket. No answer says the tier.
  var isWhole: Bool {
    region != nil && createdText != nil && objectCount != nil && sizeBytes != nil && isPublic != nil
  }

  /// This, and what is not known here from another description of the same bucket.
  func completed(by other: AccountBucket) -> AccountBucket {
    var whole = self
    whole.created = created ?? other.created
    whole.createdText = createdText ?? other.createdText
    whole.region = region ?? other.region
    whole.tier = tier ?? other.tier
    whole.objectCount = objectCount ?? other.objectCount
    whole.sizeBytes = sizeBytes ?? other.sizeBytes
    whole.isPublic = isPublic ?? other.isPublic
    return whole
  }

  /// What it takes, as far as that is known.
  var usage: Usage { Usage(bytes: sizeBytes ?? 0, objects: objectCount ?? 0) }
}

/// What buckets take.
struct Usage: Hashable, Sendable {
  var bytes: UInt64 = 0
  var objects: UInt64 = 0

  static func + (left: Usage, right: Usage) -> Usage {
    let bytes = left.bytes.addingReportingOverflow(right.bytes)
    let objects = left.objects.addingReportingOverflow(right.objects)
    return Usage(
      bytes: bytes.overflow ? .max : bytes.partialValue, objects: objects.overflow ? .max : objects.partialValue)
  }

  /// An object store has no size: there is always "a lot" left.
  var statistics: FilesystemStatistics {
    let blockSize: UInt64 = 4096
    let free = (1 << 50) / blockSize
    let freeFiles: UInt64 = 1 << 40
    let used = bytes / blockSize + (bytes % blockSize > 0 ? 1 : 0)
    return FilesystemStatistics(
      blockSize: blockSize, blocks: free + used, freeBlocks: free, files: freeFiles + min(objects, 1 << 62),
      freeFiles: freeFiles)
  }
}

/// The answer to the question which buckets there are.
public struct BucketAnswer: Hashable, Sendable {
  /// The buckets.
  public var buckets: [AccountBucket]
  /// Whether these are all: who is missing in a part of the list has not vanished.
  public var isWhole: Bool

  /// Makes an answer.
  public init(_ buckets: [AccountBucket], isWhole: Bool = true) {
    self.buckets = buckets
    self.isWhole = isWhole
  }
}

/// Who knows the buckets of an account. Thread-safe; every method blocks. What led to an error was logged before it is
/// thrown.
public protocol BucketDirectory: Sendable {
  /// Which there are.
  func list() throws(Errno) -> BucketAnswer
  /// What is said of one alone, which may be more than the list says; nil where nobody says more.
  func details(of name: String, _ cancellation: Cancellation?) throws(Errno) -> AccountBucket?
  /// Makes one.
  /// - Throws: EEXIST when the name is or was in use.
  func make(_ name: String, _ cancellation: Cancellation?) throws(Errno) -> AccountBucket
  /// Deletes an empty one.
  /// - Throws: ENOTEMPTY when it is not empty.
  func remove(_ name: String, _ cancellation: Cancellation?) throws(Errno)
}

/// A bucket that is open. Thread-safe.
public protocol OpenBucket: Sendable {
  /// Its filesystem.
  var operations: any FileOperations { get }
  /// Takes away what waysfs keeps in an empty bucket for itself, so that the bucket can be deleted.
  /// - Throws: ENOTEMPTY when it is not empty, or something is on its way to it.
  func prepareRemoval(_ cancellation: Cancellation?) throws(Errno)
}
