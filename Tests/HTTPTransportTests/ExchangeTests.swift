import Basics
import HTTPTransport
import Testing

@Suite struct ExchangeTests {
  @Test func getBringsStatusFieldsAndBody() throws {
    let server = ScriptedServer { connection in
      guard let request = try connection.readRequest() else { return }
      #expect(request.line == "GET /a%2fb/../c%20d?x=%e2&y HTTP/1.1")
      #expect(request["Range"] == "bytes=0-4")
      #expect(request["User-Agent"] == "waysfs")
      #expect(request["X-Empty"] == "")
      for name in ["Accept", "Accept-Encoding", "Expect", "Content-Length", "Content-Type"] {
        #expect(request[name] == nil)
      }
      try connection.write("HTTP/1.1 206 Partial\r\nETag: \"x\"\r\nX-Twice: 1\r\nX-Twice:  2 \r\n")
      try connection.write("Content-Length: 5\r\n\r\nhello")
    }
    try withServer(server) { transport in
      let request = HTTPRequest(
        .get, server.url("/a%2fb/../c%20d?x=%e2&y"),
        headers: [HTTPHeader("Range", "bytes=0-4"), HTTPHeader("X-Empty", "")])
      let response = try transport.exchange(request)
      #expect(response.head.status == 206)
      #expect(response.head["etag"] == "\"x\"")
      #expect(response.head.headers.filter { $0.name == "X-Twice" }.map(\.value) == ["1", "2"])
      #expect(response.body == Array("hello".utf8))
      #expect(response.bodyLength == 5)
    }
  }

  @Test(arguments: [HTTPMethod.put, .post, .delete], [0, 1, 64 * 1024, 64 * 1024 + 1, 3_000_000])
  func bodiesFromMemoryArriveWhole(method: HTTPMethod, count: Int) throws {
    let bytes = pattern(count)
    let received = Reports<ReceivedRequest>()
    let server = ScriptedServer(answering: { request in
      received.report(request)
      return "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    })
    try withServer(server) { transport in
      for _ in 0..<2 {
        let response = try transport.exchange(HTTPRequest(method, server.url(), body: .bytes(bytes)))
        #expect(response.head.status == 200)
        let request = try #require(received.next())
        #expect(request.line == "\(method.rawValue) / HTTP/1.1")
        #expect(request["Content-Length"] == "\(count)")
        #expect(request["Transfer-Encoding"] == nil)
        #expect(request["Content-Type"] == nil)
        #expect(request["Expect"] == nil)
        #expect(request.body == bytes)
      }
    }
    #expect(server.accepted == 1)
  }
}
