import Testing

@testable import HTTPTransport

@Suite struct RequestTargetTests {
  @Test func originIsSchemeHostAndPort() throws {
    let target = try RequestTarget(url: "HTTPS://S3.Example.com:8443/a/b?c=http://x/")
    #expect(target.origin == "https://s3.example.com:8443")
    #expect(target.authority == "S3.Example.com:8443")
    try #expect(RequestTarget(url: "http://a?x").origin == "http://a")
    try #expect(RequestTarget(url: "http://[::1]:80/").authority == "[::1]:80")
  }

  @Test func loopbackIsRecognised() throws {
    for host in ["localhost", "LOCALHOST:1", "a.localhost", "127.0.0.1:80", "127.255.0.3", "[::1]", "[::1]:9"] {
      try #expect(RequestTarget(url: "http://\(host)/").isLoopback, "\(host)")
    }
    for host in ["example.com", "127.0.0.1.example.com", "128.0.0.1", "localhost.example.com", "[::2]", "127.1.2.x"] {
      try #expect(!RequestTarget(url: "http://\(host)/").isLoopback, "\(host)")
    }
  }

  @Test(arguments: [
    "", "ftp://a/", "a/b", "http:/a", "http://", "http:///x", "http://?x", "http://u:p@a/", "http://a b/",
    "http://a/ b",
    "http://a/é", "http://a/\n", "http://a/#f", "http://a/\0", "http://a%20b/", "file:///etc/passwd", "http://a\\b/",
  ])
  func urlsThatCannotBeSentAsTheyStand(url: String) {
    let error = #expect(throws: HTTPError.self) { try RequestTarget(url: url) }
    #expect(error?.code == .invalidRequest)
    #expect(error?.neverSent == true)
  }

  @Test(arguments: [
    HTTPHeader("", "x"), HTTPHeader("a b", "x"), HTTPHeader("a:", "x"), HTTPHeader("é", "x"),
    HTTPHeader("A", "x\r\nB: y"), HTTPHeader("A", "x\n"), HTTPHeader("A", "\0"), HTTPHeader("host", "x"),
    HTTPHeader("Content-length", "1"), HTTPHeader("Transfer-Encoding", "chunked"), HTTPHeader("Connection", "close"),
    HTTPHeader("Expect", "100-continue"),
  ])
  func headersThatCannotBeSent(header: HTTPHeader) {
    let error = #expect(throws: HTTPError.self) { try RequestTarget(HTTPRequest(.get, "http://a/", headers: [header])) }
    #expect(error?.code == .invalidRequest)
  }

  @Test func ordinaryHeadersPass() throws {
    let headers = [HTTPHeader("x-amz-meta-name", "grün\t1"), HTTPHeader("A", "")]
    _ = try RequestTarget(HTTPRequest(.put, "http://a/", headers: headers))
  }

  @Test func bodiesNoOneCanSendAreRefused() {
    let body = HTTPBody.stream(length: 1 << 63) { _, _ in nil }
    #expect(throws: HTTPError.self) { try RequestTarget(HTTPRequest(.put, "http://a/", body: body)) }
  }

  @Test func getAndHeadHaveNoBody() throws {
    for method in [HTTPMethod.get, .head] {
      #expect(throws: HTTPError.self) { try RequestTarget(HTTPRequest(method, "http://a/", body: .bytes([1]))) }
      _ = try RequestTarget(HTTPRequest(method, "http://a/", body: .bytes([])))
    }
  }
}
