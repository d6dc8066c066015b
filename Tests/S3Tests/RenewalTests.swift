import Basics
import HTTPTransport
import Logging
import ObjectStore
import Synchronization
import Testing

@testable import S3

@Suite struct RenewalTests {
  private static let old = S3Credentials(accessKeyID: "OLD", secretAccessKey: "old-secret")
  private static let new = S3Credentials(accessKeyID: "NEW", secretAccessKey: "new-secret")

  private func client(
    _ http: ScriptedHTTP, _ credentials: any CredentialsProvider, retry: RetryPolicy = RetryPolicy(),
    clock: ManualClock = ManualClock(seconds: 1_369_353_600)
  ) throws -> S3Client {
    let configuration = try S3Configuration(endpoint: "http://storage.test", region: "eu-north-1", retry: retry)
    return S3Client(
      configuration: configuration, credentials: credentials, http: http, time: clock.timeSource, random: { 0.5 },
      log: Logger(label: "test"))
  }

  private func bucket(
    _ http: ScriptedHTTP, _ credentials: any CredentialsProvider, retry: RetryPolicy = RetryPolicy(),
    clock: ManualClock = ManualClock(seconds: 1_369_353_600)
  ) throws -> S3Bucket {
    try client(http, credentials, retry: retry, clock: clock).bucket("bucket")
  }

  /// Accepts what the key pair of that id has signed.
  private func accepting(
    _ id: String, _ refusal: ScriptedHTTP.Answer, _ answer: ScriptedHTTP.Answer = .ok(objectHeaders(length: 1), "x")
  ) -> ScriptedHTTP {
    ScriptedHTTP { request, _ in
      request.header("Authorization")?.contains("Credential=\(id)/") == true ? answer : refusal
    }
  }

  private final class Source: Sendable {
    let fetches = Mutex(0)
    let answers: [S3Credentials?]
    init(_ answers: S3Credentials?...) { self.answers = answers }

    func provider(_ first: S3Credentials = old, clock: ManualClock = ManualClock()) -> RenewingCredentials {
      RenewingCredentials(first, time: clock.timeSource) {
        let number = self.fetches.withLock { count in
          count += 1
          return count
        }
        return self.answers[min(number, self.answers.count) - 1]
      }
    }

    var count: Int { fetches.withLock { $0 } }
  }

  @Test(arguments: ["InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken"])
  func otherCredentialsAreFetchedAndTheRequestRepeated(_ code: String) throws {
    let source = Source(Self.new)
    let http = accepting("NEW", .refusal(403, code))
    let bucket = try bucket(http, source.provider())
    #expect(try bucket.get(GetRequest("key")).bytes == [UInt8(ascii: "x")])
    _ = try bucket.head("key")
    #expect(http.requests.count == 3 && source.count == 1)
    #expect(http.delays.isEmpty)
  }

  /// An upload over a slow line, at whose end the server says that it does not know the keys.
  @Test func aRefusalThatTookMinutesIsNotTakenForAWrongClock() throws {
    let source = Source(Self.new)
    let clock = ManualClock(seconds: 1_369_353_600)
    let http = ScriptedHTTP { request, number in
      clock.advance(seconds: 300)
      if request.header("Authorization")?.contains("Credential=NEW/") == true { return .ok(objectHeaders(length: 1)) }
      let date = HTTPHeader("Date", "Fri, 24 May 2013 00:0\(5 * number):00 GMT")
      return .refusal(403, "InvalidAccessKeyId", "", [date])
    }
    let bucket = try bucket(http, source.provider(clock: clock), clock: clock)
    _ = try bucket.head("key")
    #expect(http.requests.count == 2 && source.count == 1)
  }

  /// Where other keys are of no help, the clock was wrong as well.
  @Test func aWrongClockHidesNoWrongKeys() throws {
    let source = Source(Self.new)
    let far = HTTPHeader("Date", "Fri, 24 May 2013 02:00:00 GMT")
    let http = accepting("NEW", .refusal(403, "InvalidAccessKeyId", "", [far]))
    _ = try bucket(http, source.provider()).head("key")
    #expect(http.requests.count == 3 && source.count == 1)
  }

  @Test func bodiesAreSentAgainWhole() throws {
    let source = Source(Self.new)
    let bodies = [.bytes(Array("4567".utf8)), try temporaryFile(Array("0123456789".utf8), offset: 4, length: 4)]
    for body in bodies {
      // MD5 of "4567".
      let http = accepting(
        "NEW", .refusal(403, "InvalidAccessKeyId"), .ok([HTTPHeader("ETag", "\"6562c5c1f33db6e05a082a88cddab5ea\"")]))
      let bucket = try bucket(http, source.provider())
      let part = try bucket.uploadPart(MultipartUpload(key: "key", id: "u"), number: 1, body: body)
      #expect(part.size == 4)
      let lengths = http.requests.map(\.body.length)
      #expect(lengths == [4, 4])
    }
  }

