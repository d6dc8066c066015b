import Basics
import HTTPTransport
import SystemPackage
import Testing

/// Bodies in both directions and how responses are framed.
@Suite struct TransferTests {
  private static let ok = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"

  private func temporaryFile(_ bytes: [UInt8]) throws -> SharedDescriptor {
    let path = FilePath("/tmp/waysfs-http-test-\(UInt64.random(in: 0 ... .max))")
    let file = try FileDescriptor.open(
      path, .readWrite, options: [.create, .exclusiveCreate], permissions: .ownerReadWrite)
    // Nothing to clean up when the test fails.
    #expect(unlinked(path))
    let shared = SharedDescriptor(owning: file)
    try file.writeAll(bytes)
    return shared
  }

  /// Sends a body to a server that answers 200, and returns what arrived.
  private func upload(_ body: HTTPBody, method: HTTPMethod = .put) throws -> ReceivedRequest {
    let received = Reports<ReceivedRequest>()
    let server = ScriptedServer(answering: { request in
      received.report(request)
      return Self.ok
    })
    return try withServer(server) { transport in
      try #expect(transport.exchange(HTTPRequest(method, server.url(), body: body)).head.status == 200)
      return try #require(received.next())
    }
  }

  @Test(arguments: [1, 70_000, 20 << 20])
  func fileRangesArriveWhole(count: Int) throws {
    let bytes = pattern(count + 200)
    let file = try temporaryFile(bytes)
    let request = try upload(.file(file, offset: 100, length: UInt64(count)))
    #expect(request["Content-Length"] == "\(count)")
    #expect(request.body == Array(bytes[100..<100 + count]))
  }

  @Test func streamsAreAskedInOrderAndNeverForMore() throws {
    let bytes = pattern(20 << 20)
    let next = Reports<UInt64>()
    let request = try upload(
      .stream(length: UInt64(bytes.count)) { offset, buffer in
        #expect(offset == next.all.last ?? 0)
        #expect(UInt64(buffer.count) <= UInt64(bytes.count) - offset)
        let count = min(buffer.count, 300_001)
        bytes.withUnsafeBytes { buffer.copyMemory(from: .init(rebasing: $0[Int(offset)..<Int(offset) + count])) }
        next.report(offset + UInt64(count))
        return count
      }, method: .post)
    #expect(request.line == "POST / HTTP/1.1")
    #expect(request.body == bytes)
  }

  @Test func deleteWithoutBodyAnnouncesNone() throws {
    let request = try upload(.none, method: .delete)
    #expect(request.line == "DELETE / HTTP/1.1")
    #expect(request["Content-Length"] == nil)
  }

  @Test func putWithoutBodyAnnouncesZero() throws {
    try #expect(upload(.none)["Content-Length"] == "0")
  }

  @Test func headBringsFieldsAndNoBody() throws {
    let server = ScriptedServer(answering: { request in
      #expect(request.line == "HEAD /x HTTP/1.1")
      return "HTTP/1.1 200 OK\r\nContent-Length: 123456789\r\nETag: e\r\n\r\n"
    })
    try withServer(server) { transport in
      for _ in 0..<3 {
        let response = try transport.exchange(HTTPRequest(.head, server.url("/x")), limit: 0)
        #expect(response.head["Content-Length"] == "123456789")
        #expect(response.bodyLength == 0)
      }
    }
    #expect(server.accepted == 1)
  }

