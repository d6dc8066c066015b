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
    let body: SentBody
    do throws(ObjectStoreError) { body = try SentBody(request.body, core) } catch {
      return completion(.failure(error.about(bucket, request.key)))
    }
    var plain = self.request(.put, request.key)
    plain.add(request.attributes)
    body.add(to: &plain)
    var operation = Operation<PutResult>(.putObject, plain, limit: core.answerLimit) { response in
      body.outcome(response) { PutResult(etag: $0, versionID: MetadataParser.versionID(response.head)) }
    }
    operation.request = { [plain] in
      var wire = plain
      // What was stored wrongly is ours, and all that may be replaced by the attempt that follows.
      let replaced = body.mismatch.map { WriteCondition.ifMatch($0) }
      wire.add(request.condition == .none ? .none : replaced ?? request.condition)
      return wire
    }
    // Another write is under way. It may be an earlier attempt of this one.
    if request.condition != .none { operation.alsoRetried = ["ConditionalRequestConflict", "OperationAborted"] }
    Exchange.run(core, metrics, operation, cancellation) { [self] result, mayBeApplied in
      guard case .failure(let error) = result else { return completion(result) }
      let final = error.asFailedCondition(request.condition)
      // With a wrong tag too: the next attempt was made to replace a version that may never have been.
      let isOwn = (mayBeApplied || body.mismatch != nil) && final.code == .preconditionFailed
      let isUnproven = body.mismatch != nil && final.code == .corruptResponse
      guard isOwn || isUnproven else { return completion(.failure(final)) }
      readBack(request, body, final, cancellation, completion)
    }
  }

  /// Looks at what is stored when the answers leave it open: an attempt whose answer was lost may be the very write
  /// that the condition now trips over, and a tag that is not of the bytes sent may be no sum at all. Reports success
  /// when the object is, beyond doubt, what was sent; `error` otherwise.
  private func readBack(
    _ request: PutRequest, _ body: SentBody, _ error: ObjectStoreError, _ cancellation: Cancellation?,
    _ completion: @escaping StoreCompletion<PutResult>
  ) {
    head(request.key, cancellation) { [self] result in
      guard !body.sum.isEmpty, case .success(let found) = result, found.size == request.body.length,
        found.canHave(request.attributes)
      else { return completion(.failure(error)) }
      let isRefused = error.code == .preconditionFailed
      if isRefused || body.mismatch == nil, found.etag.isOf(sum: body.sum) == true {
        return completion(.success(PutResult(etag: found.etag, versionID: found.versionID)))
      }
      let sink = SummingSink()
      get(GetRequest(request.key, ifMatch: found.etag), into: sink, cancellation) { [core] result in
        guard case .success(let stored) = result, sink.finish() == body.sum else {
          return completion(.failure(error))
        }
        if body.mismatch != nil { core.noteOpaqueTags() }
        completion(.success(PutResult(etag: stored.etag, versionID: stored.versionID)))
      }
    }
  }

  /// See `ObjectStore.confirms`.
  public func confirms(_ etag: ETag, _ body: ObjectBody) -> Bool? {
    guard etag.sum != nil, let sum = try? Digest.of(body, .md5), let isEqual = etag.isOf(sum: sum) else { return nil }
    // Equal is a proof even where tags are known to be something else.
    return isEqual ? true : core.tagsAreOpaque ? nil : false
  }

  /// See `ObjectStore.expectedTag`.
  public func expectedTag(of body: ObjectBody) -> ETag? {
    guard !core.tagsAreOpaque, let sum = try? Digest.of(body, .md5), !sum.isEmpty else { return nil }
    return ETag(hexadecimal(sum))
  }

  /// See `ObjectStore.expectedTag`.
  public func expectedTag(ofParts parts: [UploadedPart]) -> ETag? {
    core.tagsAreOpaque ? nil : ETag.ofUpload(parts)
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
    if var attributes = request.attributes {
      attributes.storageClass = nil
      wire.add(attributes)
    }
    wire.add(storageClass: request.storageClass)
    let operation = Operation<PutResult?>(.copyObject, wire, limit: core.answerLimit) { response in
      response.parsedUnlessRefused(root: "CopyObjectResult") { document throws(XMLError) in
        guard let tag = document["ETag"], !tag.isEmpty else { return nil }
        return PutResult(etag: ETag(tag), versionID: MetadataParser.versionID(response.head))
      }
    }
    Exchange.run(core, metrics, operation, cancellation) { [self] result, mayBeApplied in
      switch result {
      case .failure(let error):
        guard mayBeApplied, error.code == .preconditionFailed, request.source == request.destination,
          let attributes = request.attributes, !attributes.userMetadata.isEmpty
        else { return completion(.failure(error)) }
        // A copy in place may have another tag than what it was made of, and then the next attempt fails on the copy.
        head(request.destination, cancellation) { found in
          guard case .success(let metadata) = found, metadata.has(attributes) else {
            return completion(.failure(error))
          }
          completion(.success(PutResult(etag: metadata.etag, versionID: metadata.versionID)))
        }
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

extension ObjectMetadata {
  /// Whether the object may have been stored with these attributes. Equal bytes are no proof of an own write where two
  /// machines create the same empty file; its times are. A server that keeps no metadata at all cannot tell.
  fileprivate func canHave(_ attributes: ObjectAttributes) -> Bool { userMetadata.isEmpty || has(attributes) }

  /// Whether the object was stored with these attributes.
  fileprivate func has(_ attributes: ObjectAttributes) -> Bool {
    attributes.userMetadata.allSatisfy { userMetadata[$0.key] == $0.value }
  }
}
