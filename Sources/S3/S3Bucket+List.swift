public import Basics
import HTTPTransport
public import ObjectStore

/// Listing, and deleting many.
extension S3Bucket {
  /// See `ObjectStore.list` (S3: ListObjectsV2).
  public func list(
    _ request: ListRequest, _ cancellation: Cancellation?, _ completion: @escaping StoreCompletion<ListPage>
  ) {
    var query: [(name: String, value: String)] = [
      ("list-type", "2"), ("encoding-type", "url"), ("max-keys", String(min(max(request.limit, 1), 1000))),
      ("prefix", request.prefix),
    ]
    if request.delimited { query.append(("delimiter", "/")) }
    if let continuation = request.continuation {
      query.append(("continuation-token", continuation))
    } else if let after = request.startAfter {
      query.append(("start-after", after.string))
    }
    let operation = Operation<ListPage>(.listObjects, self.request(.get, nil, query), limit: core.answerLimit) {
      response in
      response.parsed { () throws(XMLError) in
        try parseXML(Array(withoutLeadingSpace(response.body)), into: ListingHandler()).finish(request)
      }
    }
    Exchange.run(core, metrics, operation, cancellation) { result, _ in completion(result) }
  }

  /// See `ObjectStore.deleteMany` (S3: DeleteObjects). Keys that XML cannot carry are deleted one by one.
  public func deleteMany(
    _ keys: [ObjectKey], _ cancellation: Cancellation?,
    _ completion: @escaping StoreCompletion<[ObjectKey: ObjectStoreError]>
  ) {
    guard keys.count <= 1000 else {
      let error = ObjectStoreError(
        .invalidRequest, "More than 1,000 keys cannot be deleted at once.", bucket: bucket)
      return completion(.failure(error))
    }
    let plainKeys = keys.filter { fitsXML($0.string) }
    let otherKeys = keys.filter { !fitsXML($0.string) }
    deleteTogether(plainKeys, cancellation) { [self] result in
      switch result {
      case .failure: completion(result)
      case .success(let failed): deleteSingly(otherKeys[...], failed, cancellation, completion)
      }
    }
  }

  private func deleteTogether(
    _ keys: [ObjectKey], _ cancellation: Cancellation?,
    _ completion: @escaping StoreCompletion<[ObjectKey: ObjectStoreError]>
  ) {
    if keys.isEmpty { return completion(.success([:])) }
    var wire = request(.post, nil, [("delete", "")])
    let objects = keys.map { "<Object><Key>\(xmlEscaped($0.string))</Key></Object>" }.joined()
    wire.setXML(
      "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Delete xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">"
        + "<Quiet>true</Quiet>\(objects)</Delete>")
    if case .bytes(let bytes) = wire.body {
      wire.headers.append(HTTPHeader("Content-MD5", base64(Digest.of(bytes, .md5))))
    }
    let (bucket, region) = (bucket, core.builder.region)
    let operation = Operation<[ObjectKey: ObjectStoreError]>(.deleteObjects, wire, limit: core.answerLimit) {
      response in
      response.parsed { () throws(XMLError) in
        let document = try response.records("Error", root: "DeleteResult")
        var failed: [ObjectKey: ObjectStoreError] = [:]
        for record in document.records {
          guard let name = record["Key"] else { throw XMLError(message: "A failed deletion has no key.") }
          let refusal = Refusal(of: record, head: response.head)
          if refusal.code == "NoSuchKey" { continue }
          failed[ObjectKey(name)] = refusal.error(asked: region, forKey: true).about(bucket, ObjectKey(name))
        }
        return failed
      }
    }
    Exchange.run(core, metrics, operation, cancellation) { result, _ in completion(result) }
  }

  private func deleteSingly(
    _ keys: ArraySlice<ObjectKey>, _ failed: [ObjectKey: ObjectStoreError], _ cancellation: Cancellation?,
    _ completion: @escaping StoreCompletion<[ObjectKey: ObjectStoreError]>
  ) {
    guard let key = keys.first else { return completion(.success(failed)) }
    delete(key, cancellation) { [self] result in
      var failed = failed
      if case .failure(let error) = result { failed[key] = error }
      deleteSingly(keys.dropFirst(), failed, cancellation, completion)
    }
  }
}

extension Refusal {
  /// The refusal of one of many, told in a record of a document.
  init(of record: [String: String], head: HTTPResponseHead) {
    self.init(head: head)
    code = record["Code"].map { plain($0, limit: 64) }
    message = record["Message"].map { plain($0, limit: 300) }
    // The record has no status of its own; 500 stands for "the server did not do it".
    status = 500
  }
}
