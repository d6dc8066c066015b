public import Basics
import Glibc

/// The operations of the protocol.
extension InMemoryObjectStore {
  /// Always there.
  public func headBucket(_ cancellation: Cancellation?, _ completion: @escaping StoreCompletion<Void>) {
    perform(nil, cancellation, completion) { _, _ throws(ObjectStoreError) in }
  }

  /// See `ObjectStore.head`.
  public func head(
    _ key: ObjectKey, _ cancellation: Cancellation?, _ completion: @escaping StoreCompletion<ObjectMetadata>
  ) {
    perform(key, cancellation, completion) { bucket, _ throws(ObjectStoreError) in try bucket.object(key).metadata }
  }

  /// See `ObjectStore.get`.
  public func get(
    _ request: GetRequest, into sink: any ObjectSink, _ cancellation: Cancellation?,
    _ completion: @escaping StoreCompletion<ObjectMetadata>
  ) {
    let pieceSize = options.pieceSize
    perform(
      request.key, cancellation, completion,
      deliver: { found in
        found.deliver(to: sink, pieceSize: pieceSize)
        return found.object.metadata
      },
      { bucket, _ throws(ObjectStoreError) -> FoundRange in
        let object = try bucket.object(request.key)
        if let etag = request.ifMatch, etag != object.metadata.etag { throw InMemoryBucket.preconditionFailed }
        guard let asked = request.range else {
          return FoundRange(object: object, range: ByteRange(offset: 0, length: object.metadata.size))
        }
        guard let range = asked.clipped(to: object.metadata.size) else {
          throw ObjectStoreError(
            .invalidRange, "The range begins behind the end of the object.", httpStatus: 416,
            serverCode: "InvalidRange")
        }
        return FoundRange(object: object, range: range)
      })
  }

  /// See `ObjectStore.list`.
  public func list(
    _ request: ListRequest, _ cancellation: Cancellation?, _ completion: @escaping StoreCompletion<ListPage>
  ) {
    var request = request
    if !options.honoursStartAfter { request.startAfter = nil }
    let emptyPage = "empty:"
    let seen = request.continuation.map { $0.hasPrefix(emptyPage) ? Int($0.dropFirst(emptyPage.count)) : nil } ?? 0
    if let seen {
      if seen < options.emptyPages {
        return perform(nil, cancellation, completion) { _, _ throws(ObjectStoreError) in
          ListPage(continuation: "\(emptyPage)\(seen + 1)")
        }
      }
      request.continuation = nil
    }
    perform(nil, cancellation, completion) { [request, options] bucket, _ throws(ObjectStoreError) in
      options.listsByNames && !request.delimited ? bucket.pageByNames(request) : try bucket.page(request)
    }
  }

  /// See `ObjectStore.put`.
  public func put(
    _ request: PutRequest, _ cancellation: Cancellation?, _ completion: @escaping StoreCompletion<PutResult>
  ) {
    let read = request.body.read()
    let condition = effective(request.condition)
    perform(request.key, cancellation, completion) { bucket, now throws(ObjectStoreError) in
      let bytes = try read.get()
      try bucket.check(condition, request.key)
      return try bucket.store(request.key, bytes, request.attributes, etag: .ofContent(bytes), now: now)
    }
  }

  /// See `ObjectStore.delete`.
  public func delete(
    _ key: ObjectKey, _ cancellation: Cancellation?, _ completion: @escaping StoreCompletion<Void>
  ) {
    perform(key, cancellation, completion) { bucket, _ throws(ObjectStoreError) in
      try key.checkLength()
      bucket.remove(key)
    }
  }

  /// See `ObjectStore.deleteMany`.
  public func deleteMany(
    _ keys: [ObjectKey], _ cancellation: Cancellation?,
    _ completion: @escaping StoreCompletion<[ObjectKey: ObjectStoreError]>
  ) {
    perform(nil, cancellation, completion) { bucket, _ throws(ObjectStoreError) in
      guard keys.count <= 1000 else {
        throw ObjectStoreError(.invalidRequest, "More than 1,000 keys cannot be deleted at once.")
      }
      for key in keys { bucket.remove(key) }
      return [:]
    }
  }

  /// See `ObjectStore.copy`.
  public func copy(
    _ request: CopyRequest, _ cancellation: Cancellation?, _ completion: @escaping StoreCompletion<PutResult>
  ) {
    perform(request.source, cancellation, completion) { bucket, now throws(ObjectStoreError) in
      let source = try bucket.object(request.source)
      if let etag = request.sourceMatch, etag != source.metadata.etag { throw InMemoryBucket.preconditionFailed }
      guard request.attributes != nil || request.source != request.destination else {
        throw ObjectStoreError(
          .invalidRequest, "An object cannot be copied onto itself unchanged.", httpStatus: 400,
          serverCode: "InvalidRequest")
      }
      let kept = ObjectAttributes(
        contentType: source.metadata.contentType, headers: source.metadata.headers,
        userMetadata: source.metadata.userMetadata)
      var attributes = request.attributes ?? kept
      attributes.storageClass = request.storageClass
      // AWS gives the copy of a multipart object a plain tag; this one does so always.
      return try bucket.store(
        request.destination, source.bytes, attributes, etag: .ofContent(source.bytes), now: now)
    }
  }
}

/// The range of an object that a GET answers with.
struct FoundRange: Sendable {
  var object: InMemoryBucket.Object
  var range: ByteRange

  func deliver(to sink: any ObjectSink, pieceSize: Int) {
    sink.begin(metadata: object.metadata, range: range)
    object.bytes.withUnsafeBytes { raw in
      var offset = Int(range.offset)
      let end = Int(range.end)
      while offset < end {
        let next = min(end, offset + pieceSize)
        sink.receive(UnsafeRawBufferPointer(rebasing: raw[offset..<next]), at: UInt64(offset))
        offset = next
      }
    }
  }
}

extension ObjectBody {
  /// All bytes of the body.
  func read() -> Result<[UInt8], ObjectStoreError> {
    switch self {
    case .bytes(let bytes): return .success(bytes)
    case .file(let file, let offset, let length):
      var failure: ObjectStoreError?
      let bytes = [UInt8](unsafeUninitializedCapacity: Int(clamping: length)) { buffer, count in
        while count < buffer.count {
          let rest = UnsafeMutableRawBufferPointer(rebasing: UnsafeMutableRawBufferPointer(buffer)[count...])
          let done = pread(file.descriptor.rawValue, rest.baseAddress, rest.count, off_t(offset) + off_t(count))
          if done < 0 && errno == EINTR { continue }
          guard done > 0 else {
            failure = ObjectStoreError(
              .localReadFailed, done == 0 ? "The file is shorter than announced." : "Reading failed: errno \(errno).")
            return
          }
          count += done
        }
      }
      return failure.map { .failure($0) } ?? .success(bytes)
    }
  }
}
