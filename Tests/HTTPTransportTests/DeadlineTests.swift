import Basics
import Glibc
import HTTPTransport
import Testing

@Suite struct DeadlineTests {
  /// Sends to a server that does `script` and then waits until the client is gone; returns the error and the seconds.
  private func failure(
    _ deadlines: HTTPDeadlines, _ method: HTTPMethod = .get, body: HTTPBody = .none, scheme: String = "http",
    _ script: @escaping @Sendable (Connection) throws -> Void, whenFailed: () -> Void = {}
  ) throws -> (error: HTTPError, seconds: Double) {
    let server = ScriptedServer { connection in
      try script(connection)
      try connection.readToEnd()
    }
    return try withServer(server) { transport in
      let url = server.url().replacing("http:", with: "\(scheme):")
      let start = TimeSource.system.monotonic
      let error = try transport.failure(HTTPRequest(method, url, body: body, deadlines: deadlines))
      whenFailed()
      return (error, Double(TimeSource.system.monotonic - start) / 1e9)
    }
  }

  @Test func silenceBeforeTheHeadIsAStall() throws {
    // Long enough for the request to leave.
    let (error, seconds) = try failure(HTTPDeadlines(stall: 1)) { _ = try $0.readRequest() }
    #expect(error.code == .stalled)
    #expect(!error.neverSent)
    #expect(seconds > 0.99 && seconds < 15)
  }

  @Test func silenceAfterAFastStartIsAStall() throws {
    let (error, seconds) = try failure(HTTPDeadlines(stall: 0.5)) { connection in
      _ = try connection.readRequest()
      try connection.write("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
      try connection.write(pattern(900_000))
    }
    #expect(error.code == .stalled)
    #expect(seconds > 0.49 && seconds < 15)
  }

  @Test func aServerThatDoesNotReadIsAStall() throws {
    let release = Reports<Void>()
    let (error, _) = try failure(HTTPDeadlines(stall: 0.5), .put, body: .bytes(pattern(20 << 20))) { connection in
      _ = try connection.readHead()
      _ = release.next()
    } whenFailed: {
      release.report(())
    }
    #expect(error.code == .stalled)
  }

  @Test func theTotalDeadline() throws {
    let (error, seconds) = try failure(HTTPDeadlines(stall: nil, total: 0.3)) { connection in
      _ = try connection.readRequest()
      try connection.write("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345")
    }
    #expect(error.code == .timedOut)
    #expect(seconds > 0.29 && seconds < 15)
  }

  @Test func aHandshakeThatHangs() throws {
    let (error, seconds) = try failure(HTTPDeadlines(connect: 0.3), scheme: "https") { _ in }
    #expect(error.code == .connectTimedOut)
    #expect(error.neverSent)
    #expect(seconds > 0.29 && seconds < 15)
  }

  @Test func aHandshakeThatHangsWithoutAConnectDeadline() throws {
    let (stalled, _) = try failure(HTTPDeadlines(connect: nil, stall: 0.3), scheme: "https") { _ in }
    #expect(stalled.code == .stalled)
    #expect(stalled.neverSent)
    let (timedOut, _) = try failure(HTTPDeadlines(connect: nil, stall: nil, total: 0.3), scheme: "https") { _ in }
    #expect(timedOut.code == .timedOut)
    #expect(timedOut.neverSent)
  }

  @Test func aConnectionThatIsNotAccepted() throws {
    let (listener, port) = listenOnLoopback(backlog: 0)
    // One fits into the queue of the listener; the kernel then drops what comes.
    let filler = connectToLoopback(port)
    defer {
      close(filler)
      close(listener)
    }
    let transport = try HTTPTransport()
    let request = HTTPRequest(.get, "http://127.0.0.1:\(port)/", deadlines: HTTPDeadlines(connect: 0.3))
    let error = try transport.failure(request)
    #expect(error.code == .connectTimedOut)
    #expect(error.neverSent)
  }

  /// The time in the queue does not count: the second starts when the first is over, which takes longer than the
  /// second's deadline.
  @Test func waitingInTheQueueDoesNotCount() throws {
    let server = ScriptedServer { connection in
      while let request = try connection.readRequest() {
        if !request.line.contains("hang") { try connection.write("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n") }
      }
    }
    var configuration = HTTPTransport.Configuration()
    configuration.connectionsPerHost = 1
    try withServer(server, configuration) { transport in
      let deadlines = HTTPDeadlines(connect: nil, stall: nil, total: 3)
      let first = transport.start(HTTPRequest(.get, server.url("/hang"), deadlines: deadlines))
      let short = HTTPDeadlines(connect: 2.5, stall: 2.5, total: 2.5)
      let second = transport.start(HTTPRequest(.get, server.url("/"), deadlines: short))
      #expect(throws: HTTPError.self) { try #require(first.next()).get() }
      let response = try #require(second.next()).get()
      #expect(response.head.status == 200)
    }
  }
}
