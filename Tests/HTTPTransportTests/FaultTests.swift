import Basics
import Glibc
import HTTPTransport
import Testing

/// Servers and networks that do not do what they should.
@Suite struct FaultTests {
  private func failure(
    _ method: HTTPMethod = .get, limit: Int = 1 << 20, _ script: @escaping @Sendable (Connection) throws -> Void
  ) throws -> HTTPError {
    let server = ScriptedServer(script)
    return try withServer(server) { transport in
      let error = try transport.failure(HTTPRequest(method, server.url("/?signature=geheim")), limit: limit)
      #expect(!error.neverSent || error.code == .invalidRequest)
      #expect(!error.message.contains("geheim"))
      #expect(error.message.hasPrefix("\(method.rawValue) 127.0.0.1:\(server.port): "))
      return error
    }
  }

  /// Answers with this text and closes.
  private func failure(answering text: String, limit: Int = 1 << 20) throws -> HTTPError {
    try failure(limit: limit) { connection in
      _ = try connection.readRequest()
      try connection.write(text)
    }
  }

  @Test(arguments: [
    "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort",
    "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzzz\r\nhello\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloXX0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFFF\r\nhello",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
  ])
  func bodiesThatEndEarlyOrBreak(text: String) throws {
    try #expect(failure(answering: text).code == .truncated)
  }

  @Test(arguments: [
    "garbage garbage garbage\r\n\r\n", "\0\u{1}\u{2}\u{3}\r\n\r\n", "SSH-2.0-OpenSSH_9.2\r\n", "HTTP/1.1 abc\r\n\r\n",
    "HTTP/1.1 200 OK\r\nno colon here\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello", "HTTP/1.1 200 OK\r\nA: \0\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
    "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nhello", "HTTP/9.9 200 OK\r\n\r\n",
    "HTTP/1.1 101 Switching\r\n\r\nhello",
  ])
  func answersThatAreNotHTTP(text: String) throws {
    let error = try failure(answering: text)
    #expect(error.code == .malformed, "\(error)")
  }

  @Test func aConnectionThatClosesWithoutAnAnswer() throws {
    for text in ["", "HTTP/1.1 2", "HTTP/1.1 200 OK\r\nA: b\r\n", "HTTP/1.1 100 Continue\r\n\r\n"] {
      let code = try failure(answering: text).code
      #expect(code == .connectionLost || (code == .malformed && !text.isEmpty), "\(text): \(code)")
    }
  }

  @Test func resets() throws {
    let before = try failure { connection in
      _ = try connection.readRequest()
      connection.reset()
    }
    #expect(before.code == .connectionLost)
    let midBody = try failure { connection in
      _ = try connection.readRequest()
      try connection.write("HTTP/1.1 200 OK\r\n\r\nsome bytes")
      connection.reset()
    }
    #expect(midBody.code == .truncated || midBody.code == .connectionLost)
  }

  @Test func endlessHeads() throws {
    let manyFields = try failure { connection in
      _ = try connection.readRequest()
      try connection.write("HTTP/1.1 200 OK\r\n")
      while true { try connection.write("X-Field: value\r\n") }
    }
    #expect(manyFields.code == .malformed)
    let manyInterim = try failure { connection in
      _ = try connection.readRequest()
      while true { try connection.write("HTTP/1.1 100 Continue\r\n\r\n") }
    }
    #expect(manyInterim.code == .malformed)
  }

  @Test(arguments: ["", "HTTP/1.1 200 OK\r\nX: "])
  func anEndlessLine(start: String) throws {
    let error = try failure { connection in
      _ = try connection.readRequest()
      try connection.write(start)
      let piece = [UInt8](repeating: UInt8(ascii: "x"), count: 10_000)
      while true { try connection.write(piece) }
    }
    #expect(error.code == .malformed, "\(error)")
  }

  @Test func endlessTrailers() throws {
    let error = try failure { connection in
      _ = try connection.readRequest()
      try connection.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n")
      while true { try connection.write("X-Field: value\r\n") }
    }
    #expect(error.code == .malformed || error.code == .truncated, "\(error)")
  }

  @Test func endlessBodiesStopAtTheLimit() throws {
    let endless = try failure { connection in
      _ = try connection.readRequest()
      try connection.write("HTTP/1.1 200 OK\r\n\r\n")
      let piece = [UInt8](repeating: 1, count: 100_000)
      while true { try connection.write(piece) }
    }
    #expect(endless.code == .bodyTooLarge)
    // Refused by its announced length, before the bytes come.
    let announced = try failure(answering: "HTTP/1.1 200 OK\r\nContent-Length: 104857600\r\n\r\n")
    #expect(announced.code == .bodyTooLarge)
  }

