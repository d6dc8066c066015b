public import Basics
import Synchronization

/// The operations of the protocol, each with its fault.
extension FailingObjectStore {
  /// See `ObjectStore.headBucket`.
  public func headBucket(_ cancellation: Cancellation?, _ completion: @escaping StoreCompletion<Void>) {
    run(fault(for: .headBucket), nil, cancellation, completion) { [wrapped] in wrapped.headBucket(cancellation, $0) }
  }

  /// See `ObjectStore.head`.
  public func head(
    _ key: ObjectKey, _ cancellation: Cancellation?, _ completion: @escaping StoreCompletion<ObjectMetadata>
  ) {
    run(fault(for: .head, key: key), key, cancellation, completion) { [wrapped] in
      wrapped.head(key, cancellation, $0)
    }
  }

  /// See `ObjectStore.get`.
  public func get(
    _ request: GetRequest, into sink: any ObjectSink, _ cancellation: Cancellation?,
    _ completion: @escaping StoreCompletion<ObjectMetadata>
  ) {
    let key = request.key
    switch fault(for: .get, key: key, range: request.range) {
    case .truncate(let limit, let code):
      let broken = error(code, key)
      wrapped.get(request, into: TruncatingSink(sink, limit: limit), cancellation) { result in
        // What fails by itself fails with its own error.
        completion(result.flatMap { _ in .failure(broken) })
      }
    case .holdAnswer(let gate):
      run(.hold(gate), key, cancellation, completion) { [wrapped] in wrapped.get(request, into: sink, cancellation, $0)
      }
    case let other:
      run(other, key, cancellation, completion) { [wrapped] in wrapped.get(request, into: sink, cancellation, $0) }
    }
  }

  /// See `ObjectStore.list`.
  public func list(
    _ request: ListRequest, _ cancellation: Cancellation?, _ completion: @escaping StoreCompletion<ListPage>
  ) {
    run(fault(for: .list, prefix: request.prefix), nil, cancellation, completion) { [wrapped] in
      wrapped.list(request, cancellation, $0)
    }
  }

  /// See `ObjectStore.put`.
  public func put(
    _ request: PutRequest, _ cancellation: Cancellation?, _ completion: @escaping StoreCompletion<PutResult>
  ) {
    run(fault(for: .put, key: request.key), request.key, cancellation, completion) { [wrapped] in
      wrapped.put(request, cancellation, $0)
    }
  }

  /// See `ObjectStore.delete`.
  public func delete(
    _ key: ObjectKey, _ cancellation: Cancellation?, _ completion: @escaping StoreCompletion<Void>
  ) {
    run(fault(for: .delete, key: key), key, cancellation, completion) { [wrapped] in
      wrapped.delete(key, cancellation, $0)
    }
  }

  /// See `ObjectStore.deleteMany`.
  public func deleteMany(
    _ keys: [ObjectKey], _ cancellation: Cancellation?,
    _ completion: @escaping StoreCompletion<[ObjectKey: ObjectStoreError]>
  ) {
    run(fault(for: .deleteMany, key: keys.first), keys.first, cancellation, completion) { [wrapped] in
      wrapped.deleteMany(keys, cancellation, $0)
    }
  }

  /// See `ObjectStore.copy`.
  public func copy(
    _ request: CopyRequest, _ cancellation: Cancellation?, _ completion: @escaping StoreCompletion<PutResult>
  ) {
    let fault = fault(for: .copy, key: request.destination, source: request.source)
    run(fault, request.destination, cancellation, completion) { [wrapped] in
      wrapped.copy(request, cancellation, $0)
    }
  }

  /// See `ObjectStore.createUpload`.
  public func createUpload(
    _ key: ObjectKey, attributes: ObjectAttributes, _ cancellation: Cancellation?,
    _ completion: @escaping StoreCompletion<MultipartUpload>
  ) {
    run(fault(for: .createUpload, key: key), key, cancellation, completion) { [wrapped] in
      wrapped.createUpload(key, attributes: attributes, cancellation, $0)
    }
  }

