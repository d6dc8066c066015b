import FlyingFox
import FlyingSocks
import Foundation

/// Serves the control plane over HTTP on loopback.
struct ControlPlaneServer<Backend: BucketBackend>: HTTPHandler {
  let service: ControlPlaneService<Backend>

  /// No request of this interface is near this size.
  private static var bodyLimit: Int { 64 * 1024 }

  /// Starts to serve on a free port; returns the port and the task that serves.
  func start() async throws -> (port: UInt16, task: Task<Void, any Error>) {
    let server = HTTPServer(
      address: try .inet(ip4: "127.0.0.1", port: 0), timeout: 60, logger: .disabled, handler: self)
    let task = Task { try await server.run() }
    try await server.waitUntilListening(timeout: 10)
    guard case .ip4(_, let port) = await server.listeningAddress else {
      throw LoopbackHTTP.Failure(description: "the control plane does not listen")
    }
    return (port, task)
  }

  func handleRequest(_ request: HTTPRequest) async throws -> HTTPResponse {
    let reply: ControlPlaneReply
    do {
      var body = Data()
      for try await chunk in request.bodySequence {
        body.append(chunk)
        guard body.count <= Self.bodyLimit else { throw Refusal(413, "The body is too large.") }
      }
      reply = try await service.reply(
        method: request.method.rawValue, path: request.target.path(), apiKey: request.headers[HTTPHeader("X-API-Key")],
        body: body)
    } catch let refusal as Refusal {
      reply = try ControlPlaneReply(
        status: refusal.status, json: Outcome(success: false, message: refusal.message))
    } catch {
      reply = try ControlPlaneReply(
        status: 502, json: Outcome(success: false, message: "The storage server failed: \(error)"))
    }
    var headers: HTTPHeaders = [.contentType: reply.contentType]
    if let seconds = reply.retryAfter { headers[HTTPHeader("Retry-After")] = String(seconds) }
    return HTTPResponse(
      statusCode: HTTPStatusCode(reply.status, phrase: Self.phrase(reply.status)), headers: headers, body: reply.body)
  }

  private static func phrase(_ status: Int) -> String {
    switch status {
    case 200: "OK"
    case 201: "Created"
    case 401: "Unauthorized"
    case 404: "Not Found"
    case 405: "Method Not Allowed"
    case 409: "Conflict"
    case 413: "Content Too Large"
    case 422: "Unprocessable Content"
    case 502: "Bad Gateway"
    default: "Status"
    }
  }
}
