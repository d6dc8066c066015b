import Basics
import HTTPTransport
import Testing

@testable import WAYSCloud

private let key = "wc_0123456789"

private func plane(_ transport: ScriptedClient) throws -> ControlPlane {
  try ControlPlane(client: transport, apiKey: key, random: { 0.5 })
}

private func failure(_ work: () throws -> some Any) throws -> ControlPlaneError {
  try #require(#expect(throws: ControlPlaneError.self) { _ = try work() })
}

@Suite struct StatusTests {
  @Test(arguments: [
    (401, ControlPlaneError.Code.unauthorized), (403, .forbidden), (404, .notFound), (408, .timedOut),
    (409, .conflict), (400, .invalid), (422, .invalid), (418, .invalid), (500, .server), (501, .server),
    (301, .malformedResponse), (304, .malformedResponse), (999, .malformedResponse),
  ])
  func mapsStatuses(status: Int, code: ControlPlaneError.Code) throws {
    let transport = ScriptedClient([.answer(status, #"{"success":false,"message":"Said so."}"#)])
    let error = try failure { try plane(transport).deleteBucket(named: "abc") }
    #expect(error.code == code)
    #expect(error.status == status)
    #expect(code == .malformedResponse || error.message == "Said so.")
    #expect(transport.requests.count == 1)
  }

  @Test(arguments: [
    (#"{"message":"m"}"#, "m"), (#"{"detail":"d"}"#, "d"),
    (#"{"detail":[{"msg":"name too short"}]}"#, "name too short"),
    (#"{"detail":[{"loc":["body","tier"],"msg":"no such tier","type":"value_error"}]}"#, "tier: no such tier"),
    (#"{"detail":[{"loc":["body",0],"msg":"wrong"}]}"#, "wrong"),
    (#"{"error":"e"}"#, "e"), (#"{"error":{"message":"inner"}}"#, "inner"), (#"{"message":5,"detail":"d"}"#, "d"),
    (#""text""#, "text"), (#"{"message":"two\r\nlines\u0007 \u202ehere"}"#, "two lines here"),
  ])
  func findsTheMessage(body: String, expected: String) {
    #expect(serverMessage(Array(body.utf8), hiding: key) == expected)
  }

  @Test(arguments: ["", "<html>", "{}", "[]", "null", #"{"message":""}"#, #"{"message":" \n"}"#, "{"])
  func hasAMessageOfItsOwn(body: String) throws {
    #expect(serverMessage(Array(body.utf8), hiding: key) == nil)
    let error = try failure { try plane(ScriptedClient([.answer(404, body)])).bucket(named: "abc") }
    #expect(error.message == "There is no such bucket.")
  }

  @Test func cutsLongMessages() throws {
    let long = String(repeating: "x", count: 100_000)
    #expect(serverMessage(Array(#"{"message":"\#(long)"}"#.utf8), hiding: key)?.count == 300)
  }

  @Test(arguments: [
    "[]", "{", "", "null", #"{"buckets":5}"#, #"{"buckets":[{"size_bytes":1}]}"#, "{}",
    #"{"buckets":[{"name":"a","size_bytes":-1}]}"#, #"{"buckets":[{"name":"a","size_bytes":1e400}]}"#,
    #"{"buckets":[{"name":"a","object_count":18446744073709551616}]}"#,
  ])
  func refusesOtherAnswers(body: String) throws {
    let error = try failure { try plane(ScriptedClient([.answer(200, body)])).listBuckets() }
    #expect(error.code == .malformedResponse)
    #expect(error.status == 200)
  }

  @Test func aSuccessThatIsNoneIsAnError() throws {
    let body = #"{"success":false,"message":"Later."}"#
    let transport = ScriptedClient([.answer(200, body), .answer(200, body)])
    for error in [
      try failure { try plane(transport).createBucket(named: "abc") },
      try failure { try plane(transport).deleteBucket(named: "abc") },
    ] {
      #expect(error.code == .server)
      #expect(error.message == "Later.")
    }
  }

  @Test func limitsTheSizeOfAnAnswer() throws {
    let huge = "[" + String(repeating: " ", count: 10 * 1024 * 1024) + "]"
    let error = try failure { try plane(ScriptedClient([.answer(200, huge)])).listBuckets() }
    #expect(error.code == .malformedResponse)
  }

  @Test(arguments: [
    (HTTPError.Code.unreachable, ControlPlaneError.Code.unreachable), (.unresolved, .unreachable),
    (.tls, .unreachable), (.connectionLost, .unreachable), (.truncated, .unreachable), (.shutDown, .unreachable),
    (.bodyUnreadable, .unreachable), (.connectTimedOut, .timedOut), (.stalled, .timedOut), (.timedOut, .timedOut),
    (.malformed, .malformedResponse), (.rejected, .malformedResponse), (.bodyTooLarge, .malformedResponse),
    (.invalidRequest, .configuration), (.cancelled, .cancelled),
  ])
  func mapsTransferFailures(code: HTTPError.Code, expected: ControlPlaneError.Code) throws {
    let transport = ScriptedClient([.fail(HTTPError(code, "because"))])
    let error = try failure { try plane(transport).deleteBucket(named: "abc") }
    #expect(error.code == expected)
    #expect(error.status == nil)
    #expect(transport.requests.count == 1)
  }
}

@Suite struct RetryTests {
  private let list = #"{"buckets":[],"total":0}"#

  @Test func repeatsReadsWithGrowingWaits() throws {
    let transport = ScriptedClient([
      .fail(HTTPError(.connectionLost, "")), .answer(503, ""), .answer(500, ""), .answer(200, list),
    ])
    #expect(try plane(transport).listBuckets().buckets.isEmpty)
    #expect(transport.waits == [0.1, 0.2, 0.4])
  }

  @Test func givesUpAfterFourAttempts() throws {
    let transport = ScriptedClient(Array(repeating: .answer(503, #"{"message":"busy"}"#), count: 9))
    let error = try failure { try plane(transport).credentials() }
    #expect(error.code == .server)
    #expect(error.message == "busy")
    #expect(transport.requests.count == 4)
  }

  @Test func asOftenAsTold() throws {
    let transport = ScriptedClient(Array(repeating: .answer(503, ""), count: 9))
    let plane = try ControlPlane(client: transport, apiKey: key, attempts: 2, random: { 0.5 })
    _ = try failure { try plane.credentials() }
    #expect(transport.requests.count == 2)
  }

  @Test(arguments: [400, 401, 403, 404, 409, 422, 501, 301])
  func doesNotRepeatWhatWouldFailAgain(status: Int) throws {
    let transport = ScriptedClient([.answer(status, ""), .answer(200, list)])
    _ = try failure { try plane(transport).listBuckets() }
    #expect(transport.requests.count == 1)
  }

  @Test func waitsAsLongAsAsked() throws {
    let transport = ScriptedClient([.answer(429, "", [HTTPHeader("retry-after", "7")]), .answer(200, list)])
    _ = try plane(transport).listBuckets()
    #expect(transport.waits == [7.1])
  }

  @Test func tooManyRequestsAreAnErrorInTheEnd() throws {
    for call in [
      { (plane: ControlPlane) throws in _ = try plane.listBuckets() },
      { (plane: ControlPlane) throws in _ = try plane.deleteBucket(named: "abc") },
    ] {
      let transport = ScriptedClient(Array(repeating: .answer(429, #"{"message":"slowly"}"#), count: 9))
      let error = try failure { try call(plane(transport)) }
      #expect(error == ControlPlaneError(.rateLimited(retryAfter: nil), "slowly", status: 429))
      #expect(transport.requests.count == 4)
    }
  }

  @Test func reportsAWaitThatIsTooLong() throws {
    let transport = ScriptedClient([.answer(429, "", [HTTPHeader("Retry-After", "3600")]), .answer(200, list)])
    let error = try failure { try plane(transport).listBuckets() }
    #expect(error.code == .rateLimited(retryAfter: 3600))
    #expect(transport.waits.isEmpty)
  }

  @Test(arguments: [
    ("Wed, 21 Oct 2026 07:28:09 GMT", 9.0), ("Wed, 21 Oct 2026 07:27:00 GMT", 0), ("12", 12),
  ])
  func readsBothFormsOfRetryAfter(value: String, seconds: Double) {
    let head = HTTPResponseHead(
      status: 429, headers: [HTTPHeader("Date", "Wed, 21 Oct 2026 07:28:00 GMT"), HTTPHeader("Retry-After", value)])
    #expect(retryAfter(head) == seconds)
  }

  @Test(arguments: ["", "-1", "1e9", "nan", "Wed, 21 Oct 2026 07:28:00 GMT", "9999999999", "0x10", "1.5"])
  func ignoresOtherFormsOfRetryAfter(value: String) {
    #expect(retryAfter(HTTPResponseHead(status: 429, headers: [HTTPHeader("Retry-After", value)])) == nil)
  }

  @Test func repeatsAChangeOnlyWhenItWasNotSent() throws {
    let unsent = HTTPError(.unreachable, "", neverSent: true)
    let again = ScriptedClient([.fail(unsent), .answer(201, ""), .fail(unsent), .answer(200, "")])
    _ = try plane(again).createBucket(named: "abc")
    _ = try plane(again).deleteBucket(named: "abc")
    #expect(again.left == 0)
    let limited = ScriptedClient([.answer(429, "", [HTTPHeader("Retry-After", "2")]), .answer(201, "")])
    _ = try plane(limited).createBucket(named: "abc")
    #expect(limited.waits == [2.1])

    for step in [
      ScriptedClient.Step.fail(HTTPError(.connectionLost, "")), .fail(HTTPError(.stalled, "")), .answer(503, ""),
      .answer(502, ""), .answer(500, ""),
    ] {
      let once = ScriptedClient([step, .answer(201, "")])
      _ = try failure { try plane(once).createBucket(named: "abc") }
      #expect(once.left == 1)
    }
  }

  @Test func stopsWhenCancelledWhileItWaits() throws {
    let cancellation = Cancellation()
    let transport = ScriptedClient([.answer(503, ""), .answer(200, list)], onSchedule: { cancellation.cancel() })
    let error = try failure { try plane(transport).listBuckets(cancellation: cancellation) }
    #expect(error.code == .cancelled)
    #expect(transport.left == 1)
  }

  @Test func waitsStayInTheirLimits() throws {
    let rule = RetryRule(attempts: 100)
    for attempt in 1..<100 {
      let wait = try #require(
        rule.wait(afterAttempt: attempt, .idempotent, HTTPError(.unreachable, ""), random: 0.999))
      #expect(wait > 0 && wait < 5)
    }
    #expect(rule.wait(afterAttempt: 100, .idempotent, HTTPError(.unreachable, ""), random: 0) == nil)
  }
}

@Suite struct SecrecyTests {
  @Test func theKeyIsInNoDescription() throws {
    let plane = try plane(ScriptedClient([]))
    var dumped = ""
    dump(plane, to: &dumped)
    for text in ["\(plane)", String(reflecting: plane), dumped] { #expect(!text.contains(key)) }
  }

  @Test func theKeyIsInNoError() throws {
    for body in [
      #"{"message":"bad key \#(key), really \#(key)"}"#,
      // Cut in the middle of the key, it would still give most of it away.
      #"{"message":"\#(String(repeating: "x", count: 295))\#(key)"}"#,
    ] {
      let error = try failure { try plane(ScriptedClient([.answer(401, body)])).listBuckets() }
      #expect(!"\(error)".contains("wc_01"))
      #expect(error.code == .unauthorized)
    }
    let created = try plane(ScriptedClient([.answer(201, #"{"message":"\#(key)"}"#)])).createBucket(named: "abc")
    #expect(created.message == "[secret]")
  }

  @Test(arguments: ["k", "]", "[secret]", "s"])
  func hidingEndsForOddKeys(odd: String) {
    #expect(shown("[secret] k\(odd)k", hiding: odd)?.contains(odd) != true)
  }

  @Test func theSecretKeyIsInNoDescription() {
    let credentials = StorageCredentials(accessKeyID: "AK", secretAccessKey: "TOPSECRET", region: "r")
    var dumped = ""
    dump(credentials, to: &dumped)
    for text in ["\(credentials)", String(reflecting: credentials), dumped] {
      #expect(!text.contains("TOPSECRET") && text.contains("AK"))
    }
  }

  @Test func theSecretKeyIsInNoErrorOfTheDecoder() throws {
    let transport = ScriptedClient([.answer(200, #"{"access_key_id":"AK","secret_access_key":"TOPSECRET","#)])
    let error = try failure { try plane(transport).credentials() }
    #expect(!"\(error)".contains("TOPSECRET"))
  }
}
