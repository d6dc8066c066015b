public import Basics
import HTTPTransport
public import ObjectStore

/// Multipart uploads (S3: "Uploading and copying objects using multipart upload").
extension S3Bucket {
  /// See `ObjectStore.createUpload` (S3: CreateMultipartUpload).
  public func createUpload(
    _ key: ObjectKey, attributes: ObjectAttributes, _ cancellation: Cancellation?,
    _ completion: @escaping StoreCompletion<MultipartUpload>
  ) {
    guard checked(key, attributes, completion) else { return }
    var wire = request(.post, key, [("uploads", "")])
    wire.add(attributes)
    let operation = Operation<MultipartUpload>(.createUpload, wire, limit: core.answerLimit) { response in
      // The second name is rclone's.
      response.parsedUnlessRefused(root: "InitiateMultipartUploadResult", "InitiateMultipartUpload") {
        document throws(XMLError) in
        MultipartUpload(key: key, id: try document.required("UploadId"))
      }
    }
    Exchange.run(core, metrics, operation, cancellation) { result, _ in completion(result) }
  }

  /// See `ObjectStore.uploadPart` (S3: UploadPart).
  public func uploadPart(
    _ upload: MultipartUpload, number: Int, body: ObjectBody, _ cancellation: Cancellation?,
    _ completion: @escaping StoreCompletion<UploadedPart>
  ) {
    guard checkedPart(upload, number, completion) else { return }
    var wire = request(.put, upload.key, partQuery(upload, number))
    let sent: SentBody
    do throws(ObjectStoreError) { sent = try SentBody(body, core) } catch {
      return completion(.failure(error.about(bucket, upload.key)))
    }
    sent.add(to: &wire)
    let operation = Operation<UploadedPart>(.uploadPart, wire, limit: core.answerLimit) { response in
      sent.outcome(response) { UploadedPart(number: number, etag: $0, size: body.length) }
    }
    Exchange.run(core, metrics, operation, cancellation) { [self] result, _ in
      guard case .failure(let error) = result, error.code == .corruptResponse, let tag = sent.mismatch else {
        return completion(result.ofUpload())
      }
      probeTags(beside: upload.key, cancellation) { areOpaque in
        completion(areOpaque ? .success(UploadedPart(number: number, etag: tag, size: body.length)) : result)
      }
    }
  }

  /// Finds out whether the server's tags are no sums at all. A part cannot be read back, but a small object can:
  /// putting one does the rest.
  private func probeTags(
    beside key: ObjectKey, _ cancellation: Cancellation?, _ completion: @escaping @Sendable (Bool) -> Void
  ) {
    let name = String(UInt64(core.random() * Double(1 << 53)), radix: 16)
    let directory = key.string.utf8.lastIndex(of: UInt8(ascii: "/")).map { String(key.string[...$0]) } ?? ""
    let scratch = ObjectKey("\(directory).waysfs-probe-\(name)")
    put(PutRequest(scratch, body: .bytes(Array(name.utf8)), condition: .ifAbsent), cancellation) { [self] result in
      let areOpaque = core.tagsAreOpaque
      // Somebody's object has that name: it is not ours to delete.
      if case .failure(let error) = result, error.code == .preconditionFailed { return completion(areOpaque) }
      delete(scratch, nil) { _ in completion(areOpaque) }
    }
  }

  /// See `ObjectStore.copyPart` (S3: UploadPartCopy).
  public func copyPart(
    _ upload: MultipartUpload, number: Int, from source: ObjectKey, range: ByteRange, sourceMatch: ETag?,
    _ cancellation: Cancellation?, _ completion: @escaping StoreCompletion<UploadedPart>
  ) {
    guard checked(source, completion), checkedPart(upload, number, completion) else { return }
    guard range.length > 0 else {
      let error = ObjectStoreError(.invalidRange, "The range is empty.", bucket: bucket, key: source)
      return completion(.failure(error))
    }
    var wire = request(.put, upload.key, partQuery(upload, number))
    wire.deadlines = core.serverWorkDeadlines
    wire.headers.append(copySource(source))
    wire.headers.append(HTTPHeader("x-amz-copy-source-range", "bytes=\(range.offset)-\(range.end - 1)"))
    if let sourceMatch { wire.headers.append(HTTPHeader("x-amz-copy-source-if-match", sourceMatch.quoted)) }
    let operation = Operation<UploadedPart>(.copyPart, wire, limit: core.answerLimit) { response in
      if response.body.isEmpty {
        // What rclone answers: it has taken the request for an UploadPart, and stored a part without bytes.
        return .failed(
          ObjectStoreError(.unsupported, "The server does not copy parts.", httpStatus: response.head.status))
      }
      return response.parsedUnlessRefused(root: "CopyPartResult") { document throws(XMLError) in
        UploadedPart(number: number, etag: ETag(try document.required("ETag")), size: range.length)
      }
    }
    Exchange.run(core, metrics, operation, cancellation) { result, _ in completion(result) }
  }