  /// See `ObjectStore.uploadPart`.
  public func uploadPart(
    _ upload: MultipartUpload, number: Int, body: ObjectBody, _ cancellation: Cancellation?,
    _ completion: @escaping StoreCompletion<UploadedPart>
  ) {
    let fault = fault(for: .uploadPart, key: upload.key, part: number)
    run(fault, upload.key, cancellation, completion) { [wrapped] in
      wrapped.uploadPart(upload, number: number, body: body, cancellation, $0)
    }
  }

  /// See `ObjectStore.copyPart`.
  public func copyPart(
    _ upload: MultipartUpload, number: Int, from source: ObjectKey, range: ByteRange, sourceMatch: ETag?,
    _ cancellation: Cancellation?, _ completion: @escaping StoreCompletion<UploadedPart>
  ) {
    let fault = fault(for: .copyPart, key: upload.key, source: source, range: range, part: number)
    run(fault, upload.key, cancellation, completion) { [wrapped] in
      wrapped.copyPart(
        upload, number: number, from: source, range: range, sourceMatch: sourceMatch, cancellation, $0)
    }
  }

  /// See `ObjectStore.completeUpload`.
  public func completeUpload(
    _ upload: MultipartUpload, parts: [UploadedPart], condition: WriteCondition, _ cancellation: Cancellation?,
    _ completion: @escaping StoreCompletion<PutResult>
  ) {
    run(fault(for: .completeUpload, key: upload.key), upload.key, cancellation, completion) { [wrapped] in
      wrapped.completeUpload(upload, parts: parts, condition: condition, cancellation, $0)
    }
  }

  /// See `ObjectStore.abortUpload`.
  public func abortUpload(
    _ upload: MultipartUpload, _ cancellation: Cancellation?, _ completion: @escaping StoreCompletion<Void>
  ) {
    run(fault(for: .abortUpload, key: upload.key), upload.key, cancellation, completion) { [wrapped] in
      wrapped.abortUpload(upload, cancellation, $0)
    }
  }

  /// See `ObjectStore.listParts`.
  public func listParts(
    _ upload: MultipartUpload, _ cancellation: Cancellation?, _ completion: @escaping StoreCompletion<[UploadedPart]>
  ) {
    run(fault(for: .listParts, key: upload.key), upload.key, cancellation, completion) { [wrapped] in
      wrapped.listParts(upload, cancellation, $0)
    }
  }

  /// See `ObjectStore.listUploads`.
  public func listUploads(
    prefix: String, _ cancellation: Cancellation?, _ completion: @escaping StoreCompletion<[MultipartUpload]>
  ) {
    run(fault(for: .listUploads, prefix: prefix), nil, cancellation, completion) { [wrapped] in
      wrapped.listUploads(prefix: prefix, cancellation, $0)
    }
  }

  /// See `ObjectStore.confirms`. Nothing is asked of the store, so nothing is recorded and nothing goes wrong.
  public func confirms(_ etag: ETag, _ body: ObjectBody) -> Bool? { wrapped.confirms(etag, body) }

  /// See `ObjectStore.expectedTag`.
  public func expectedTag(of body: ObjectBody) -> ETag? { wrapped.expectedTag(of: body) }

  /// See `ObjectStore.expectedTag`.
  public func expectedTag(ofParts parts: [UploadedPart]) -> ETag? { wrapped.expectedTag(ofParts: parts) }
}

/// Passes on only the first bytes.
private final class TruncatingSink: ObjectSink {
  private let sink: any ObjectSink
  private let left: Mutex<UInt64>

  init(_ sink: any ObjectSink, limit: UInt64) {
    self.sink = sink
    left = Mutex(limit)
  }

  func begin(metadata: ObjectMetadata, range: ByteRange) { sink.begin(metadata: metadata, range: range) }

  func receive(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) {
    let count = left.withLock { left in
      let count = min(left, UInt64(bytes.count))
      left -= count
      return Int(count)
    }
    if count > 0 { sink.receive(UnsafeRawBufferPointer(rebasing: bytes[..<count]), at: offset) }
  }
}
