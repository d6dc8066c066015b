import Basics
import HTTPTransport
import ObjectStore
import Synchronization
import Testing

@testable import S3

/// What is stored is what was sent, or somebody hears of it.
@Suite struct UploadIntegrityTests {
  static let right = "\"5d41402abc4b2a76b9719d911017c592\""  // MD5 of "hello"
  static let wrong = "\"7d793037a0760186574b0282f2f435e7\""  // MD5 of "world"
  static let hello = ObjectBody.bytes(Array("hello".utf8))

  private static func tagged(_ tag: String, _ more: [HTTPHeader] = []) -> ScriptedHTTP.Answer {
    .ok([HTTPHeader("ETag", tag)] + more)
  }

  private func put(
    _ http: ScriptedHTTP, _ condition: WriteCondition = .none
  ) throws -> Result<PutResult, ObjectStoreError> {
    let bucket = try scriptedBucket(http)
    return Result { () throws(ObjectStoreError) in
      try bucket.put(PutRequest("key", body: Self.hello, condition: condition))
    }
  }

  private func code<Value>(_ result: Result<Value, ObjectStoreError>) -> ObjectStoreError.Code? {
    failure { () throws(ObjectStoreError) in try result.get() }?.code
  }

  private static let upload = MultipartUpload(key: "key", id: "u")

  @Test func everyBodyCarriesItsSum() throws {
    let file = try temporaryFile(Array("--hello--".utf8), offset: 2, length: 5)
    for (body, sum, tag) in [
      (Self.hello, "XUFAKrxLKna5cZ2REBfFkg==", Self.right), (file, "XUFAKrxLKna5cZ2REBfFkg==", Self.right),
      (.bytes([]), "1B2M2Y8AsgTpgAmY7PhCfg==", "\"D41D8CD98F00B204E9800998ECF8427E\""),
    ] {
      let http = ScriptedHTTP(Self.tagged(tag))
      let bucket = try scriptedBucket(http)
      try bucket.put(PutRequest("key", body: body))
      #expect(try bucket.uploadPart(Self.upload, number: 1, body: body).etag == ETag(tag))
      #expect(http.requests.map { $0.header("content-md5") } == [sum, sum])
      #expect(http.requests.map { $0.header("x-amz-content-sha256") } == ["UNSIGNED-PAYLOAD", "UNSIGNED-PAYLOAD"])
    }
  }

  /// As OpenSSL does it in a FIPS configuration.
  @Test func withoutMD5TheSHA256IsSignedAndNothingCompared() throws {
    let core = try scriptedBucket(ScriptedHTTP(.ok())).core
    let body = SentBody(.bytes([1]), sum: [], payloadHash: "cafe", core)
    var request = S3Request(method: .put)
    body.add(to: &request)
    #expect(request.payloadHash == "cafe")
    #expect(request.headers.isEmpty)
    let head = HTTPResponseHead(status: 200, headers: [HTTPHeader("ETag", Self.wrong)])
    guard case .value(let tag) = body.outcome(HTTPResponse(head: head), { $0 }) else {
      Issue.record("a tag was compared with nothing")
      return
    }
    #expect(tag == ETag(Self.wrong))
  }

  @Test func whatWasStoredWronglyIsSentAgain() throws {
    let http = ScriptedHTTP(Self.tagged(Self.wrong), Self.tagged(Self.right))
    #expect(try put(http).get().etag == ETag(Self.right))
    #expect(http.requests.count == 2)
    #expect(http.requests[0].bodyText == http.requests[1].bodyText)
    let parts = ScriptedHTTP(Self.tagged(Self.wrong), Self.tagged(Self.right))
    let part = try scriptedBucket(parts).uploadPart(Self.upload, number: 3, body: Self.hello)
    #expect(part == UploadedPart(number: 3, etag: ETag(Self.right), size: 5))
    #expect(parts.requests.count == 2)
  }

