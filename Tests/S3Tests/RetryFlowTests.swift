import Basics
import HTTPTransport
import ObjectStore
import Synchronization
import Testing

@testable import S3

@Suite struct RetryFlowTests {
  static let transient: [ScriptedHTTP.Answer] = [
    .refusal(500, "InternalError"), .refusal(503, "SlowDown"), .refusal(503, "ServiceUnavailable"),
    ScriptedHTTP.Answer(status: 502), ScriptedHTTP.Answer(status: 504), ScriptedHTTP.Answer(status: 429),
    .refusal(400, "RequestTimeout"), .failure(.connectionLost), .failure(.unreachable, neverSent: true),
    .failure(.stalled), .failure(.timedOut), .failure(.connectTimedOut), .failure(.unresolved), .failure(.truncated),
  ]

  @Test(arguments: transient.indices)
  func transientFailuresAreRepeated(_ index: Int) throws {
    let http = ScriptedHTTP { _, number in number < 3 ? Self.transient[index] : .ok(objectHeaders(length: 5)) }
    #expect(try scriptedBucket(http).head("key").size == 5)
    #expect(http.requests.count == 3)
    #expect(http.delays == [0.05, 0.1])
  }

  @Test(arguments: [
    (ScriptedHTTP.Answer.refusal(503, "SlowDown"), ObjectStoreError.Code.throttled),
    (.refusal(500, "InternalError"), .serverError), (.failure(.connectionLost), .connectionFailed),
    (.failure(.stalled), .timedOut),
  ])
  func thePolicyEndsThem(_ answer: ScriptedHTTP.Answer, _ code: ObjectStoreError.Code) throws {
    let http = ScriptedHTTP(answer)
    let bucket = try scriptedBucket(http, retry: RetryPolicy(maximumAttempts: 4))
    let error = failure { () throws(ObjectStoreError) in try bucket.list(ListRequest(prefix: "", delimited: false)) }
    #expect(error?.code == code)
    #expect(error?.bucket == "bucket")
    #expect(http.requests.count == 4)
  }

  @Test(arguments: [
    (ScriptedHTTP.Answer.refusal(403, "AccessDenied"), ObjectStoreError.Code.accessDenied),
    (.refusal(403, "InvalidAccessKeyId"), .invalidCredentials),
    (.refusal(403, "SignatureDoesNotMatch"), .invalidCredentials),
    (.refusal(404, "NoSuchBucket"), .noSuchBucket), (.refusal(404, "NoSuchKey"), .notFound),
    (.refusal(412, "PreconditionFailed"), .preconditionFailed), (.refusal(409, "OperationAborted"), .conflict),
    (.refusal(409, "ConditionalRequestConflict"), .conflict), (.refusal(400, "KeyTooLongError"), .nameTooLong),
    (.refusal(400, "EntityTooLarge"), .invalidSize), (.refusal(501, "NotImplemented"), .unsupported),
    (.refusal(400, "InvalidRequest"), .invalidRequest), (.failure(.tls), .tlsFailed),
    (.failure(.malformed), .corruptResponse), (.failure(.bodyUnreadable), .localReadFailed),
    (.failure(.shutDown), .cancelled), (ScriptedHTTP.Answer(status: 302), .wrongRegion),
    (ScriptedHTTP.Answer(status: 401), .invalidCredentials), (ScriptedHTTP.Answer(status: 100), .corruptResponse),
    (ScriptedHTTP.Answer(status: 404, body: Array("<html>not found".utf8)), .notFound),
  ])
  func finalFailuresAreNotRepeated(_ answer: ScriptedHTTP.Answer, _ code: ObjectStoreError.Code) throws {
    let http = ScriptedHTTP(answer)
    let bucket = try scriptedBucket(http)
    let error = failure { () throws(ObjectStoreError) in try bucket.put(PutRequest("key", body: .bytes([1]))) }
    #expect(error?.code == code)
    #expect(error?.key == "key")
    #expect(http.requests.count == 1)
  }