  @Test func connectionsAreKept() throws {
    let server = ScriptedServer(answering: { _ in "HTTP/1.1 404 No\r\nContent-Length: 2\r\n\r\nno" })
    try withServer(server) { transport in
      for _ in 0..<50 { try #expect(transport.exchange(HTTPRequest(.get, server.url())).head.status == 404) }
    }
    #expect(server.accepted == 1)
  }

  @Test func largeBodiesAreDeliveredInOrder() throws {
    let bytes = pattern(20 << 20)
    let server = ScriptedServer { connection in
      _ = try connection.readRequest()
      try connection.write("HTTP/1.1 200 OK\r\nContent-Length: \(bytes.count)\r\n\r\n")
      try connection.write(bytes)
    }
    try withServer(server) { transport in
      let pieces = Reports<[UInt8]>()
      let heads = Reports<HTTPResponseHead>()
      let outcome = Reports<Outcome>()
      transport.send(
        HTTPRequest(.get, server.url()), cancellation: nil,
        destination: { head in
          heads.report(head)
          return .deliver { piece in
            pieces.report(Array(piece))
            return true
          }
        }, completion: { outcome.report($0) })
      let response = try #require(outcome.next()).get()
      #expect(response.bodyLength == UInt64(bytes.count))
      #expect(response.body.isEmpty)
      #expect(pieces.all.reduce(into: []) { $0 += $1 } == bytes)
      #expect(heads.all.count == 1)
    }
  }

  @Test func chunkedBodiesAndTrailers() throws {
    let server = ScriptedServer(answering: { _ in
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n6\r\n world\r\n0\r\nX-Trailer: 1\r\n\r\n"
    })
    try withServer(server) { transport in
      for _ in 0..<2 {
        let response = try transport.exchange(HTTPRequest(.get, server.url()))
        #expect(response.body == Array("hello world".utf8))
        #expect(response.head["X-Trailer"] == nil)
      }
    }
    #expect(server.accepted == 1)
  }

  @Test func interimResponsesAreSkipped() throws {
    let server = ScriptedServer(answering: { _ in
      "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nETag: early\r\n\r\nHTTP/1.1 201 Made\r\nContent-Length: 1\r\n\r\nx"
    })
    try withServer(server) { transport in
      let response = try transport.exchange(HTTPRequest(.put, server.url(), body: .bytes(pattern(100_000))))
      #expect(response.head.status == 201)
      #expect(response.head["ETag"] == nil)
      #expect(response.body == [UInt8(ascii: "x")])
    }
  }

  @Test func compressedBodiesStayAsTheyAre() throws {
    let server = ScriptedServer(answering: { _ in
      "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nnope"
    })
    try withServer(server) { transport in
      try #expect(transport.exchange(HTTPRequest(.get, server.url())).body == Array("nope".utf8))
    }
  }

  @Test func redirectsAreNotFollowed() throws {
    let server = ScriptedServer(answering: { _ in
      "HTTP/1.1 307 Away\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"
    })
    try withServer(server) { transport in
      try #expect(transport.exchange(HTTPRequest(.get, server.url())).head.status == 307)
    }
  }

  @Test func aBodyUntilTheEndOfTheConnection() throws {
    let server = ScriptedServer { connection in
      _ = try connection.readRequest()
      try connection.write("HTTP/1.0 200 OK\r\n\r\nall there is")
    }
    try withServer(server) { transport in
      try #expect(transport.exchange(HTTPRequest(.get, server.url())).body == Array("all there is".utf8))
    }
  }

  @Test func collectingUpToTheLimitExactly() throws {
    let server = ScriptedServer(answering: { _ in "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello" })
    try withServer(server) { transport in
      try #expect(transport.exchange(HTTPRequest(.get, server.url()), limit: 5).bodyLength == 5)
      try #expect(transport.failure(HTTPRequest(.get, server.url()), limit: 4).code == .bodyTooLarge)
    }
  }

  @Test func filesThatEndEarlyAreNotSentAsIfWhole() throws {
    let file = try temporaryFile(pattern(100_000))
    let server = ScriptedServer(answering: { _ in Self.ok })
    try withServer(server) { transport in
      for offset in [1, 100_000, UInt64.max - 100_000] {
        let request = HTTPRequest(.put, server.url(), body: .file(file, offset: offset, length: 100_000))
        try #expect(transport.failure(request).code == .bodyUnreadable)
      }
    }
  }

  @Test(arguments: [nil, 0, -1, Int.max] as [Int?])
  func streamsThatFailOrLie(answer: Int?) throws {
    let server = ScriptedServer(answering: { _ in Self.ok })
    try withServer(server) { transport in
      let body = HTTPBody.stream(length: 100_000) { offset, buffer in offset == 0 ? min(50_000, buffer.count) : answer }
      try #expect(transport.failure(HTTPRequest(.put, server.url(), body: body)).code == .bodyUnreadable)
    }
  }
}
