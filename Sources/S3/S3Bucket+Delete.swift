public import Basics
import HTTPTransport
public import ObjectStore
import Synchronization

/// Deleting many.
extension S3Bucket {
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

  /// A server under load answers with success and refuses some keys: those are asked for again, like any other request
  /// that it has no time for.
  private func deleteTogether(
    _ keys: [ObjectKey], _ cancellation: Cancellation?,
    _ completion: @escaping StoreCompletion<[ObjectKey: ObjectStoreError]>
  ) {
    if keys.isEmpty { return completion(.success([:])) }
    let (bucket, region) = (bucket, core.builder.region)
    let left = LeftDeletions(keys)
    let operation = Operation<Void>(
      kind: .deleteObjects, bucket: bucket, request: { [self] in deletion(of: left.keys) },
      destination: { [limit = core.answerLimit] _ in .collect(limit: limit) },
      read: { response in
        do throws(XMLError) {
          let refusals = try response.refusedDeletions()
          left.note(refusals) { $1.error(asked: region, forKey: true).about(bucket, $0) }
          return refusals.values.first(where: \.hasTransientCode).map { .refused($0) } ?? .value(())
        } catch {
          return .failed(response.corrupt(error.message))
        }
      },
      progressed: { left.progressed() })
    Exchange.run(core, metrics, operation, cancellation) { result, _ in
      if case .failure(let error) = result, error.code == .cancelled || !left.isAnswered {
        return completion(.failure(error))
      }
      completion(.success(left.refused))
    }
  }

  private func deletion(of keys: [ObjectKey]) -> S3Request {
    var wire = request(.post, nil, [("delete", "")])
    let objects = keys.map { "<Object><Key>\(xmlEscaped($0.string))</Key></Object>" }.joined()
    wire.setXML(
      "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Delete xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">"
        + "<Quiet>true</Quiet>\(objects)</Delete>")
    if case .bytes(let bytes) = wire.body {
      wire.headers.append(HTTPHeader("Content-MD5", base64(Digest.of(bytes, .md5))))
    }
    return wire
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

/// What is left of a request to delete many keys. Thread-safe.
private final class LeftDeletions: Sendable {
  private struct State {
    /// What the next attempt asks for.
    var keys: [ObjectKey]
    /// Why keys were not deleted, the last time that they were asked for.
    var refused: [ObjectKey: ObjectStoreError] = [:]
    var isAnswered = false
    var hasProgressed = false
  }

  private let state: Mutex<State>

  init(_ keys: [ObjectKey]) { state = Mutex(State(keys: keys)) }

  var keys: [ObjectKey] { state.withLock { $0.keys } }
  var refused: [ObjectKey: ObjectStoreError] { state.withLock { $0.refused } }

  /// Whether the server has answered for each key.
  var isAnswered: Bool { state.withLock { $0.isAnswered } }

  /// Whether the last attempt left fewer than the one before.
  func progressed() -> Bool {
    state.withLock { state in
      defer { state.hasProgressed = false }
      return state.hasProgressed
    }
  }

  /// Takes in an answer: what is not in it is deleted.
  func note(_ refusals: [ObjectKey: Refusal], error: (ObjectKey, Refusal) -> ObjectStoreError) {
    let errors = Dictionary(uniqueKeysWithValues: refusals.map { ($0.key, error($0.key, $0.value)) })
    state.withLock { state in
      for key in state.keys { state.refused[key] = errors[key] }
      let left = state.keys.filter { refusals[$0]?.hasTransientCode ?? false }
      state.hasProgressed = left.count < state.keys.count
      state.keys = left
      state.isAnswered = true
    }
  }
}

extension HTTPResponse {
  /// The keys that were not deleted; one that is not there is none of them.
  fileprivate func refusedDeletions() throws(XMLError) -> [ObjectKey: Refusal] {
    var refusals: [ObjectKey: Refusal] = [:]
    for record in try records("Error", root: "DeleteResult").records {
      guard let name = record["Key"] else { throw XMLError(message: "A failed deletion has no key.") }
      let refusal = Refusal(of: record, head: head)
      if refusal.code != "NoSuchKey" { refusals[ObjectKey(name)] = refusal }
    }
    return refusals
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
