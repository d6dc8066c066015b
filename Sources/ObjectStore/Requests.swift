public import Basics

/// What must hold on the server for a write or delete to take effect (S3: "Conditional requests").
public enum WriteCondition: Hashable, Sendable {
  /// Nothing is asked.
  case none
  /// The object must still be this version (`If-Match`).
  case ifMatch(ETag)
  /// There must be no object under the key (`If-None-Match: *`).
  case ifAbsent
}

/// Bytes to upload. Offsets and lengths are in bytes.
public enum ObjectBody: Sendable {
  /// Bytes in memory.
  case bytes([UInt8])
  /// A range of a local file, which must not change until the operation has reported.
  case file(SharedDescriptor, offset: UInt64, length: UInt64)

  /// How many bytes the body has.
  public var length: UInt64 {
    switch self {
    case .bytes(let bytes): UInt64(bytes.count)
    case .file(_, _, let length): length
    }
  }
}

/// Where the bytes of a GET go.
///
/// Called from the store's own thread, in order, never at the same time; must not block. A store that resumes after a
/// broken connection goes on where it stopped: bytes once delivered are never delivered again or taken back.
public protocol ObjectSink: Sendable {
  /// The version has answered. Called once, before the first byte.
  /// - Parameters:
  ///   - metadata: of the whole object, `size` being its full length.
  ///   - range: what will be delivered: the asked range, clipped to the object.
  func begin(metadata: ObjectMetadata, range: ByteRange)
  /// More bytes. `offset` counts from the start of the object; `bytes` is valid during the call only.
  func receive(_ bytes: UnsafeRawBufferPointer, at offset: UInt64)
}

/// A GET of an object or a range of it.
public struct GetRequest: Sendable {
  /// The object.
  public var key: ObjectKey
  /// The bytes wanted; nil for all. A range that reaches past the end is clipped; one that starts there fails with
  /// `invalidRange`.
  public var range: ByteRange?
  /// Fails with `preconditionFailed` unless the object is this version.
  public var ifMatch: ETag?

  /// Makes a request.
  public init(_ key: ObjectKey, range: ByteRange? = nil, ifMatch: ETag? = nil) {
    self.key = key
    self.range = range
    self.ifMatch = ifMatch
  }
}

/// A PUT of a whole object.
public struct PutRequest: Sendable {
  /// The object.
  public var key: ObjectKey
  /// Its bytes, at most 5 GiB.
  public var body: ObjectBody
  /// What is stored with it.
  public var attributes: ObjectAttributes
  /// What must hold for the write to take effect.
  public var condition: WriteCondition

  /// Makes a request.
  public init(
    _ key: ObjectKey, body: ObjectBody, attributes: ObjectAttributes = ObjectAttributes(),
    condition: WriteCondition = .none
  ) {
    self.key = key
    self.body = body
    self.attributes = attributes
    self.condition = condition
  }
}

/// A copy within the bucket, done by the server.
public struct CopyRequest: Sendable {
  /// The object to copy, at most 5 GiB.
  public var source: ObjectKey
  /// The object to make or replace; may be the source, with new attributes.
  public var destination: ObjectKey
  /// Fails with `preconditionFailed` unless the source is this version.
  public var sourceMatch: ETag?
  /// New attributes; nil keeps those of the source.
  public var attributes: ObjectAttributes?
  /// The storage class of the copy; nil is the bucket's default, whatever that of the source is.
  public var storageClass: String?

  /// Makes a request.
  public init(
    from source: ObjectKey, to destination: ObjectKey, sourceMatch: ETag? = nil, attributes: ObjectAttributes? = nil,
    storageClass: String? = nil
  ) {
    self.source = source
    self.destination = destination
    self.sourceMatch = sourceMatch
    self.attributes = attributes
    self.storageClass = storageClass
  }
}

/// What a completed write made.
public struct PutResult: Hashable, Sendable {
  /// Version of the new object.
  public var etag: ETag
  /// Version id of a versioned bucket.
  public var versionID: String?

  /// Makes a result.
  public init(etag: ETag, versionID: String? = nil) {
    self.etag = etag
    self.versionID = versionID
  }
}

/// A page of a listing to ask for (S3: ListObjectsV2).
public struct ListRequest: Hashable, Sendable {
  /// Only keys that start with this.
  public var prefix: String
  /// Folds keys with a further `/` after the prefix into one common prefix.
  public var delimited: Bool
  /// Only keys after this one; ignored with `continuation`.
  public var startAfter: ObjectKey?
  /// Where an earlier page ended.
  public var continuation: String?
  /// At most this many entries and prefixes, 1...1000.
  public var limit: Int

  /// Makes a request.
  public init(
    prefix: String, delimited: Bool, startAfter: ObjectKey? = nil, continuation: String? = nil, limit: Int = 1000
  ) {
    self.prefix = prefix
    self.delimited = delimited
    self.startAfter = startAfter
    self.continuation = continuation
    self.limit = limit
  }
}

/// An object as a listing shows it.
public struct ListEntry: Hashable, Sendable {
  /// Its key.
  public var key: ObjectKey
  /// Its length in bytes.
  public var size: UInt64
  /// Its version.
  public var etag: ETag
  /// When it was stored.
  public var lastModified: Timestamp
  /// Its storage class, where the server told it.
  public var storageClass: String?

  /// Makes an entry.
  public init(key: ObjectKey, size: UInt64, etag: ETag, lastModified: Timestamp, storageClass: String? = nil) {
    self.key = key
    self.size = size
    self.etag = etag
    self.lastModified = lastModified
    self.storageClass = storageClass
  }
}

/// A page of a listing. Not every server sorts by bytes: never merge pages by order alone.
public struct ListPage: Hashable, Sendable {
  /// Objects, in the server's order.
  public var entries: [ListEntry]
  /// Common prefixes, each ending in `/`, in the server's order.
  public var prefixes: [String]
  /// What to ask for next; nil on the last page.
  public var continuation: String?

  /// Makes a page.
  public init(entries: [ListEntry] = [], prefixes: [String] = [], continuation: String? = nil) {
    self.entries = entries
    self.prefixes = prefixes
    self.continuation = continuation
  }
}

/// A multipart upload under way.
public struct MultipartUpload: Hashable, Sendable {
  /// The object it will make.
  public var key: ObjectKey
  /// The server's upload id.
  public var id: String

  /// Makes a reference to an upload.
  public init(key: ObjectKey, id: String) {
    self.key = key
    self.id = id
  }
}

/// A part that the server has.
public struct UploadedPart: Hashable, Sendable {
  /// Part number, 1...10,000.
  public var number: Int
  /// The part's tag, needed to complete.
  public var etag: ETag
  /// Length in bytes where known (ListParts tells it).
  public var size: UInt64?

  /// Makes a part.
  public init(number: Int, etag: ETag, size: UInt64? = nil) {
    self.number = number
    self.etag = etag
    self.size = size
  }
}
