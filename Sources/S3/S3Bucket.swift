public import Basics
import HTTPTransport
public import ObjectStore

/// One bucket of an S3 server. Thread-safe. Made by `S3Client.bucket`.
public final class S3Bucket: ObjectStore {
  /// The bucket's name.
  public let bucket: String
  let core: ClientCore
  let metrics: RequestMetrics?

  init(_ bucket: String, _ core: ClientCore, _ metrics: RequestMetrics?) {
    self.bucket = bucket
    self.core = core
    self.metrics = metrics
  }

  /// Asks for the bucket (S3: HeadBucket), and for the reason when it is refused: an answer to HEAD cannot tell it.
  public func headBucket(_ cancellation: Cancellation?, _ completion: @escaping StoreCompletion<Void>) {
    let operation = Operation<Void>(.headBucket, request(.head), limit: core.answerLimit) { _ in .value(()) }
    Exchange.run(core, metrics, operation, cancellation) { [self] result, _ in
      guard case .failure(let error) = result, let status = error.httpStatus, (300..<500).contains(status) else {
        return completion(result)
      }
      list(ListRequest(prefix: "", delimited: false, limit: 1), cancellation) { completion($0.map { _ in }) }
    }
  }

  /// See `ObjectStore.head` (S3: HeadObject).
  public func head(
    _ key: ObjectKey, _ cancellation: Cancellation?, _ completion: @escaping StoreCompletion<ObjectMetadata>
  ) {
    guard checked(key, completion) else { return }
    let operation = Operation<ObjectMetadata>(.headObject, request(.head, key), limit: core.answerLimit) { response in
      guard let size = MetadataParser.contentLength(response.head),
        let metadata = MetadataParser.metadata(response.head, size: size)
      else { return .failed(response.corrupt("The length, the tag or the date is missing.")) }
      return .value(metadata)
    }
    Exchange.run(core, metrics, operation, cancellation) { result, _ in completion(result) }
  }

  /// See `ObjectStore.get` (S3: GetObject).
  public func get(
    _ request: GetRequest, into sink: any ObjectSink, _ cancellation: Cancellation?,
    _ completion: @escaping StoreCompletion<ObjectMetadata>
  ) {
    guard checked(request.key, completion) else { return }
    if let range = request.range, range.length == 0 {
      let error = ObjectStoreError(.invalidRange, "The range is empty.", bucket: bucket, key: request.key)
      return completion(.failure(error))
    }
    let download = Download(request, sink, plain: self.request(.get, request.key))
    let operation = Operation<ObjectMetadata>(
      kind: .getObject, bucket: bucket, key: request.key, request: { download.nextRequest() },
      destination: { download.begin($0) }, read: { download.end($0) }, salvage: { download.salvage($0) },
      progressed: { download.progressed() })
    Exchange.run(core, metrics, operation, cancellation) { result, _ in completion(result) }
  }

  /// See `ObjectStore.delete` (S3: DeleteObject).
  public func delete(
    _ key: ObjectKey, _ cancellation: Cancellation?, _ completion: @escaping StoreCompletion<Void>
  ) {
    guard checked(key, completion) else { return }
    let operation = Operation<Void>(.deleteObject, request(.delete, key), limit: core.answerLimit) { _ in .value(()) }
    Exchange.run(core, metrics, operation, cancellation) { result, _ in
      if case .failure(let error) = result, error.code == .notFound { return completion(.success(())) }
      completion(result)
    }
  }

  /// A request about this bucket or an object in it.
  func request(_ method: HTTPMethod, _ key: ObjectKey? = nil, _ query: [(name: String, value: String)] = [])
    -> S3Request
  {
    S3Request(method: method, bucket: bucket, key: key, query: query, deadlines: core.deadlines)
  }

  /// Reports what cannot be a key; false when it did.
  func checked<Value>(_ key: ObjectKey, _ completion: StoreCompletion<Value>) -> Bool {
    do throws(ObjectStoreError) {
      try key.checkLength()
      return true
    } catch {
      completion(.failure(error.about(bucket, key)))
      return false
    }
  }

  /// The same for what is to be stored with it.
  func checked<Value>(
    _ key: ObjectKey, _ attributes: ObjectAttributes, _ completion: StoreCompletion<Value>
  ) -> Bool {
    do throws(ObjectStoreError) { try attributes.check() } catch {
      completion(.failure(error.about(bucket, key)))
      return false
    }
    return checked(key, completion)
  }
}

extension S3Request {
  /// What is stored with an object.
  mutating func add(_ attributes: ObjectAttributes) {
    if let contentType = attributes.contentType { headers.append(HTTPHeader("Content-Type", contentType)) }
    for (header, value) in attributes.headers.sorted(by: { $0.key.rawValue < $1.key.rawValue }) {
      headers.append(HTTPHeader(header.rawValue, value))
    }
    for (name, value) in attributes.userMetadata.sorted(by: { $0.key < $1.key }) {
      headers.append(HTTPHeader("x-amz-meta-\(name)", value))
    }
    add(storageClass: attributes.storageClass)
  }

  /// Where the server is to keep an object.
  mutating func add(storageClass: String?) {
    if let storageClass { headers.append(HTTPHeader("x-amz-storage-class", storageClass)) }
  }

  /// What must hold for the request to take effect.
  mutating func add(_ condition: WriteCondition) {
    switch condition {
    case .none: break
    case .ifMatch(let etag): headers.append(HTTPHeader("If-Match", etag.quoted))
    case .ifAbsent: headers.append(HTTPHeader("If-None-Match", "*"))
    }
  }
}