  /// See `ObjectStore.completeUpload` (S3: CompleteMultipartUpload).
  public func completeUpload(
    _ upload: MultipartUpload, parts: [UploadedPart], condition: WriteCondition, _ cancellation: Cancellation?,
    _ completion: @escaping StoreCompletion<PutResult>
  ) {
    let sorted = parts.sorted { $0.number < $1.number }
    guard !sorted.isEmpty, zip(sorted, sorted.dropFirst()).allSatisfy({ $0.number < $1.number }) else {
      let error = ObjectStoreError(
        .invalidRequest, "The list of parts is empty or names one twice.", bucket: bucket, key: upload.key)
      return completion(.failure(error))
    }
    var wire = request(.post, upload.key, [("uploadId", upload.id)])
    wire.deadlines = core.serverWorkDeadlines
    wire.add(condition)
    let list = sorted.map { part in
      "<Part><PartNumber>\(part.number)</PartNumber><ETag>\(xmlEscaped(part.etag.quoted))</ETag></Part>"
    }
    wire.setXML(
      "<?xml version=\"1.0\" encoding=\"UTF-8\"?>"
        + "<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\(list.joined())"
        + "</CompleteMultipartUpload>")
    let operation = Operation<PutResult>(.completeUpload, wire, limit: core.answerLimit) { response in
      response.parsedUnlessRefused(root: "CompleteMultipartUploadResult") { document throws(XMLError) in
        PutResult(etag: ETag(try document.required("ETag")), versionID: MetadataParser.versionID(response.head))
      }
    }
    Exchange.run(core, metrics, operation, cancellation) { [self] result, mayBeApplied in
      guard case .failure(let error) = result.ofUpload(condition) else { return completion(result) }
      // Words for "that upload is done", and those of servers that have no word for it.
      let isOver = [.noSuchUpload, .preconditionFailed, .conflict].contains(error.code)
      let mayBeOver = mayBeApplied && [.serverError, .invalidRequest].contains(error.code)
      guard isOver || mayBeOver, let expected = ETag.ofUpload(sorted) else { return completion(.failure(error)) }
      // An attempt whose answer was lost, now or before a restart, may have completed the upload: then the object has
      // the tag of these parts.
      head(upload.key, cancellation) { found in
        guard case .success(let metadata) = found, metadata.etag.value.lowercased() == expected.value else {
          return completion(.failure(error))
        }
        completion(.success(PutResult(etag: metadata.etag, versionID: metadata.versionID)))
      }
    }
  }

  /// See `ObjectStore.abortUpload` (S3: AbortMultipartUpload).
  public func abortUpload(
    _ upload: MultipartUpload, _ cancellation: Cancellation?, _ completion: @escaping StoreCompletion<Void>
  ) {
    let wire = request(.delete, upload.key, [("uploadId", upload.id)])
    let operation = Operation<Void>(.abortUpload, wire, limit: core.answerLimit) { _ in .value(()) }
    Exchange.run(core, metrics, operation, cancellation) { result, _ in
      let result = result.ofUpload()
      if case .failure(let error) = result, error.code == .noSuchUpload { return completion(.success(())) }
      completion(result)
    }
  }

  private func partQuery(_ upload: MultipartUpload, _ number: Int) -> [(name: String, value: String)] {
    [("partNumber", String(number)), ("uploadId", upload.id)]
  }

  private func checkedPart<Value>(
    _ upload: MultipartUpload, _ number: Int, _ completion: StoreCompletion<Value>
  ) -> Bool {
    guard (1...10_000).contains(number) else {
      let error = ObjectStoreError(
        .invalidRequest, "Part numbers go from 1 to 10,000.", bucket: bucket, key: upload.key)
      completion(.failure(error))
      return false
    }
    return checked(upload.key, completion)
  }
}

extension ETag {
  /// The tag S3 gives to an object made of parts: the MD5 of their MD5s, and their number. Nil when the parts' tags are
  /// not MD5s, as with some kinds of encryption.
  static func ofUpload(_ parts: [UploadedPart]) -> ETag? {
    var sums: [UInt8] = []
    for part in parts {
      guard let sum = part.etag.sum else { return nil }
      sums += sum
    }
    let sum = Digest.of(sums, .md5)
    return sum.isEmpty ? nil : ETag("\(hexadecimal(sum))-\(parts.count)")
  }
}

extension Result where Failure == ObjectStoreError {
  /// For requests about an upload: where a server has no word for it, "not found" means the upload, and with a
  /// condition on the object's version that version.
  func ofUpload(_ condition: WriteCondition = .none) -> Self {
    mapError { error in
      guard error.code == .notFound else { return error }
      if error.serverCode == "NoSuchKey", condition != .none { return error.asFailedCondition(condition) }
      var error = error
      error.code = .noSuchUpload
      return error
    }
  }
}
