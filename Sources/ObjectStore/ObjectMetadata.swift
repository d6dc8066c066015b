public import Basics

/// A header beside its Content-Type that whoever stores an object may give it, and everybody who reads it gets back
/// (S3: "System-defined object metadata").
public enum StoredHeader: String, Hashable, Sendable, CaseIterable {
  case cacheControl = "Cache-Control"
  case contentDisposition = "Content-Disposition"
  case contentEncoding = "Content-Encoding"
  case contentLanguage = "Content-Language"
  case expires = "Expires"
}

/// What a store tells about one object without its bytes.
public struct ObjectMetadata: Hashable, Sendable {
  /// Length of the object in bytes.
  public var size: UInt64
  /// Version of the bytes.
  public var etag: ETag
  /// When the object was stored (second resolution on most servers).
  public var lastModified: Timestamp
  /// The `Content-Type`, where the server told it.
  public var contentType: String?
  /// The other headers that it was stored with; none that could not be stored again.
  public var headers: [StoredHeader: String]
  /// The `x-amz-meta-*` headers: names in lowercase without that prefix.
  public var userMetadata: [String: String]
  /// Storage class, where the server told it.
  public var storageClass: String?
  /// Version id of a versioned bucket.
  public var versionID: String?

  /// Makes metadata from its parts.
  public init(
    size: UInt64, etag: ETag, lastModified: Timestamp, contentType: String? = nil,
    headers: [StoredHeader: String] = [:], userMetadata: [String: String] = [:], storageClass: String? = nil,
    versionID: String? = nil
  ) {
    self.size = size
    self.etag = etag
    self.lastModified = lastModified
    self.contentType = contentType
    self.headers = headers
    self.userMetadata = userMetadata
    self.storageClass = storageClass
    self.versionID = versionID
  }
}

/// What a writer attaches to an object.
public struct ObjectAttributes: Hashable, Sendable {
  /// The `Content-Type` to store.
  public var contentType: String?
  /// Other headers to store, values in printable ASCII.
  public var headers: [StoredHeader: String]
  /// The `x-amz-meta-*` headers: names in lowercase without that prefix, values in printable ASCII.
  public var userMetadata: [String: String]
  /// The storage class; nil is the bucket's default.
  public var storageClass: String?

  /// Makes attributes from their parts.
  public init(
    contentType: String? = nil, headers: [StoredHeader: String] = [:], userMetadata: [String: String] = [:],
    storageClass: String? = nil
  ) {
    self.contentType = contentType
    self.headers = headers
    self.userMetadata = userMetadata
    self.storageClass = storageClass
  }

  /// The storage class that a copy of an object in `present` is to have; nil is the bucket's default. Kept are those of
  /// S3 from which an object can be read at once: a copy in an archive could not be.
  public static func storageClass(ofCopyFrom present: String?) -> String? {
    let kept = ["STANDARD_IA", "ONEZONE_IA", "INTELLIGENT_TIERING", "GLACIER_IR", "REDUCED_REDUNDANCY"]
    return present.flatMap { kept.contains($0) ? $0 : nil }
  }
}

/// A half-open range of bytes in an object.
public struct ByteRange: Hashable, Sendable, CustomStringConvertible {
  /// First byte.
  public var offset: UInt64
  /// Number of bytes.
  public var length: UInt64

  /// Makes a range.
  public init(offset: UInt64, length: UInt64) {
    self.offset = offset
    self.length = length
  }

  /// One past the last byte; the largest `UInt64` where the sum does not fit.
  public var end: UInt64 {
    let (sum, overflow) = offset.addingReportingOverflow(length)
    return overflow ? .max : sum
  }

  /// The part of the range that an object of `size` bytes has; nil when that is not a single byte.
  public func clipped(to size: UInt64) -> ByteRange? {
    guard length > 0, offset < size else { return nil }
    return ByteRange(offset: offset, length: min(length, size - offset))
  }

  /// The range as `start..<end`.
  public var description: String { "\(offset)..<\(end)" }
}