  @Test(arguments: [WriteCondition.ifAbsent, .ifMatch(ETag("v0"))])
  func theSecondAttemptReplacesTheWrongVersionOnly(_ condition: WriteCondition) throws {
    let http = ScriptedHTTP(Self.tagged(Self.wrong), Self.tagged(Self.right))
    #expect(try put(http, condition).get().etag == ETag(Self.right))
    #expect(http.requests[1].header("if-match") == Self.wrong)
    #expect(http.requests[1].header("if-none-match") == nil)
    // Somebody else has replaced it in the meantime.
    let raced = ScriptedHTTP { request, number in
      if request.method == .head { return .ok(objectHeaders(etag: "\"v9\"", length: 7)) }
      return number == 1 ? Self.tagged(Self.wrong) : .refusal(412, "PreconditionFailed")
    }
    #expect(code(try put(raced, condition)) == .preconditionFailed)
  }

  /// A server with one object, that answers uploads with `tag` and shows `shown` as what it has stored.
  private func server(tag: String, shown: String, bytes: String) -> ScriptedHTTP {
    ScriptedHTTP { request, _ in
      switch request.method {
      case .put: Self.tagged(tag)
      case .head: .ok(objectHeaders(etag: shown, length: bytes.utf8.count))
      default: .ok(objectHeaders(etag: shown, length: bytes.utf8.count), bytes)
      }
    }
  }

  @Test func whatIsStoredWronglyTwiceIsAnError() throws {
    for bytes in ["world", "hell"] {
      let http = server(tag: Self.wrong, shown: Self.wrong, bytes: bytes)
      #expect(code(try put(http)) == .corruptResponse)
      #expect(http.requests.filter { $0.method == .put }.count == 2)
      // It stays a server whose tags count.
      #expect(code(try put(http)) == .corruptResponse)
    }
  }

  /// A server that answers with the right sums of what it stores; only parts go wrong.
  @Test func aPartStoredWronglyTwiceIsAnErrorWhereTagsAreSums() throws {
    let http = ScriptedHTTP { request, _ in
      if request.method == .delete { return ScriptedHTTP.Answer(status: 204) }
      let sum = hexadecimal(Digest.of(Array(request.bodyText.utf8), .md5))
      return Self.tagged(request.url.contains("uploadId") ? Self.wrong : "\"\(sum)\"")
    }
    let bucket = try scriptedBucket(http)
    let error = failure { () throws(ObjectStoreError) in
      try bucket.uploadPart(MultipartUpload(key: "dir/key", id: "u"), number: 1, body: Self.hello)
    }
    #expect(error?.code == .corruptResponse)
    #expect(http.requests.map(\.method) == [.put, .put, .put, .delete])
    #expect(http.requests[2].url.hasPrefix("http://storage.test/bucket/dir/.waysfs-probe-"))
    #expect(http.requests[2].header("if-none-match") == "*")
    #expect(http.requests[3].url == http.requests[2].url)
    #expect(bucket.confirms(ETag(Self.wrong), Self.hello) == false)
  }

  @Test func aTakenScratchNameIsLeftAlone() throws {
    let http = ScriptedHTTP { request, _ in
      request.url.contains("uploadId") ? Self.tagged(Self.wrong) : .refusal(412, "PreconditionFailed")
    }
    let bucket = try scriptedBucket(http)
    let error = failure { () throws(ObjectStoreError) in
      try bucket.uploadPart(Self.upload, number: 1, body: Self.hello)
    }
    #expect(error?.code == .corruptResponse)
    #expect(http.requests.map(\.method) == [.put, .put, .put])
  }

  @Test func aPartIsGoodWhereTagsAreNoSums() throws {
    let stored = Mutex("")
    let http = ScriptedHTTP { request, _ in
      if request.method == .delete { return ScriptedHTTP.Answer(status: 204) }
      if request.method == .put { stored.withLock { $0 = request.bodyText } }
      let bytes = stored.withLock { $0 }
      return .ok(objectHeaders(etag: Self.wrong, length: bytes.utf8.count), request.method == .get ? bytes : "")
    }
    let bucket = try scriptedBucket(http)
    let part = try bucket.uploadPart(Self.upload, number: 4, body: Self.hello)
    #expect(part == UploadedPart(number: 4, etag: ETag(Self.wrong), size: 5))
    #expect(http.requests.map(\.method) == [.put, .put, .put, .put, .head, .get, .delete])
    #expect(try bucket.uploadPart(Self.upload, number: 5, body: Self.hello).etag == ETag(Self.wrong))
    #expect(http.requests.count == 8)
  }

