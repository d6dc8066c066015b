public import Basics
import Synchronization

/// The operations as calls that block, for threads that may.
extension ObjectStore {
  /// Blocking `headBucket`.
  public func headBucket(_ cancellation: Cancellation? = nil) throws(ObjectStoreError) {
    try waitFor { headBucket(cancellation, $0) }
  }

  /// Blocking `head`.
  public func head(_ key: ObjectKey, _ cancellation: Cancellation? = nil) throws(ObjectStoreError) -> ObjectMetadata {
    try waitFor { head(key, cancellation, $0) }
  }

  /// Blocking `get` of everything the request names into memory.
  public func get(
    _ request: GetRequest, _ cancellation: Cancellation? = nil
  ) throws(ObjectStoreError) -> (metadata: ObjectMetadata, bytes: [UInt8]) {
    let sink = MemorySink()
    let metadata = try waitFor { get(request, into: sink, cancellation, $0) }
    return (metadata, sink.bytes)
  }

  /// Blocking `list` of one page.
  public func list(_ request: ListRequest, _ cancellation: Cancellation? = nil) throws(ObjectStoreError) -> ListPage {
    try waitFor { list(request, cancellation, $0) }
  }

  /// Blocking `list` of the first page that has anything on it: a server may answer with pages that have nothing and yet
  /// go on, where much was deleted.
  public func listSome(
    _ request: ListRequest, _ cancellation: Cancellation? = nil
  ) throws(ObjectStoreError) -> ListPage {
    var request = request
    while true {
      let page = try list(request, cancellation)
      guard page.entries.isEmpty, page.prefixes.isEmpty, let continuation = page.continuation else { return page }
      request.continuation = continuation
    }
  }

  /// Blocking `put`.
  @discardableResult
  public func put(_ request: PutRequest, _ cancellation: Cancellation? = nil) throws(ObjectStoreError) -> PutResult {
    try waitFor { put(request, cancellation, $0) }
  }

  /// Blocking `delete`.
  public func delete(_ key: ObjectKey, _ cancellation: Cancellation? = nil) throws(ObjectStoreError) {
    try waitFor { delete(key, cancellation, $0) }
  }

  /// Blocking `deleteMany`.
  public func deleteMany(
    _ keys: [ObjectKey], _ cancellation: Cancellation? = nil
  ) throws(ObjectStoreError) -> [ObjectKey: ObjectStoreError] {
    try waitFor { deleteMany(keys, cancellation, $0) }
  }

  /// Blocking `copy`.
  @discardableResult
  public func copy(_ request: CopyRequest, _ cancellation: Cancellation? = nil) throws(ObjectStoreError) -> PutResult {
    try waitFor { copy(request, cancellation, $0) }
  }

  /// Blocking `createUpload`.
  public func createUpload(
    _ key: ObjectKey, attributes: ObjectAttributes, _ cancellation: Cancellation? = nil
  ) throws(ObjectStoreError) -> MultipartUpload {
    try waitFor { createUpload(key, attributes: attributes, cancellation, $0) }
  }

  /// Blocking `uploadPart`.
  public func uploadPart(
    _ upload: MultipartUpload, number: Int, body: ObjectBody, _ cancellation: Cancellation? = nil
  ) throws(ObjectStoreError) -> UploadedPart {
    try waitFor { uploadPart(upload, number: number, body: body, cancellation, $0) }
  }

  /// Blocking `copyPart`.
  public func copyPart(
    _ upload: MultipartUpload, number: Int, from source: ObjectKey, range: ByteRange, sourceMatch: ETag?,
    _ cancellation: Cancellation? = nil
  ) throws(ObjectStoreError) -> UploadedPart {
    try waitFor {
      copyPart(upload, number: number, from: source, range: range, sourceMatch: sourceMatch, cancellation, $0)
    }
  }

  /// Blocking `completeUpload`.
  public func completeUpload(
    _ upload: MultipartUpload, parts: [UploadedPart], condition: WriteCondition = .none,
    _ cancellation: Cancellation? = nil
  ) throws(ObjectStoreError) -> PutResult {
    try waitFor { completeUpload(upload, parts: parts, condition: condition, cancellation, $0) }
  }

  /// Blocking `abortUpload`.
  public func abortUpload(
    _ upload: MultipartUpload, _ cancellation: Cancellation? = nil
  ) throws(ObjectStoreError) {
    try waitFor { abortUpload(upload, cancellation, $0) }
  }

  /// Blocking `listParts`.
  public func listParts(
    _ upload: MultipartUpload, _ cancellation: Cancellation? = nil
  ) throws(ObjectStoreError) -> [UploadedPart] {
    try waitFor { listParts(upload, cancellation, $0) }
  }

  /// Blocking `listUploads`.
  public func listUploads(
    prefix: String, _ cancellation: Cancellation? = nil
  ) throws(ObjectStoreError) -> [MultipartUpload] {
    try waitFor { listUploads(prefix: prefix, cancellation, $0) }
  }
}

/// A sink that collects everything in one array. Thread-safe.
public final class MemorySink: ObjectSink {
  private let collected = Mutex<[UInt8]>([])

  /// An empty sink.
  public init() {}

  /// What has arrived.
  public var bytes: [UInt8] { collected.withLock { $0 } }

  /// Makes room.
  public func begin(metadata: ObjectMetadata, range: ByteRange) {
    collected.withLock { $0.reserveCapacity(Int(clamping: min(range.length, 64 << 20))) }
  }

  /// Appends.
  public func receive(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) {
    collected.withLock { $0.append(contentsOf: bytes) }
  }
}