  @Test func aPlain403CountsOnlyForWhatHasWorked() throws {
    let isRotated = Atomic<Bool>(false)
    let source = Source(Self.new)
    let http = ScriptedHTTP { request, _ in
      let isNew = request.header("Authorization")?.contains("Credential=NEW/") == true
      let isKnown = isNew == isRotated.load(ordering: .relaxed)
      return isKnown ? .ok(objectHeaders(length: 1)) : ScriptedHTTP.Answer(status: 403)
    }
    let bucket = try bucket(http, source.provider())
    isRotated.store(true, ordering: .relaxed)
    // Nothing has worked yet: the answer is believed.
    #expect(failure { () throws(ObjectStoreError) in try bucket.head("key") }?.code == .accessDenied)
    #expect(source.count == 0)
    isRotated.store(false, ordering: .relaxed)
    #expect(try bucket.head("key").size == 1)
    isRotated.store(true, ordering: .relaxed)
    #expect(try bucket.head("key").size == 1)
    #expect(source.count == 1)
  }

  @Test func whatWorkedForOneClientHasWorkedForAll() throws {
    let source = Source(Self.new)
    let provider = source.provider()
    _ = try bucket(ScriptedHTTP(.ok(objectHeaders(length: 1))), provider).head("key")
    let other = try bucket(accepting("NEW", ScriptedHTTP.Answer(status: 403)), provider)
    #expect(try other.head("key").size == 1)
    #expect(source.count == 1)
  }

  @Test func whatIsForbiddenStaysForbidden() throws {
    let clock = ManualClock()
    let source = Source(Self.old)
    let http = ScriptedHTTP { request, _ in
      request.url.hasSuffix("/secret") ? .refusal(403, "AccessDenied") : .ok(objectHeaders(length: 1))
    }
    let bucket = try bucket(http, source.provider(clock: clock))
    _ = try bucket.head("key")
    for _ in 0..<5 {
      #expect(failure { () throws(ObjectStoreError) in try bucket.get(GetRequest("secret")) }?.code == .accessDenied)
    }
    #expect(http.requests.count == 6)
    // One question, and the next not before a second has passed, then two, then four.
    #expect(source.count == 1)
    for (seconds, count) in [(1.1, 2), (1.1, 2), (1.0, 3), (3.9, 3), (0.2, 4)] {
      clock.advance(seconds: seconds)
      #expect(failure { () throws(ObjectStoreError) in try bucket.get(GetRequest("secret")) } != nil)
      #expect(source.count == count)
    }
  }

  @Test func whatIsForbiddenDoesNotKeepANewPairFromTheRest() throws {
    let clock = ManualClock()
    let source = Source(Self.old, Self.old, Self.old, Self.new)
    let isRotated = Atomic(false)
    let http = ScriptedHTTP { request, _ in
      if request.url.hasSuffix("/secret") { return .refusal(403, "AccessDenied") }
      let isNew = request.header("Authorization")?.contains("Credential=NEW/") == true
      return isNew || !isRotated.load(ordering: .relaxed)
        ? .ok(objectHeaders(length: 1), "x") : .refusal(403, "InvalidAccessKeyId")
    }
    let bucket = try bucket(http, source.provider(clock: clock))
    _ = try bucket.get(GetRequest("key"))
    for seconds in [0, 1.1, 2.1] {
      clock.advance(seconds: seconds)
      #expect(failure { () throws(ObjectStoreError) in try bucket.get(GetRequest("secret")) }?.code == .accessDenied)
    }
    #expect(source.count == 3)
    isRotated.store(true, ordering: .relaxed)
    #expect(try bucket.get(GetRequest("key")).bytes == [UInt8(ascii: "x")])
    #expect(source.count == 4 && http.delays.isEmpty)
  }

  @Test func manyForbiddenBucketsAreOneQuestion() throws {
    let clock = ManualClock()
    let source = Source(Self.old)
    let http = ScriptedHTTP { request, _ in
      request.url.contains("/open") ? .ok(objectHeaders(length: 1)) : .refusal(403, "AccessDenied")
    }
    let client = try client(http, source.provider(clock: clock))
    _ = try client.bucket("open").head("key")
    for number in 0..<300 {
      let bucket = client.bucket("forbidden-\(number)")
      #expect(failure { () throws(ObjectStoreError) in try bucket.head("key") }?.code == .accessDenied)
    }
    #expect(source.count == 1)
    // What nobody has got into yet may have been the first after a change: it is asked again before long.
    for _ in 0..<10 {
      clock.advance(seconds: 30)
      #expect(failure { () throws(ObjectStoreError) in try client.bucket("forbidden").head("key") } != nil)
    }
    #expect(source.count == 11)
  }

  @Test func forbiddenBucketsKeepNoNewPairFromOneThatHasWorked() throws {
    let clock = ManualClock()
    let source = Source(Self.old, Self.new)
    let isRotated = Atomic(false)
    let http = ScriptedHTTP { request, _ in
      let isNew = request.header("Authorization")?.contains("Credential=NEW/") == true
      let isAccepted = request.url.contains("/open") && isNew == isRotated.load(ordering: .relaxed)
      return isAccepted ? .ok(objectHeaders(length: 1)) : .refusal(403, "AccessDenied")
    }
    let client = try client(http, source.provider(clock: clock))
    _ = try client.bucket("open").head("key")
    #expect(failure { () throws(ObjectStoreError) in try client.bucket("forbidden").head("key") } != nil)
    isRotated.store(true, ordering: .relaxed)
    // A refusal that may have any reason, in the time in which nobody is asked about the forbidden ones.
    #expect(try client.bucket("open").head("key").size == 1)
    #expect(source.count == 2)
  }

