public import ObjectStore

/// One version of one object: what cached bytes belong to.
public struct ObjectVersion: Hashable, Sendable {
  /// The bucket's name.
  public var bucket: String
  /// The object.
  public var key: ObjectKey
  /// The version of its bytes.
  public var etag: ETag

  /// Makes a version from its parts.
  public init(bucket: String, key: ObjectKey, etag: ETag) {
    self.bucket = bucket
    self.key = key
    self.etag = etag
  }
}