  @Test func errorsCarryWhatTheServerSaid() throws {
    let http = ScriptedHTTP(
      .refusal(403, "AccessDenied", "<RequestId>R1</RequestId>", [HTTPHeader("X-Amz-Request-Id", "R2")]))
    let bucket = try scriptedBucket(http)
    let error = failure { () throws(ObjectStoreError) in try bucket.get(GetRequest("key")) }
    #expect(error?.message == "said AccessDenied")
    #expect(error?.serverCode == "AccessDenied")
    #expect(error?.requestID == "R2")
    #expect(error?.httpStatus == 403)
  }

  @Test func retryAfterIsWaitedFor() throws {
    for (value, wait) in [("3", 3.0), ("Fri, 24 May 2013 00:00:09 GMT", 9), ("86400", 30), ("soon", 0.05)] {
      let http = ScriptedHTTP { _, number in
        number == 1 ? .refusal(503, "SlowDown", "", [HTTPHeader("Retry-After", value)]) : .ok(objectHeaders(length: 1))
      }
      _ = try scriptedBucket(http).head("key")
      #expect(http.delays == [wait])
    }
  }

  @Test func theBudgetIsSharedAndStopsRetries() throws {
    let http = ScriptedHTTP(.refusal(500, "InternalError"))
    let bucket = try scriptedBucket(http, budget: 30)
    for _ in 0..<4 {
      #expect(failure { () throws(ObjectStoreError) in try bucket.head("key") }?.code == .serverError)
    }
    // Five retries for the first, one for the second, none for the others.
    #expect(http.requests.count == 6 + 2 + 1 + 1)
  }

