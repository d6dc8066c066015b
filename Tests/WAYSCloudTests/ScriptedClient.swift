import Basics
import HTTPTransport
import Synchronization

/// A transport that answers from a script and never waits.
final class ScriptedClient: HTTPClient {
  enum Step: Sendable {
    case answer(Int, String, [HTTPHeader] = [])
    case fail(HTTPError)
  }

  private struct State {
    var steps: [Step]
    var requests: [HTTPRequest] = []
    var waits: [Double] = []
  }

  private let state: Mutex<State>
  private let onSchedule: @Sendable () -> Void

  init(_ steps: [Step], onSchedule: @escaping @Sendable () -> Void = {}) {
    state = Mutex(State(steps: steps))
    self.onSchedule = onSchedule
  }

  var requests: [HTTPRequest] { state.withLock { $0.requests } }
  var waits: [Double] { state.withLock { $0.waits } }
  var left: Int { state.withLock { $0.steps.count } }

  func send(
    _ request: HTTPRequest, cancellation: Cancellation?,
    destination: @escaping @Sendable (HTTPResponseHead) -> HTTPBodyDestination,
    completion: @escaping Completion<HTTPResponse, HTTPError>
  ) {
    let step: Step? = state.withLock { state in
      state.requests.append(request)
      return state.steps.isEmpty ? nil : state.steps.removeFirst()
    }
    switch step {
    case .answer(let status, let text, let headers):
      let head = HTTPResponseHead(status: status, headers: headers)
      guard case .collect(let limit) = destination(head) else {
        completion(.failure(HTTPError(.rejected, "the body is not collected")))
        return
      }
      let body = Array(text.utf8)
      completion(
        body.count <= limit
          ? .success(HTTPResponse(head: head, body: body)) : .failure(HTTPError(.bodyTooLarge, "too large")))
    case .fail(let error):
      completion(.failure(error))
    case nil:
      completion(.failure(HTTPError(.invalidRequest, "the script has ended")))
    }
  }

  func schedule(after seconds: Double, _ work: @escaping @Sendable () -> Void) {
    state.withLock { $0.waits.append(seconds) }
    onSchedule()
    work()
  }
}

extension HTTPRequest {
  var bodyText: String {
    guard case .bytes(let bytes) = body else { return "" }
    return String(decoding: bytes, as: UTF8.self)
  }

  func header(_ name: String) -> String? { headers.first { $0.name == name }?.value }
}
