public import Basics

/// The form in which a store reports.
public typealias StoreCompletion<Value> = Completion<Value, ObjectStoreError>

/// One bucket of an object store.
///
/// Every operation starts at once and reports exactly once to its completion, from any thread, possibly before the call
/// returns; completions must not block. Retries happen inside: an error is final. `cancellation`, when it fires, makes
/// the operation report `cancelled` soon; what it had already changed on the server stays changed. Thread-safe.
/// Callers hold no lock during a call. The conformance suite in the tests states what every implementation must do.
public protocol ObjectStore: Sendable {
  /// The bucket's name, for messages.
  var bucket: String { get }

  /// Reports whether the bucket is there and may be read.
  func headBucket(_ cancellation: Cancellation?, _ completion: @escaping StoreCompletion<Void>)

  /// What the store knows of one object.
  func head(
    _ key: ObjectKey, _ cancellation: Cancellation?, _ completion: @escaping StoreCompletion<ObjectMetadata>)

  /// Fetches bytes into `sink`. Reports success only when every byte of the range was delivered, all of one version.
  func get(
    _ request: GetRequest, into sink: any ObjectSink, _ cancellation: Cancellation?,
    _ completion: @escaping StoreCompletion<ObjectMetadata>)

  /// One page of a listing.
  func list(_ request: ListRequest, _ cancellation: Cancellation?, _ completion: @escaping StoreCompletion<ListPage>)

  /// Stores a whole object. May hash the body on the calling thread.
  func put(_ request: PutRequest, _ cancellation: Cancellation?, _ completion: @escaping StoreCompletion<PutResult>)

  /// Deletes an object; one that is not there is a success.
  func delete(_ key: ObjectKey, _ cancellation: Cancellation?, _ completion: @escaping StoreCompletion<Void>)

  /// Deletes many objects (at most 1,000). Reports those that could not be deleted, with the reason.
  func deleteMany(
    _ keys: [ObjectKey], _ cancellation: Cancellation?,
    _ completion: @escaping StoreCompletion<[ObjectKey: ObjectStoreError]>)

  /// Copies within the bucket.
  func copy(_ request: CopyRequest, _ cancellation: Cancellation?, _ completion: @escaping StoreCompletion<PutResult>)

  /// Begins a multipart upload.
  func createUpload(
    _ key: ObjectKey, attributes: ObjectAttributes, _ cancellation: Cancellation?,
    _ completion: @escaping StoreCompletion<MultipartUpload>)

  /// Stores one part; a part with the same number is replaced. May hash the body on the calling thread.
  func uploadPart(
    _ upload: MultipartUpload, number: Int, body: ObjectBody, _ cancellation: Cancellation?,
    _ completion: @escaping StoreCompletion<UploadedPart>)

  /// Makes a part from a range of an object in the same bucket.
  func copyPart(
    _ upload: MultipartUpload, number: Int, from source: ObjectKey, range: ByteRange, sourceMatch: ETag?,
    _ cancellation: Cancellation?, _ completion: @escaping StoreCompletion<UploadedPart>)

  /// Turns the parts, in order of number, into the object.
  func completeUpload(
    _ upload: MultipartUpload, parts: [UploadedPart], condition: WriteCondition, _ cancellation: Cancellation?,
    _ completion: @escaping StoreCompletion<PutResult>)

  /// Forgets an upload and its parts; one that is not there is a success.
  func abortUpload(
    _ upload: MultipartUpload, _ cancellation: Cancellation?, _ completion: @escaping StoreCompletion<Void>)

  /// The parts the server has, all pages of them.
  func listParts(
    _ upload: MultipartUpload, _ cancellation: Cancellation?, _ completion: @escaping StoreCompletion<[UploadedPart]>)

  /// The multipart uploads under way below a prefix, all pages of them.
  func listUploads(
    prefix: String, _ cancellation: Cancellation?, _ completion: @escaping StoreCompletion<[MultipartUpload]>)

  /// Whether a tag that the store gave, to an object that was stored whole or to a part, is that of exactly these bytes.
  /// Nil when the tag does not tell: that of an object made of parts, of an encrypted one, of a store whose tags are no
  /// checksums, or when the body cannot be read. Blocks: hashes the body.
  func confirms(_ etag: ETag, _ body: ObjectBody) -> Bool?

  /// The tag that an object stored whole, or a part, with these bytes gets; nil when that cannot be told before. A hint:
  /// the store may answer with another. Blocks: hashes the body.
  func expectedTag(of body: ObjectBody) -> ETag?

  /// The tag that an object made of these parts, in order of number, gets; nil when that cannot be told before. A hint,
  /// likewise.
  func expectedTag(ofParts parts: [UploadedPart]) -> ETag?
}
