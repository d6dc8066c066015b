public import Basics

/// The multipart operations of the protocol.
extension InMemoryObjectStore {
  /// See `ObjectStore.createUpload`.
  public func createUpload(
    _ key: ObjectKey, attributes: ObjectAttributes, _ cancellation: Cancellation?,
    _ completion: @escaping StoreCompletion<MultipartUpload>
  ) {
    perform(key, cancellation, completion) { bucket, _ throws(ObjectStoreError) in
      try bucket.beginUpload(key, attributes)
    }
  }

  /// See `ObjectStore.uploadPart`.
  public func uploadPart(
    _ upload: MultipartUpload, number: Int, body: ObjectBody, _ cancellation: Cancellation?,
    _ completion: @escaping StoreCompletion<UploadedPart>
  ) {
    let read = body.read()
    perform(upload.key, cancellation, completion) { bucket, _ throws(ObjectStoreError) in
      try bucket.addPart(upload, number, try read.get())
    }
  }

  /// See `ObjectStore.copyPart`.
  public func copyPart(
    _ upload: MultipartUpload, number: Int, from source: ObjectKey, range: ByteRange, sourceMatch: ETag?,
    _ cancellation: Cancellation?, _ completion: @escaping StoreCompletion<UploadedPart>
  ) {
    perform(source, cancellation, completion) { bucket, _ throws(ObjectStoreError) in
      let object = try bucket.object(source)
      if let sourceMatch, sourceMatch != object.metadata.etag { throw InMemoryBucket.preconditionFailed }
      // A copy is never clipped: a part shorter than planned would shift all that follow.
      guard range.length > 0, range.end <= object.metadata.size else {
        throw ObjectStoreError(
          .invalidRange, "The range reaches behind the end of the source.", httpStatus: 416,
          serverCode: "InvalidRange")
      }
      return try bucket.addPart(upload, number, Array(object.bytes[Int(range.offset)..<Int(range.end)]))
    }
  }

  /// See `ObjectStore.completeUpload`.
  public func completeUpload(
    _ upload: MultipartUpload, parts: [UploadedPart], condition: WriteCondition, _ cancellation: Cancellation?,
    _ completion: @escaping StoreCompletion<PutResult>
  ) {
    let condition = options.honoursConditionsOfCompletions ? effective(condition) : .none
    let minimum = options.minimumPartSize
    perform(upload.key, cancellation, completion) { bucket, now throws(ObjectStoreError) in
      try bucket.complete(upload, parts, condition, minimumPartSize: minimum, now: now)
    }
  }

  /// See `ObjectStore.abortUpload`.
  public func abortUpload(
    _ upload: MultipartUpload, _ cancellation: Cancellation?, _ completion: @escaping StoreCompletion<Void>
  ) {
    perform(upload.key, cancellation, completion) { bucket, _ throws(ObjectStoreError) in
      if bucket.uploads[upload.id]?.key == upload.key { bucket.uploads[upload.id] = nil }
    }
  }

  /// See `ObjectStore.listParts`.
  public func listParts(
    _ upload: MultipartUpload, _ cancellation: Cancellation?, _ completion: @escaping StoreCompletion<[UploadedPart]>
  ) {
    perform(upload.key, cancellation, completion) { bucket, _ throws(ObjectStoreError) in
      try bucket.upload(upload).parts.sorted { $0.key < $1.key }.map { number, part in
        UploadedPart(number: number, etag: part.etag, size: UInt64(part.bytes.count))
      }
    }
  }

  /// See `ObjectStore.listUploads`.
  public func listUploads(
    prefix: String, _ cancellation: Cancellation?, _ completion: @escaping StoreCompletion<[MultipartUpload]>
  ) {
    perform(nil, cancellation, completion) { bucket, _ throws(ObjectStoreError) in
      bucket.uploads.filter { $0.value.key.hasPrefix(prefix) }
        .map { MultipartUpload(key: $0.value.key, id: $0.key) }
        .sorted { ($0.key, $0.id) < ($1.key, $1.id) }
    }
  }

  /// See `ObjectStore.confirms`.
  public func confirms(_ etag: ETag, _ body: ObjectBody) -> Bool? {
    guard etag.value.utf8.count == 32, case .success(let bytes) = body.read() else { return nil }
    return etag == .ofContent(bytes)
  }

  /// See `ObjectStore.expectedTag`.
  public func expectedTag(of body: ObjectBody) -> ETag? {
    guard case .success(let bytes) = body.read() else { return nil }
    return .ofContent(bytes)
  }

  /// See `ObjectStore.expectedTag`.
  public func expectedTag(ofParts parts: [UploadedPart]) -> ETag? { .ofParts(parts.map(\.etag)) }
}