  /// Bytes after the end of a response must not be taken for the response to the next request.
  @Test(arguments: [HTTPMethod.head, .get, .put])
  func bytesAfterTheEndOfAResponse(method: HTTPMethod) throws {
    let server = ScriptedServer { connection in
      while let request = try connection.readRequest() {
        let right = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n" + (request.line.hasPrefix("HEAD") ? "" : "right")
        let isFirst = request.line.contains("first")
        try connection.write(right + (isFirst ? "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong" : ""))
      }
    }
    try withServer(server) { transport in
      for _ in 0..<20 {
        _ = transport.start(HTTPRequest(method, server.url("/first"))).next()
        try #expect(transport.exchange(HTTPRequest(.get, server.url("/second"))).body == Array("right".utf8))
      }
    }
  }

  @Test func aLargeAnnouncementReservesNothing() throws {
    let text = "HTTP/1.1 200 OK\r\nContent-Length: 9000000000000000000\r\n\r\nhello"
    try #expect(failure(answering: text, limit: .max).code == .truncated)
  }

  @Test func aReceiverThatRefuses() throws {
    let server = ScriptedServer(answering: { _ in "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello" })
    try withServer(server) { transport in
      let outcome = Reports<Outcome>()
      transport.send(
        HTTPRequest(.get, server.url()), cancellation: nil, destination: { _ in .deliver { _ in false } },
        completion: { outcome.report($0) })
      guard case .failure(let error) = try #require(outcome.next()) else { throw error(at: "success") }
      #expect(error.code == .rejected)
    }
  }

  private func error(at what: String) -> HTTPError { HTTPError(.malformed, what) }

  @Test func refusalBeforeTheRequestIsSent() throws {
    let server = ScriptedServer { connection in
      _ = try connection.readHead()
      try connection.write("HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno")
      try connection.readToEnd()
    }
    try withServer(server) { transport in
      let response = try transport.exchange(HTTPRequest(.put, server.url(), body: .bytes(pattern(20 << 20))))
      #expect(response.head.status == 403)
      #expect(response.body == Array("no".utf8))
    }
  }

  @Test func successBeforeTheRequestIsSentIsNone() throws {
    let server = ScriptedServer { connection in
      _ = try connection.readHead()
      try connection.write("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    }
    try withServer(server) { transport in
      let error = try transport.failure(HTTPRequest(.put, server.url(), body: .bytes(pattern(20 << 20))))
      #expect([.connectionLost, .truncated].contains(error.code), "\(error)")
    }
  }

  @Test func nobodyListens() throws {
    let transport = try HTTPTransport()
    let error = try transport.failure(HTTPRequest(.put, "http://127.0.0.1:\(unusedPort())/", body: .bytes([1])))
    #expect(error.code == .unreachable)
    #expect(error.neverSent)
  }

  @Test func namesThatDoNotResolve() throws {
    let transport = try HTTPTransport()
    // More than once: a handle that is used again must not remember the failure.
    for _ in 0..<3 {
      let error = try transport.failure(HTTPRequest(.get, "http://no-such-host.invalid/?geheim"))
      #expect(error.code == .unresolved)
      #expect(error.neverSent)
      #expect(!error.message.contains("geheim"))
    }
  }

  @Test func invalidRequestsFailOnTheSpot() throws {
    let transport = try HTTPTransport()
    for url in ["", "gopher://a/", "http://u:p@a/", "http://127.0.0.1:99999/", "http://[::1/", "http://a:b:c/"] {
      try #expect(transport.failure(HTTPRequest(.get, url)).code == .invalidRequest, "\(url)")
    }
  }

  /// A kept connection dies when the next request has been read; only a request that changes nothing is sent again.
  @Test(arguments: [HTTPMethod.get, .head, .put, .post, .delete], [0, 200_000])
  func requestsThatMayHaveBeenAppliedAreNotRepeated(method: HTTPMethod, bodyLength: Int) throws {
    let seen = Reports<String>()
    let server = ScriptedServer { connection in
      guard let first = try connection.readRequest() else { return }
      seen.report(first.line)
      try connection.write("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
      if let second = try connection.readRequest() { seen.report(second.line) }
    }
    try withServer(server) { transport in
      try #expect(transport.exchange(HTTPRequest(.get, server.url("/1"))).head.status == 200)
      let changes = method != .get && method != .head
      let body = changes ? HTTPBody.bytes(pattern(bodyLength)) : .none
      let outcome = try #require(transport.start(HTTPRequest(method, server.url("/2"), body: body)).next())
      if changes {
        guard case .failure(let error) = outcome else { throw error(at: "success") }
        #expect(error.code == .connectionLost)
        #expect(!error.neverSent)
        #expect(seen.all.count == 2)
      } else {
        try #expect(outcome.get().head.status == 200)
        #expect(seen.all.count == 3)
      }
    }
  }
}
