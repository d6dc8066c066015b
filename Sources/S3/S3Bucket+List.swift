public import Basics
import HTTPTransport
public import ObjectStore

/// Listing.
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
}
