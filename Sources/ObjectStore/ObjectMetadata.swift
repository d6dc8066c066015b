public import Basics

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
  /// The `x-amz-meta-*` headers: names in lowercase without that prefix.
  public var userMetadata: [String: String]
  /// Storage class, where the server told it.
  public var storageClass: String?
  /// Version id of a versioned bucket.
  public var versionID: String?

  /// Makes metadata from its parts.
  public init(
    size: UInt64, etag: ETag, lastModified: Timestamp, contentType: String? = nil,
    userMetadata: [String: String] = [:], storageClass: String? = nil, versionID: String? = nil
  ) {
    self.size = size
    self.etag = etag
    self.lastModified = lastModified
    self.contentType = contentType
    self.userMetadata = userMetadata
    self.storageClass = storageClass
    self.versionID = versionID
  }
}

/// What a writer attaches to an object.
public struct ObjectAttributes: Hashable, Sendable {
  /// The `Content-Type` to store.
  public var contentType: String?
  /// The `x-amz-meta-*` headers: names in lowercase without that prefix, values in printable ASCII.
  public var userMetadata: [String: String]

  /// Makes attributes from their parts.
  public init(contentType: String? = nil, userMetadata: [String: String] = [:]) {
    self.contentType = contentType
    self.userMetadata = userMetadata
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