  @Test func aBucketThatFailsLeavesTheOthersTheirRetries() throws {
    let isBusy = Atomic(true)
    let http = ScriptedHTTP { request, _ in
      let isAnswered = request.url.contains("/good/") && !isBusy.exchange(false, ordering: .relaxed)
      return isAnswered ? .ok(objectHeaders(length: 1)) : .refusal(500, "InternalError")
    }
    let client = try scriptedClient(http, budget: 30)
    for _ in 0..<4 { #expect(failure { () throws(ObjectStoreError) in try client.bucket("bad").head("key") } != nil) }
    #expect(http.requests.count == 6 + 2 + 1 + 1)
    #expect(try client.bucket("good").head("key").size == 1)
    #expect(http.requests.count == 10 + 2)
  }

  @Test func theClockIsCorrectedOnceAndRemembered() throws {
    let date = HTTPHeader("Date", "Fri, 24 May 2013 02:00:00 GMT")
    let http = ScriptedHTTP { request, _ in
      request.header("x-amz-date") == "20130524T020000Z"
        ? .ok(objectHeaders(length: 1), "x") : .refusal(403, "RequestTimeTooSkewed", "", [date])
    }
    let bucket = try scriptedBucket(http)
    #expect(try bucket.get(GetRequest("key")).bytes == [UInt8(ascii: "x")])
    _ = try bucket.head("key")
    #expect(http.requests.count == 3)
    #expect(http.delays.isEmpty)
  }

  /// Those that were on their way are sent again as well, though their answers come when the clock is right.
  @Test func requestsUnderWayWhileTheClockIsCorrectedGoAgain() throws {
    let far = HTTPHeader("Date", "Fri, 24 May 2013 02:00:00 GMT")
    let first = OneShot<Result<ObjectMetadata, ObjectStoreError>>()
    let bucket = Mutex<S3Bucket?>(nil)
    let http = ScriptedHTTP { request, number in
      guard request.header("x-amz-date") != "20130524T020000Z" else { return .ok(objectHeaders(length: 1)) }
      // While this one is answered, another one is refused and corrects the clock.
      if number == 1 { bucket.withLock { $0 }?.head("other", nil) { first.fulfil($0) } }
      return ScriptedHTTP.Answer(status: 403, headers: [far])
    }
    let made = try scriptedBucket(http)
    bucket.withLock { $0 = made }
    _ = try made.head("key")
    _ = try first.wait().get()
    #expect(http.requests.count == 4)
  }

  @Test func aClockThatStaysWrongIsAnError() throws {
    let date = HTTPHeader("Date", "Fri, 24 May 2013 02:00:00 GMT")
    let http = ScriptedHTTP(.refusal(403, "RequestTimeTooSkewed", "", [date]))
    let bucket = try scriptedBucket(http)
    let error = failure { () throws(ObjectStoreError) in try bucket.put(PutRequest("key", body: .bytes([]))) }
    #expect(error?.code == .invalidCredentials)
    #expect(http.requests.count == 2)
  }

  @Test func anAnswerToHeadCannotNameTheClockButTellsItsOwn() throws {
    let far = HTTPHeader("Date", "Fri, 24 May 2013 02:00:00 GMT")
    let near = HTTPHeader("Date", "Fri, 24 May 2013 00:01:00 GMT")
    let skewed = ScriptedHTTP(ScriptedHTTP.Answer(status: 403, headers: [far]), .ok(objectHeaders(length: 1)))
    _ = try scriptedBucket(skewed).head("key")
    let denied = ScriptedHTTP(ScriptedHTTP.Answer(status: 403, headers: [near]))
    let bucket = try scriptedBucket(denied)
    #expect(failure { () throws(ObjectStoreError) in try bucket.head("key") }?.code == .accessDenied)
    #expect(denied.requests.count == 1)
  }

  @Test(arguments: [
    ScriptedHTTP.Answer.refusal(400, "AuthorizationHeaderMalformed", "<Region>eu-west-1</Region>"),
    .refusal(301, "PermanentRedirect", "", [HTTPHeader("x-amz-bucket-region", "eu-west-1")]),
    .refusal(301, "PermanentRedirect", "<Endpoint>bucket.eu-west-1.test</Endpoint>"),
    .refusal(307, "TemporaryRedirect", "<Endpoint>bucket.eu-west-1.test</Endpoint>"),
    ScriptedHTTP.Answer(status: 400, headers: [HTTPHeader("x-amz-bucket-region", "eu-west-1")]),
  ])
  func anotherRegionIsNamed(_ answer: ScriptedHTTP.Answer) throws {
    let bucket = try scriptedBucket(ScriptedHTTP(answer))
    let error = failure { () throws(ObjectStoreError) in try bucket.head("key") }
    #expect(error?.code == .wrongRegion)
    #expect(error?.message.contains("eu-west-1") == true)
  }

  @Test func headBucketAsksForTheReason() throws {
    let http = ScriptedHTTP { request, _ in
      request.method == .head ? ScriptedHTTP.Answer(status: 403) : .refusal(403, "InvalidAccessKeyId")
    }
    let bucket = try scriptedBucket(http)
    #expect(failure { () throws(ObjectStoreError) in try bucket.headBucket() }?.code == .invalidCredentials)
  }

  @Test func cancellationEndsAWaitAtOnce() throws {
    let http = ScriptedHTTP(manualTimers: true) { _, _ in .refusal(503, "SlowDown") }
    let bucket = try scriptedBucket(http)
    let cancellation = Cancellation()
    let reports = Mutex<[ObjectStoreError.Code]>([])
    bucket.head("key", cancellation) { result in
      if case .failure(let error) = result { reports.withLock { $0.append(error.code) } }
    }
    #expect(http.pendingTimers == 1)
    #expect(reports.withLock { $0 } == [])
    cancellation.cancel()
    #expect(reports.withLock { $0 } == [.cancelled])
    http.fireTimers()
    #expect(http.requests.count == 1)
    #expect(reports.withLock { $0 }.count == 1)
  }

  @Test func cancellationDuringAnAttemptWaitsForTheTransport() throws {
    let http = ScriptedHTTP(.hang)
    let bucket = try scriptedBucket(http)
    let cancellation = Cancellation()
    let report = OneShot<ObjectStoreError.Code?>()
    bucket.head("key", cancellation) { result in
      if case .failure(let error) = result { report.fulfil(error.code) } else { report.fulfil(nil) }
    }
    cancellation.cancel()
    #expect(report.wait() == .cancelled)
  }

  @Test func credentialsAreAskedForEveryAttempt() throws {
    final class Rotating: CredentialsProvider {
      let count = Mutex(0)
      func credentials() throws(ObjectStoreError) -> S3Credentials {
        let number = count.withLock { count in
          count += 1
          return count
        }
        if number == 3 { throw ObjectStoreError(.invalidCredentials, "expired") }
        return S3Credentials(accessKeyID: "KEY\(number)", secretAccessKey: "s")
      }
    }
    let http = ScriptedHTTP(.failure(.connectionLost))
    let client = S3Client(
      configuration: try S3Configuration(endpoint: "http://a", region: "r"), credentials: Rotating(), http: http,
      log: .init(label: "test"))
    let error = failure { () throws(ObjectStoreError) in try client.bucket("b").head("key") }
    #expect(error?.message == "expired")
    #expect(http.requests.map { $0.header("authorization")?.contains("KEY2") } == [false, true])
  }

  // MARK: Many deletions in one request

  private static func refused(_ keys: [String: String]) -> ScriptedHTTP.Answer {
    let errors = keys.map { "<Error><Key>\($0.key)</Key><Code>\($0.value)</Code></Error>" }.joined()
    return .ok([], "<DeleteResult>\(errors)</DeleteResult>")
  }

  @Test func keysThatAServerHasNoTimeForAreDeletedWithTheNextRequest() throws {
    let http = ScriptedHTTP(
      Self.refused(["b": "SlowDown", "c": "InternalError", "d": "AccessDenied"]), Self.refused(["c": "InternalError"]),
      Self.refused([:]))
    let failed = try scriptedBucket(http).deleteMany(["a", "b", "c", "d"])
    #expect(failed.mapValues(\.code) == ["d": .accessDenied])
    #expect(http.requests.count == 3)
    #expect(http.requests[1].bodyText.contains("<Key>b</Key></Object><Object><Key>c</Key>"))
    #expect(!http.requests[1].bodyText.contains("<Key>a</Key>") && !http.requests[1].bodyText.contains("<Key>d</Key>"))
    #expect(!http.requests[2].bodyText.contains("<Key>b</Key>"))
    #expect(http.requests[1].header("content-md5") != http.requests[0].header("content-md5"))
  }

  @Test func keysThatAreNeverDeletedAreToldInTheEnd() throws {
    let http = ScriptedHTTP(Self.refused(["b": "SlowDown"]))
    let failed = try scriptedBucket(http, retry: RetryPolicy(maximumAttempts: 3)).deleteMany(["a", "b"])
    #expect(failed.mapValues(\.code) == ["b": .throttled])
    #expect(http.requests.count == 3)
    let broken = ScriptedHTTP(Self.refused(["b": "SlowDown"]), .failure(.connectionLost))
    #expect(try scriptedBucket(broken).deleteMany(["a", "b"]).mapValues(\.code) == ["b": .throttled])
    let unheard = ScriptedHTTP(.failure(.connectionLost))
    let bucket = try scriptedBucket(unheard)
    let error = failure { () throws(ObjectStoreError) in try bucket.deleteMany(["a"]) }
    #expect(error?.code == .connectionFailed)
  }
}

extension ObjectKey: ExpressibleByStringLiteral {
  /// A key as it stands.
  public init(stringLiteral value: String) { self.init(value) }
}