  @Test(arguments: [wrong, right, "\"opaque\""])
  func tagsThatAreNoSumsAreLearntFromTheBytes(_ shown: String) throws {
    let http = server(tag: Self.wrong, shown: shown, bytes: "hello")
    let bucket = try scriptedBucket(http)
    #expect(bucket.confirms(ETag(Self.wrong), Self.hello) == false)
    #expect(try bucket.put(PutRequest("key", body: Self.hello)).etag == ETag(shown))
    #expect(http.requests.map(\.method) == [.put, .put, .head, .get])
    // From now on one request each, and no tag is taken for a proof against the bytes.
    #expect(try bucket.put(PutRequest("key", body: Self.hello)).etag == ETag(Self.wrong))
    #expect(try bucket.uploadPart(Self.upload, number: 1, body: Self.hello).etag == ETag(Self.wrong))
    #expect(http.requests.count == 6)
    #expect(bucket.confirms(ETag(Self.wrong), Self.hello) == nil)
    #expect(bucket.confirms(ETag(Self.right), Self.hello) == true)
  }

  @Test(arguments: [
    HTTPHeader("x-amz-server-side-encryption", "aws:kms"), HTTPHeader("X-Amz-Server-Side-Encryption", "aws:kms:dsse"),
    HTTPHeader("x-amz-server-side-encryption-customer-algorithm", "AES256"),
  ])
  func tagsOfEncryptedObjectsAreNotCompared(_ header: HTTPHeader) throws {
    let http = ScriptedHTTP(Self.tagged(Self.wrong, [header]))
    #expect(try put(http).get().etag == ETag(Self.wrong))
    #expect(http.requests.count == 1)
    // Encryption with the server's own keys leaves the tag a sum.
    let own = ScriptedHTTP(
      Self.tagged(Self.wrong, [HTTPHeader("x-amz-server-side-encryption", "AES256")]), Self.tagged(Self.right))
    #expect(try put(own).get().etag == ETag(Self.right))
  }

  @Test(arguments: ["\"7d793037a0760186574b0282f2f435e7-1\"", "\"v1\"", "\"7d793037a0760186574b0282f2f435ez\""])
  func tagsOfAnotherFormAreNotCompared(_ tag: String) throws {
    let http = ScriptedHTTP(Self.tagged(tag))
    #expect(try put(http).get().etag == ETag(tag))
    #expect(http.requests.count == 1)
    #expect(try scriptedBucket(http).confirms(ETag(tag), Self.hello) == nil)
  }

  @Test(arguments: ["BadDigest", "InvalidDigest", "XAmzContentSHA256Mismatch", "IncompleteBody"])
  func aBodyDamagedOnItsWayIsSentAgain(_ refusal: String) throws {
    let http = ScriptedHTTP(.refusal(400, refusal), .refusal(400, refusal), Self.tagged(Self.right))
    #expect(try put(http, .ifAbsent).get().etag == ETag(Self.right))
    #expect(http.requests.map { $0.header("if-none-match") } == ["*", "*", "*"])
    let part = ScriptedHTTP(.refusal(400, refusal), Self.tagged(Self.right))
    _ = try scriptedBucket(part).uploadPart(Self.upload, number: 1, body: Self.hello)
    #expect(part.requests.count == 2)
    let never = ScriptedHTTP(.refusal(400, refusal))
    let bucket = try scriptedBucket(never, retry: RetryPolicy(maximumAttempts: 3))
    #expect(
      failure { () throws(ObjectStoreError) in try bucket.put(PutRequest("key", body: Self.hello)) }?.code
        == .corruptResponse)
    #expect(never.requests.count == 3)
  }

  @Test func aBodyThatCannotBeReadIsNotSent() throws {
    let http = ScriptedHTTP(.ok())
    let bucket = try scriptedBucket(http)
    let body = try temporaryFile([1, 2, 3], offset: 0, length: 4)
    #expect(
      failure { () throws(ObjectStoreError) in try bucket.uploadPart(Self.upload, number: 1, body: body) }?.code
        == .localReadFailed)
    #expect(bucket.confirms(ETag(Self.right), body) == nil)
    #expect(http.requests.isEmpty)
  }
}