  @Test func aPairThatNeverWorkedFailsAtOnce() throws {
    let source = Source(Self.old)
    let http = ScriptedHTTP(.refusal(403, "InvalidAccessKeyId"))
    let bucket = try bucket(http, source.provider())
    #expect(failure { () throws(ObjectStoreError) in try bucket.head("key") }?.code == .invalidCredentials)
    #expect(http.requests.count == 1 && source.count == 1)
  }

  @Test func oneSideMayHearOfTheChangeLater() throws {
    let clock = ManualClock()
    let source = Source(Self.old, Self.new)
    let http = ScriptedHTTP { request, number in
      // The pair is new at the server, and at the control plane only when it is asked for the second time.
      clock.advance(seconds: 1.1)
      let isNew = request.header("Authorization")?.contains("Credential=NEW/") == true
      return number == 1 || isNew ? .ok(objectHeaders(length: 1)) : .refusal(403, "InvalidAccessKeyId")
    }
    let bucket = try bucket(http, source.provider(clock: clock))
    _ = try bucket.head("key")
    #expect(try bucket.head("key").size == 1)
    #expect(source.count == 2 && http.delays.count == 1)
  }

  @Test func aControlPlaneThatIsDownIsAskedAgain() throws {
    let clock = ManualClock()
    let source = Source(nil, nil, Self.new)
    let http = ScriptedHTTP { request, _ in
      clock.advance(seconds: 1.1)
      return request.header("Authorization")?.contains("Credential=NEW/") == true
        ? .ok(objectHeaders(length: 1)) : .refusal(403, "InvalidAccessKeyId")
    }
    let bucket = try bucket(http, source.provider(clock: clock))
    #expect(try bucket.head("key").size == 1)
    #expect(source.count == 3 && http.delays.count == 2)
  }

  @Test func aServerThatRefusesEveryPairIsNotAskedForEver() throws {
    let counter = Mutex(0)
    let provider = RenewingCredentials(Self.old) {
      let number = counter.withLock { count in
        count += 1
        return count
      }
      return S3Credentials(accessKeyID: "K\(number)", secretAccessKey: "s")
    }
    let http = ScriptedHTTP(.refusal(403, "InvalidAccessKeyId"))
    let bucket = try bucket(http, provider)
    #expect(failure { () throws(ObjectStoreError) in try bucket.head("key") }?.code == .invalidCredentials)
    #expect(http.requests.count == 4)
  }

  @Test func oneFetchServesAllThatWait() throws {
    let inFetch = OneShot<Void>()
    let goOn = OneShot<Void>()
    let fetches = Mutex(0)
    let provider = RenewingCredentials(Self.old) {
      fetches.withLock { $0 += 1 }
      inFetch.fulfil(())
      goOn.wait()
      return Self.new
    }
    let http = accepting("NEW", .refusal(403, "ExpiredToken"))
    let bucket = try bucket(http, provider)
    let results = (0..<20).map { _ in OneShot<Result<ObjectMetadata, ObjectStoreError>>() }
    for result in results { bucket.head("key", nil) { result.fulfil($0) } }
    inFetch.wait()
    #expect(http.requests.count == 20)
    goOn.fulfil(())
    for result in results { #expect(throws: Never.self) { try result.wait().get() } }
    #expect(http.requests.count == 40)
    #expect(fetches.withLock { $0 } == 1)
  }

  @Test func whoCancelsDoesNotWaitForTheFetch() throws {
    let inFetch = OneShot<Void>()
    let goOn = OneShot<Void>()
    let isOver = OneShot<Void>()
    let provider = RenewingCredentials(Self.old) {
      inFetch.fulfil(())
      goOn.wait()
      defer { isOver.fulfil(()) }
      return Self.new
    }
    let http = accepting("NEW", .refusal(403, "ExpiredToken"))
    let bucket = try bucket(http, provider)
    let cancellation = Cancellation()
    let result = OneShot<Result<ObjectMetadata, ObjectStoreError>>()
    bucket.head("key", cancellation) { result.fulfil($0) }
    inFetch.wait()
    cancellation.cancel()
    #expect(throws: ObjectStoreError.self) { try result.wait().get() }
    goOn.fulfil(())
    isOver.wait()
    #expect(http.requests.count == 1)
  }

  @Test func staticPairsAreNotRepeated() throws {
    let http = ScriptedHTTP { _, number in
      number == 1 ? .ok(objectHeaders(length: 1)) : .refusal(403, "InvalidAccessKeyId")
    }
    let bucket = try bucket(http, StaticCredentials(Self.old))
    _ = try bucket.head("key")
    #expect(failure { () throws(ObjectStoreError) in try bucket.head("key") }?.code == .invalidCredentials)
    #expect(http.requests.count == 2)
  }
}
