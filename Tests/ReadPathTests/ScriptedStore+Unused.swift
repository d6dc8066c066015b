import Basics
import Glibc
import ObjectStore

/// What the read path never asks for.
extension ScriptedStore {
  private var refusal: ObjectStoreError { ObjectStoreError(.unsupported, "not scripted") }

  func headBucket(_ cancellation: Cancellation?, _ completion: @escaping StoreCompletion<Void>) {
    completion(.failure(refusal))
  }

  func head(_ key: ObjectKey, _ cancellation: Cancellation?, _ completion: @escaping StoreCompletion<ObjectMetadata>) {
    completion(.failure(refusal))
  }

  func list(_ request: ListRequest, _ cancellation: Cancellation?, _ completion: @escaping StoreCompletion<ListPage>) {
    completion(.failure(refusal))
  }

  func put(_ request: PutRequest, _ cancellation: Cancellation?, _ completion: @escaping StoreCompletion<PutResult>) {
    completion(.failure(refusal))
  }

  func delete(_ key: ObjectKey, _ cancellation: Cancellation?, _ completion: @escaping StoreCompletion<Void>) {
    completion(.failure(refusal))
  }

  func deleteMany(
    _ keys: [ObjectKey], _ cancellation: Cancellation?,
    _ completion: @escaping StoreCompletion<[ObjectKey: ObjectStoreError]>
  ) {
    completion(.failure(refusal))
  }

  func copy(_ request: CopyRequest, _ cancellation: Cancellation?, _ completion: @escaping StoreCompletion<PutResult>) {
    completion(.failure(refusal))
  }

  func createUpload(
    _ key: ObjectKey, attributes: ObjectAttributes, _ cancellation: Cancellation?,
    _ completion: @escaping StoreCompletion<MultipartUpload>
  ) {
    completion(.failure(refusal))
  }

  func uploadPart(
    _ upload: MultipartUpload, number: Int, body: ObjectBody, _ cancellation: Cancellation?,
    _ completion: @escaping StoreCompletion<UploadedPart>
  ) {
    completion(.failure(refusal))
  }

  func copyPart(
    _ upload: MultipartUpload, number: Int, from source: ObjectKey, range: ByteRange, sourceMatch: ETag?,
    _ cancellation: Cancellation?, _ completion: @escaping StoreCompletion<UploadedPart>
  ) {
    completion(.failure(refusal))
  }

  func completeUpload(
    _ upload: MultipartUpload, parts: [UploadedPart], condition: WriteCondition, _ cancellation: Cancellation?,
    _ completion: @escaping StoreCompletion<PutResult>
  ) {
    completion(.failure(refusal))
  }

  func abortUpload(
    _ upload: MultipartUpload, _ cancellation: Cancellation?, _ completion: @escaping StoreCompletion<Void>
  ) {
    completion(.failure(refusal))
  }

  func listParts(
    _ upload: MultipartUpload, _ cancellation: Cancellation?, _ completion: @escaping StoreCompletion<[UploadedPart]>
  ) {
    completion(.failure(refusal))
  }

  func listUploads(
    prefix: String, _ cancellation: Cancellation?, _ completion: @escaping StoreCompletion<[MultipartUpload]>
  ) {
    completion(.failure(refusal))
  }

  func confirms(_ etag: ETag, _ body: ObjectBody) -> Bool? { nil }
  func expectedTag(of body: ObjectBody) -> ETag? { nil }
  func expectedTag(ofParts parts: [UploadedPart]) -> ETag? { nil }
}

extension UnsafeRawBufferPointer {
  /// Comparison by memcmp: element by element takes minutes without optimisation.
  func elementsEqual(_ other: UnsafeRawBufferPointer, memcmp: Void) -> Bool {
    guard count == other.count else { return false }
    guard count > 0, let left = baseAddress, let right = other.baseAddress else { return true }
    return Glibc.memcmp(left, right, count) == 0
  }
}
