public import Basics
import HTTPTransport
public import ObjectStore

/// Writing whole objects.
extension S3Bucket {
  /// See `ObjectStore.put` (S3: PutObject).
  public func put(
    _ request: PutRequest, _ cancellation: Cancellation?, _ completion: @escaping StoreCompletion<PutResult>
  ) {
    guard checked(request.key, request.attributes, completion) else { return }
    var wire = self.request(.put, request.key)
    wire.add(request.attributes)
    wire.add(request.condition)
    wire.body = request.body.httpBody
    do throws(ObjectStoreError) { wire.payloadHash = try core.payloadHash(request.body) } catch {
      return completion(.failure(error.about(bucket, request.key)))
    }
    var operation = Operation<PutResult>("PutObject", wire, limit: core.answerLimit) { $0.putResult() }
    // Another write is under way. It may be an earlier attempt of this one.
    if request.condition != .none { operation.alsoRetried = ["ConditionalRequestConflict", "OperationAborted"] }
    Exchange.run(core, operation, cancellation) { [self] result, mayBeApplied in
      guard case .failure(let error) = result else { return completion(result) }
      let final = error.asFailedCondition(request.condition)
      guard mayBeApplied, final.code == .preconditionFailed else { return completion(.failure(final)) }
      confirm(request, final, cancellation, completion)
    }
  }

  /// An attempt whose answer was lost may be the very write that the condition now trips over. Reports success when the
  /// object is, beyond doubt, what was sent; `error` otherwise.
  private func confirm(
    _ request: PutRequest, _ error: ObjectStoreError, _ cancellation: Cancellation?,
    _ completion: @escaping StoreCompletion<PutResult>
  ) {
    head(request.key, cancellation) { result in
      guard case .success(let found) = result, found.size == request.body.length else {
        return completion(.failure(error))
      }
      // Up to 5 GiB are read for this, so not on the event thread.
      let thread = Thread.start(name: "compare") {
        guard let sum = try? Digest.of(request.body, .md5), !sum.isEmpty,
          hexadecimal(sum) == found.etag.value.lowercased()
        else { return completion(.failure(error)) }
        completion(.success(PutResult(etag: found.etag, versionID: found.versionID)))
      }
      if let thread { thread.detach() } else { completion(.failure(error)) }
    }
  }

  /// See `ObjectStore.copy` (S3: CopyObject).
  public func copy(
    _ request: CopyRequest, _ cancellation: Cancellation?, _ completion: @escaping StoreCompletion<PutResult>
  ) {
    guard checked(request.source, completion),
      checked(request.destination, request.attributes ?? ObjectAttributes(), completion)
    else { return }
    var wire = self.request(.put, request.destination)
    wire.deadlines = core.serverWorkDeadlines
    wire.headers.append(copySource(request.source))
    if let etag = request.sourceMatch { wire.headers.append(HTTPHeader("x-amz-copy-source-if-match", etag.quoted)) }
    wire.headers.append(HTTPHeader("x-amz-metadata-directive", request.attributes == nil ? "COPY" : "REPLACE"))
    if let attributes = request.attributes { wire.add(attributes) }
    let operation = Operation<PutResult?>("CopyObject", wire, limit: core.answerLimit) { response in
      response.parsedUnlessRefused(root: "CopyObjectResult") { document throws(XMLError) in
        guard let tag = document["ETag"], !tag.isEmpty else { return nil }
        return PutResult(etag: ETag(tag), versionID: MetadataParser.versionID(response.head))
      }
    }
    Exchange.run(core, operation, cancellation) { [self] result, _ in
      switch result {
      case .failure(let error): completion(.failure(error))
      case .success(let told?): completion(.success(told))
      case .success(nil):
        // rclone does not tell the tag of an object that was copied onto itself.
        head(request.destination, cancellation) { found in
          completion(found.map { PutResult(etag: $0.etag, versionID: $0.versionID) })
        }
      }
    }
  }

  func copySource(_ key: ObjectKey) -> HTTPHeader {
    HTTPHeader("x-amz-copy-source", "/\(percentEncoded(bucket))/\(percentEncoded(key.string, keepingSlash: true))")
  }
}

extension ObjectStoreError {
  /// A conditional write onto an object that is gone: some servers say 404 where others say 412.
  func asFailedCondition(_ condition: WriteCondition) -> ObjectStoreError {
    guard case .ifMatch = condition, code == .notFound else { return self }
    var error = self
    error.code = .preconditionFailed
    return error
  }
}

extension HTTPResponse {
  func putResult() -> Outcome<PutResult> {
    guard let etag = MetadataParser.etag(head) else { return .failed(corrupt("The tag is missing.")) }
    return .value(PutResult(etag: etag, versionID: MetadataParser.versionID(head)))
  }
}
