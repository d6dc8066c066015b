import Basics
import HTTPTransport
import Logging
import Metrics
import ObjectStore
import Testing

@testable import S3

struct RequestMetricsTests {
  private let clock = ManualClock(seconds: 1_369_353_600)
  private let metrics = RequestMetrics()

  private func bucket(_ http: ScriptedHTTP) throws -> S3Bucket {
    let configuration = try S3Configuration(endpoint: "http://storage.test", region: "eu-north-1")
    return S3Client(
      configuration: configuration,
      credentials: StaticCredentials(S3Credentials(accessKeyID: "AKID", secretAccessKey: "SECRET")), http: http,
      time: clock.timeSource, random: { 0.5 }, log: Logger(label: "test")
    ).bucket("bucket", metrics: metrics)
  }

  @Test func everyTryIsARequest() throws {
    let ok = ScriptedHTTP.Answer.ok(objectHeaders(length: 5))
    let bucket = try bucket(ScriptedHTTP(.refusal(503, "SlowDown"), .failure(.connectionLost), ok))
    _ = try bucket.head(ObjectKey("a"))
    let counts = try #require(metrics.counts[.headObject])
    #expect(counts.requests == 3 && counts.retries == 2)
    #expect(counts.errors == [.throttled: 1, .connectionFailed: 1])
    #expect(counts.whole.count == 3)
    // A lost connection brought no head.
    #expect(counts.firstByte.count == 2)
    #expect(metrics.counts.keys.sorted { $0.rawValue < $1.rawValue } == [.headObject])
  }

  @Test func notFoundIsAnErrorOfItsOwn() throws {
    let bucket = try bucket(ScriptedHTTP(ScriptedHTTP.Answer(status: 404)))
    #expect(failure { () throws(ObjectStoreError) in _ = try bucket.head(ObjectKey("a")) }?.code == .notFound)
    let counts = try #require(metrics.counts[.headObject])
    #expect(counts.errors == [.notFound: 1] && counts.requests == 1 && counts.retries == 0)
  }

  @Test func bytesAreThoseOfBodies() throws {
    let body = "hello world"
    let http = ScriptedHTTP { request, _ in
      request.method == .get ? .ok(objectHeaders(length: 11), body) : .ok([HTTPHeader("ETag", "\"x\"")])
    }
    let bucket = try bucket(http)
    _ = try bucket.get(GetRequest(ObjectKey("a")))
    _ = try bucket.put(PutRequest(ObjectKey("b"), body: .bytes(Array(repeating: 7, count: 1000))))
    #expect(metrics.counts[.getObject]?.received == 11 && metrics.counts[.getObject]?.sent == 0)
    #expect(metrics.counts[.putObject]?.sent == 1000)
    #expect(metrics.bytes.received == 11 && metrics.bytes.sent == 1000)
  }

  @Test func timesRunFromTheRequestToItsEnd() throws {
    let clock = clock
    let http = ScriptedHTTP { _, _ in
      clock.advance(seconds: 2)
      return .ok(objectHeaders(length: 5))
    }
    _ = try bucket(http).head(ObjectKey("a"))
    let whole = try #require(metrics.counts[.headObject]?.whole.quantile(0.5))
    #expect(abs(Double(whole) - 2e9) < 2e9 / 16)
  }

  @Test func whatNobodySawIsNoRequest() throws {
    let bucket = try bucket(ScriptedHTTP(.failure(.cancelled, neverSent: true)))
    #expect(failure { () throws(ObjectStoreError) in _ = try bucket.head(ObjectKey("a")) }?.code == .cancelled)
    #expect(metrics.counts[.headObject]?.requests == 0)
  }

  @Test func namesAreThoseOfTheProtocol() {
    #expect(RequestKind.allCases.count == Set(RequestKind.allCases.map(\.rawValue)).count)
    for kind in RequestKind.allCases { #expect(kind.rawValue.first?.isUppercase == true) }
  }
}
