import Basics
import ObjectStore

/// What the filesystem remembers of an object's version besides its attributes.
struct FileVersion: Hashable, Sendable {
  var etag: ETag
  var size: UInt64
  var lastModified: Timestamp
  /// Content-Type, kept when attributes are changed by a copy.
  var contentType: String?
  /// Other headers, kept likewise.
  var headers: [StoredHeader: String] = [:]
  /// Metadata headers that are no attributes of ours, kept likewise.
  var foreign: [String: String] = [:]
  /// The storage class, where it is known.
  var storageClass: String?

  init(_ metadata: ObjectMetadata) {
    etag = metadata.etag
    size = metadata.size
    lastModified = metadata.lastModified
    contentType = metadata.contentType
    headers = metadata.headers
    storageClass = metadata.storageClass
    foreign = PosixAttributes().userMetadata(type: .file, keeping: metadata.userMetadata)
  }

  init(_ entry: ListEntry) {
    etag = entry.etag
    size = entry.size
    lastModified = entry.lastModified
    storageClass = entry.storageClass
  }

  init(etag: ETag, size: UInt64, lastModified: Timestamp) {
    self.etag = etag
    self.size = size
    self.lastModified = lastModified
  }
}
