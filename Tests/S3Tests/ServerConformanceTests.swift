import Basics
import HTTPTransport
import Logging
import ObjectStore
import ObjectStoreConformance
import Testing

@testable import S3

@Suite struct ServerConformanceTests {
  @Test(arguments: TestServer.allCases, ConformanceCheck.all)
  func conforms(_ server: TestServer, _ check: ConformanceCheck) throws {
    try server.withBucket { _, bucket in
      try check.run(on: bucket, traits: server.traits, prefix: TestServer.runPrefix)
    }
  }

  @Test(arguments: TestServer.allCases)
  func bucketsAreListed(_ server: TestServer) throws {
    try server.withBucket { client, bucket in
      let buckets = try waitFor { client.listBuckets(nil, $0) }
      #expect(buckets.map(\.name).contains(bucket.bucket))
    }
  }

  @Test(arguments: TestServer.allCases)
  func aBucketThatIsNotThereIsNamed(_ server: TestServer) throws {
    try server.withBucket { client, _ in
      let missing = client.bucket("s3-no-such-bucket")
      #expect(failure { () throws(ObjectStoreError) in try missing.headBucket() }?.code == .noSuchBucket)
      // Nothing is written to it: SeaweedFS would make it.
      let listing = ListRequest(prefix: "", delimited: false)
      #expect(failure { () throws(ObjectStoreError) in try missing.list(listing) }?.code == .noSuchBucket)
    }
  }

  /// moto_server checks no signatures.
  @Test(arguments: [TestServer.seaweedFS, .rclone])
  func wrongKeysAreToldApartFromOtherFailures(_ server: TestServer) throws {
    for (id, secret) in [(nil, "wrong secret, long enough"), ("WRONGACCESSKEY", nil)] as [(String?, String?)] {
      try server.withBucket(accessKeyID: id, secret: secret, create: false) { _, bucket in
        #expect(failure { () throws(ObjectStoreError) in try bucket.headBucket() }?.code == .invalidCredentials)
        let error = failure { () throws(ObjectStoreError) in
          try bucket.list(ListRequest(prefix: "", delimited: false))
        }
        #expect(error?.code == .invalidCredentials)
        #expect(error?.description.contains("wrong secret") == false)
      }
    }
  }

  /// moto_server accepts any date.
  @Test(arguments: [TestServer.seaweedFS, .rclone], [-1200, 1200, 86_400 * 3])
  func aWrongClockIsCorrected(_ server: TestServer, _ seconds: Int64) throws {
    let time = TimeSource(
      monotonic: { TimeSource.system.monotonic },
      wall: { Timestamp(seconds: TimeSource.system.wall.seconds + seconds) })
    // The bucket is made with the right time: what is tested begins with the next client.
    try server.withBucket { _, _ in }
    try server.withBucket(time: time, create: false) { _, bucket in
      let key = ObjectKey("\(TestServer.runPrefix)clock\(seconds)")
      try bucket.put(PutRequest(key, body: .bytes([1, 2, 3])))
      #expect(try bucket.get(GetRequest(key)).bytes == [1, 2, 3])
    }
    // HEAD tells no code, only the server's date.
    try server.withBucket(time: time, create: false) { _, bucket in
      let metadata = try bucket.head(ObjectKey("\(TestServer.runPrefix)clock\(seconds)"))
      #expect(metadata.size == 3)
    }
  }

  @Test func aPortWhereNobodyListensIsOneClearError() throws {
    let http = try HTTPTransport()
    defer { http.shutdown() }
    let configuration = try S3Configuration(
      endpoint: "http://127.0.0.1:9", region: "us-east-1",
      retry: RetryPolicy(maximumAttempts: 3, baseDelay: 0.01, maximumDelay: 0.02))
    let client = S3Client(
      configuration: configuration,
      credentials: StaticCredentials(S3Credentials(accessKeyID: "a", secretAccessKey: "b")), http: http,
      log: Logger(label: "test"))
    let error = failure { () throws(ObjectStoreError) in try client.bucket("b").headBucket() }
    #expect(error?.code == .connectionFailed)
    #expect(error?.message.contains("127.0.0.1") == true)
  }

  @Test(arguments: TestServer.allCases)
  func filesAreSentAndLargeObjectsComeBack(_ server: TestServer) throws {
    try server.withBucket { _, bucket in
      let bytes = (0..<(9 << 20)).map { UInt8(truncatingIfNeeded: $0 &* 2_654_435_761 >> 13) }
      let key = ObjectKey("\(TestServer.runPrefix)large")
      try bucket.put(PutRequest(key, body: try temporaryFile(bytes, offset: 5, length: UInt64(bytes.count) - 10)))
      #expect(try bucket.get(GetRequest(key)).bytes == Array(bytes[5..<(bytes.count - 5)]))
    }
  }
}
