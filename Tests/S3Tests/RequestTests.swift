import Basics
import HTTPTransport
import ObjectStore
import Testing

@testable import S3

/// What goes over the wire.
@Suite struct RequestTests {
  @Test func keysArePercentEncodedOnceAndPathsAreNotNormalised() throws {
    let http = ScriptedHTTP(.ok(objectHeaders(length: 1)))
    let bucket = try scriptedBucket(http)
    for key in ["a b/ü", "a//b", "../x", "./x/.", "%41", "a?b#c"] { _ = try bucket.head(ObjectKey(key)) }
    #expect(
      http.requests.map(\.url)
        == [
          "a%20b/%C3%BC", "a//b", "../x", "./x/.", "%2541", "a%3Fb%23c",
        ].map { "http://storage.test/bucket/\($0)" })
  }

  @Test func virtualHostsAreUsedWhereTheBucketCanBeOne() throws {
    let http = ScriptedHTTP(.ok(objectHeaders(length: 1)))
    let bucket = try scriptedBucket(http, endpoint: "https://storage.test:8443", addressing: .virtualHost)
    _ = try bucket.head("key")
    #expect(http.requests.first?.url == "https://bucket.storage.test:8443/key")
    let configuration = try S3Configuration(
      endpoint: "https://storage.test", region: "r", addressing: .virtualHost)
    let odd = S3Client(
      configuration: configuration,
      credentials: StaticCredentials(S3Credentials(accessKeyID: "a", secretAccessKey: "b")), http: http,
      log: .init(label: "test")
    ).bucket("Odd_Bucket/..")
    _ = try odd.head("key")
    #expect(http.requests.last?.url == "https://storage.test/Odd_Bucket%2F../key")
  }

  @Test(arguments: ["http://storage.test", "https://storage.test"])
  func oneHashProtectsABodyAndIsSigned(_ endpoint: String) throws {
    let http = ScriptedHTTP(.ok(objectHeaders()))
    try scriptedBucket(http, endpoint: endpoint, token: "TOKEN").put(
      PutRequest("key", body: .bytes(Array("abc".utf8))))
    let request = try #require(http.requests.first)
    #expect(request.header("x-amz-content-sha256") == "UNSIGNED-PAYLOAD")
    #expect(request.header("content-md5") == "kAFQmDzST7DWlj99KOF/cg==")
    #expect(request.header("x-amz-security-token") == "TOKEN")
    #expect(request.header("x-amz-date") == "20130524T000000Z")
    #expect(
      request.header("authorization")?.contains(
        "SignedHeaders=content-md5;host;x-amz-content-sha256;x-amz-date;x-amz-security-token, ") == true)
  }

  @Test func filesAreHashedInPieces() throws {
    let bytes = (0..<2_500_000).map { UInt8(truncatingIfNeeded: $0 / 7) }
    let body = try temporaryFile(bytes, offset: 3, length: 2_400_000)
    let sum = try Digest.of(body, .sha256)
    #expect(sum == Digest.of(Array(bytes[3..<2_400_003]), .sha256))
    let error = failure { () throws(ObjectStoreError) in
      try Digest.of(try temporaryFile(bytes, offset: 0, length: 9_999_999), .md5)
    }
    #expect(error?.code == .localReadFailed)
  }

  @Test func conditionsAndAttributesAreHeaders() throws {
    let http = ScriptedHTTP(.ok(objectHeaders()))
    let bucket = try scriptedBucket(http)
    try bucket.put(
      PutRequest(
        "key", body: .bytes([1]),
        attributes: ObjectAttributes(contentType: "text/plain", userMetadata: ["mode": "33188"]),
        condition: .ifMatch(ETag("v0"))))
    try bucket.put(PutRequest("key", body: .bytes([1]), condition: .ifAbsent))
    #expect(http.requests[0].header("if-match") == "\"v0\"")
    #expect(http.requests[0].header("content-type") == "text/plain")
    #expect(http.requests[0].header("x-amz-meta-mode") == "33188")
    #expect(http.requests[1].header("if-none-match") == "*")
    #expect(http.requests[1].header("if-match") == nil)
  }

  @Test func copiesNameTheirSourceEncoded() throws {
    let http = ScriptedHTTP(.ok([], "<CopyObjectResult><ETag>&quot;v2&quot;</ETag></CopyObjectResult>"))
    let bucket = try scriptedBucket(http)
    let result = try bucket.copy(CopyRequest(from: "ä b/c+", to: "d", sourceMatch: ETag("v1")))
    #expect(result.etag == ETag("v2"))
    try bucket.copy(CopyRequest(from: "a", to: "a", attributes: ObjectAttributes(userMetadata: ["mode": "1"])))
    #expect(http.requests[0].header("x-amz-copy-source") == "/bucket/%C3%A4%20b/c%2B")
    #expect(http.requests[0].header("x-amz-copy-source-if-match") == "\"v1\"")
    #expect(http.requests[0].header("x-amz-metadata-directive") == "COPY")
    #expect(http.requests[1].header("x-amz-metadata-directive") == "REPLACE")
    #expect(http.requests[1].header("x-amz-meta-mode") == "1")
  }

  @Test func storedHeadersComeBackAsTheyWere() throws {
    let headers: [StoredHeader: String] = [
      .cacheControl: "max-age=60", .contentDisposition: "attachment", .contentEncoding: "gzip",
      .contentLanguage: "nb", .expires: "Thu, 01 Dec 2044 16:00:00 GMT",
    ]
    let attributes = ObjectAttributes(headers: headers, storageClass: "GLACIER_IR")
    let http = ScriptedHTTP { request, _ in
      // What is sent is answered.
      let fields = request.headers.filter { StoredHeader(rawValue: $0.name) != nil }
      if request.method == .head {
        return .ok(objectHeaders(length: 1, headers.map { HTTPHeader($0.key.rawValue.lowercased(), $0.value) }))
      }
      return .ok(fields + [HTTPHeader("ETag", "\"v1\"")], "<CopyObjectResult><ETag>v1</ETag></CopyObjectResult>")
    }
    let bucket = try scriptedBucket(http)
    #expect(try bucket.head("a").headers == headers)
    try bucket.put(PutRequest("a", body: .bytes([1]), attributes: attributes))
    try bucket.copy(CopyRequest(from: "a", to: "a", attributes: attributes, storageClass: "STANDARD_IA"))
    try bucket.copy(CopyRequest(from: "a", to: "b", attributes: nil, storageClass: "STANDARD_IA"))
    for request in http.requests[1...2] {
      for (header, value) in headers { #expect(request.header(header.rawValue) == value) }
    }
    let classes = http.requests.map { request in
      request.headers.filter { $0.name == "x-amz-storage-class" }.map(\.value)
    }
    #expect(classes == [[], ["GLACIER_IR"], ["STANDARD_IA"], ["STANDARD_IA"]])
  }

  @Test(arguments: [("aws-chunked", nil), ("aws-chunked,gzip", "gzip"), ("gzip, aws-chunked", "gzip"), ("br", "br")])
  func theEncodingOfARequestIsNotThatOfTheObject(_ told: String, _ kept: String?) throws {
    let http = ScriptedHTTP(
      .ok(objectHeaders(length: 1, [HTTPHeader("Content-Encoding", told), HTTPHeader("Content-Language", "b\u{E5}")])))
    #expect(try scriptedBucket(http).head("a").headers == (kept.map { [.contentEncoding: $0] } ?? [:]))
  }

  @Test func manyAreDeletedWithAChecksumAndEscapedKeys() throws {
    let http = ScriptedHTTP { request, _ in
      request.method == .post ? .ok([], "<DeleteResult/>") : ScriptedHTTP.Answer(status: 204)
    }
    let failed = try scriptedBucket(http).deleteMany(["a&<>\"'", "line\r\nend", "\u{1}odd"])
    #expect(failed.isEmpty)
    let post = try #require(http.requests.first)
    #expect(post.bodyText.contains("<Key>a&amp;&lt;&gt;&quot;&apos;</Key>"))
    #expect(post.bodyText.contains("<Key>line&#xD;&#xA;end</Key>"))
    #expect(!post.bodyText.contains("odd"))
    #expect(post.header("content-md5") == base64(Digest.of(Array(post.bodyText.utf8), .md5)))
    // XML cannot carry this one.
    #expect(http.requests.last?.method == .delete)
    #expect(http.requests.last?.url.hasSuffix("/%01odd") == true)
  }

  @Test func nothingIsSentThatCannotBe() throws {
    let http = ScriptedHTTP(.ok())
    let bucket = try scriptedBucket(http)
    #expect(failure { () throws(ObjectStoreError) in try bucket.head("") }?.code == .invalidRequest)
    let long = ObjectKey(String(repeating: "k", count: 1025))
    #expect(failure { () throws(ObjectStoreError) in try bucket.head(long) }?.code == .nameTooLong)
    let attributes = ObjectAttributes(userMetadata: ["mode": "1\r\nx-amz-acl: public-read"])
    let error = failure { () throws(ObjectStoreError) in
      try bucket.put(PutRequest("key", body: .bytes([]), attributes: attributes))
    }
    #expect(error?.code == .invalidRequest)
    #expect(http.requests.isEmpty)
  }
}
