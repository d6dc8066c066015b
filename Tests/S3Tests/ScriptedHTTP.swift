import Basics
import HTTPTransport
import Logging
import ObjectStore
import Synchronization

@testable import S3

/// A transport that answers from a script, on the caller's thread.
final class ScriptedHTTP: HTTPClient {
  struct Answer: Sendable {
    var status = 200
    var headers: [HTTPHeader] = []
    var body: [UInt8] = []
    /// What goes wrong after the body; without a status before the head.
    var error: HTTPError?
    var hangs = false

    static func ok(_ headers: [HTTPHeader] = [], _ body: String = "") -> Answer {
      Answer(status: 200, headers: headers, body: Array(body.utf8))
    }

    static func refusal(_ status: Int, _ code: String, _ extra: String = "", _ headers: [HTTPHeader] = []) -> Answer {
      Answer(
        status: status, headers: headers,
        body: Array("<Error><Code>\(code)</Code><Message>said \(code)</Message>\(extra)</Error>".utf8))
    }

    static func failure(_ code: HTTPError.Code, neverSent: Bool = false) -> Answer {
      Answer(status: 0, error: HTTPError(code, "scripted", neverSent: neverSent))
    }

    static let hang = Answer(hangs: true)
  }

  typealias Script = @Sendable (_ request: HTTPRequest, _ number: Int) -> Answer

  private struct State {
    var requests: [HTTPRequest] = []
    var delays: [Double] = []
    var timers: [@Sendable () -> Void] = []
  }

  private let script: Script
  private let manualTimers: Bool
  private let pieceSize: Int
  private let state = Mutex(State())

  init(manualTimers: Bool = false, pieceSize: Int = 7, _ script: @escaping Script) {
    self.script = script
    self.manualTimers = manualTimers
    self.pieceSize = pieceSize
  }

  /// Answers one after the other; the last one again and again.
  convenience init(_ answers: Answer...) {
    self.init { _, number in answers[min(number, answers.count) - 1] }
  }

  var requests: [HTTPRequest] { state.withLock { $0.requests } }
  var delays: [Double] { state.withLock { $0.delays } }
  var pendingTimers: Int { state.withLock { $0.timers.count } }

  func fireTimers() {
    let timers = state.withLock { state in
      defer { state.timers = [] }
      return state.timers
    }
    for timer in timers { timer() }
  }

  func schedule(after seconds: Double, _ work: @escaping @Sendable () -> Void) {
    state.withLock { state in
      state.delays.append(seconds)
      if manualTimers { state.timers.append(work) }
    }
    if !manualTimers { work() }
  }

  func send(
    _ request: HTTPRequest, cancellation: Cancellation?,
    destination: @escaping @Sendable (HTTPResponseHead) -> HTTPBodyDestination,
    completion: @escaping Completion<HTTPResponse, HTTPError>
  ) {
    let number = state.withLock { state in
      state.requests.append(request)
      return state.requests.count
    }
    let answer = script(request, number)
    if answer.hangs {
      cancellation?.addHandler { completion(.failure(HTTPError(.cancelled, "cancelled"))) }
      return
    }
    guard answer.status != 0 else { return completion(.failure(answer.error ?? HTTPError(.malformed, "no script"))) }
    completion(deliver(answer, destination))
  }

  private func deliver(
    _ answer: Answer, _ destination: (HTTPResponseHead) -> HTTPBodyDestination
  ) -> Result<HTTPResponse, HTTPError> {
    let head = HTTPResponseHead(status: answer.status, headers: answer.headers)
    switch destination(head) {
    case .collect(let limit):
      if answer.body.count > limit { return .failure(HTTPError(.bodyTooLarge, "too large")) }
      return answer.error.map { .failure($0) } ?? .success(HTTPResponse(head: head, body: answer.body))
    case .deliver(let receive):
      for start in stride(from: 0, to: answer.body.count, by: pieceSize) {
        let piece = Array(answer.body[start..<min(answer.body.count, start + pieceSize)])
        guard piece.withUnsafeBytes({ receive($0) }) else { return .failure(HTTPError(.rejected, "rejected")) }
      }
      let length = UInt64(answer.body.count)
      return answer.error.map { .failure($0) } ?? .success(HTTPResponse(head: head, bodyLength: length))
    }
  }
}

/// A bucket over a script, with a clock that stands still at 2013-05-24T00:00:00Z.
func scriptedBucket(
  _ http: ScriptedHTTP, endpoint: String = "http://storage.test", addressing: S3Configuration.Addressing = .path,
  retry: RetryPolicy = RetryPolicy(), budget: Int = 500, token: String? = nil
) throws -> S3Bucket {
  try scriptedClient(
    http, endpoint: endpoint, addressing: addressing, retry: retry, budget: budget, token: token
  ).bucket("bucket")
}

/// A client over a script, with such a clock.
func scriptedClient(
  _ http: ScriptedHTTP, endpoint: String = "http://storage.test", addressing: S3Configuration.Addressing = .path,
  retry: RetryPolicy = RetryPolicy(), budget: Int = 500, token: String? = nil
) throws -> S3Client {
  let configuration = try S3Configuration(
    endpoint: endpoint, region: "eu-north-1", addressing: addressing, retry: retry, retryBudget: budget)
  let credentials = S3Credentials(accessKeyID: "AKID", secretAccessKey: "SECRET", sessionToken: token)
  return S3Client(
    configuration: configuration, credentials: StaticCredentials(credentials), http: http,
    time: ManualClock(seconds: 1_369_353_600).timeSource, random: { 0.5 }, log: Logger(label: "test"))
}

/// The failure of work that must fail.
func failure<Value>(_ work: () throws(ObjectStoreError) -> Value) -> ObjectStoreError? {
  do throws(ObjectStoreError) {
    _ = try work()
    return nil
  } catch {
    return error
  }
}

extension HTTPRequest {
  func header(_ name: String) -> String? { headers.first { $0.name.lowercased() == name.lowercased() }?.value }

  var bodyText: String {
    if case .bytes(let bytes) = body { String(decoding: bytes, as: UTF8.self) } else { "" }
  }
}

/// Header fields of an object.
func objectHeaders(
  etag: String = "\"v1\"", length: Int? = nil, range: String? = nil, _ more: [HTTPHeader] = []
) -> [HTTPHeader] {
  var headers = [HTTPHeader("ETag", etag), HTTPHeader("Last-Modified", "Fri, 24 May 2013 00:00:00 GMT")]
  if let length { headers.append(HTTPHeader("Content-Length", String(length))) }
  if let range { headers.append(HTTPHeader("Content-Range", range)) }
  return headers + more
}
