import Basics
import HTTPTransport
import ObjectStore
import Synchronization
import Testing

@testable import S3

/// Writes that were done although their answer never came.
@Suite struct LostAnswerTests {
  static let sum = "5d41402abc4b2a76b9719d911017c592"  // MD5 of "hello"
  static let hello = Array("hello".utf8)

  private func put(
    _ condition: WriteCondition, found: ScriptedHTTP.Answer, body: ObjectBody = .bytes(hello), metadata: String? = nil,
    stored: ScriptedHTTP.Answer = ScriptedHTTP.Answer(status: 404),
    first: ScriptedHTTP.Answer = .failure(.connectionLost)
  ) throws -> (Result<PutResult, ObjectStoreError>, ScriptedHTTP) {
    let http = ScriptedHTTP { request, number in
      if request.method == .head { return found }
      if request.method == .get { return stored }
      return number == 1 ? first : .refusal(412, "PreconditionFailed")
    }
    let bucket = try scriptedBucket(http)
    let attributes = ObjectAttributes(userMetadata: metadata.map { ["mtime": $0] } ?? [:])
    let result = Result { () throws(ObjectStoreError) in
      try bucket.put(PutRequest("key", body: body, attributes: attributes, condition: condition))
    }
    return (result, http)
  }

  @Test func aBucketThatIsThereIsOursOnlyAfterALostAnswer() throws {
    for (first, code) in [
      (ScriptedHTTP.Answer.refusal(409, "BucketAlreadyOwnedByYou"), ObjectStoreError.Code.conflict),
      (.refusal(503, "SlowDown"), nil), (.failure(.connectionLost), nil),
      (.failure(.unreachable, neverSent: true), .conflict), (.refusal(409, "BucketAlreadyExists"), .conflict),
    ] {
      let http = ScriptedHTTP { _, number in number == 1 ? first : .refusal(409, "BucketAlreadyOwnedByYou") }
      let client = try scriptedClient(http)
      let error = failure { () throws(ObjectStoreError) in try waitFor { client.createBucket("bucket", nil, $0) } }
      #expect(error?.code == code)
    }
  }

  @Test(arguments: [WriteCondition.ifAbsent, .ifMatch(ETag("v0"))])
  func anOwnWriteIsRecognised(_ condition: WriteCondition) throws {
    let (result, _) = try put(condition, found: .ok(objectHeaders(etag: "\"\(Self.sum)\"", length: 5)))
    #expect(try result.get().etag == ETag(Self.sum))
    let file = try temporaryFile(Array("--hello--".utf8), offset: 2, length: 5)
    let (other, _) = try put(condition, found: .ok(objectHeaders(etag: "\"\(Self.sum)\"", length: 5)), body: file)
    #expect(try other.get().etag == ETag(Self.sum))
  }

  @Test(arguments: [
    ScriptedHTTP.Answer.ok(objectHeaders(etag: "\"0d41402abc4b2a76b9719d911017c592\"", length: 5)),
    .ok(objectHeaders(etag: "\"5d41402abc4b2a76b9719d911017c592\"", length: 6)),
    .ok(objectHeaders(etag: "\"opaque-2\"", length: 5)), ScriptedHTTP.Answer(status: 404),
  ])
  func anotherWriteIsNotTakenForOurs(_ found: ScriptedHTTP.Answer) throws {
    let (result, _) = try put(.ifAbsent, found: found)
    #expect(failure { () throws(ObjectStoreError) in try result.get() }?.code == .preconditionFailed)
  }

  @Test func whereTheTagDoesNotTellTheBytesDo() throws {
    let headers = objectHeaders(etag: "\"opaque\"", length: 5)
    let (own, http) = try put(.ifAbsent, found: .ok(headers), stored: .ok(headers, "hello"))
    #expect(try own.get().etag == ETag("opaque"))
    #expect(http.requests.last?.header("if-match") == "\"opaque\"")
    let (other, _) = try put(.ifAbsent, found: .ok(headers), stored: .ok(headers, "Hello"))
    #expect(failure { () throws(ObjectStoreError) in try other.get() }?.code == .preconditionFailed)
  }

  /// Two machines that create the same empty file at once must not both have made it.
  @Test func equalBytesOfAnotherTimeAreAnotherWrite() throws {
    func code(_ stored: [HTTPHeader]) throws -> ObjectStoreError.Code? {
      let found = objectHeaders(etag: "\"d41d8cd98f00b204e9800998ecf8427e\"", length: 0, stored)
      let (result, _) = try put(.ifAbsent, found: .ok(found), body: .bytes([]), metadata: "17.000000001")
      return failure { () throws(ObjectStoreError) in try result.get() }?.code
    }
    #expect(try code([HTTPHeader("x-amz-meta-mtime", "17.000000001")]) == nil)
    #expect(try code([HTTPHeader("x-amz-meta-mtime", "17.000000002")]) == .preconditionFailed)
    #expect(try code([]) == nil)
  }

  @Test func withoutALostAnswerNothingIsAsked() throws {
    for first in [ScriptedHTTP.Answer.refusal(412, "PreconditionFailed"), .failure(.unreachable, neverSent: true)] {
      let (result, http) = try put(
        .ifAbsent, found: .ok(objectHeaders(etag: "\"\(Self.sum)\"", length: 5)), first: first)
      #expect(failure { () throws(ObjectStoreError) in try result.get() }?.code == .preconditionFailed)
      #expect(!http.requests.contains { $0.method == .head })
    }
  }

  @Test func aConflictWithAnotherWriteIsTriedAgain() throws {
    let http = ScriptedHTTP(
      .refusal(409, "ConditionalRequestConflict"), .ok([HTTPHeader("ETag", "\"v2\"")]))
    #expect(try scriptedBucket(http).put(PutRequest("key", body: .bytes([1]), condition: .ifAbsent)).etag == ETag("v2"))
  }

  @Test func ifMatchOnAMissingObjectIsAFailedCondition() throws {
    let bucket = try scriptedBucket(ScriptedHTTP(.refusal(404, "NoSuchKey")))
    let error = failure { () throws(ObjectStoreError) in
      try bucket.put(PutRequest("key", body: .bytes([1]), condition: .ifMatch(ETag("v0"))))
    }
    #expect(error?.code == .preconditionFailed)
  }

  private static let parts = [
    UploadedPart(number: 1, etag: ETag(sum)), UploadedPart(number: 2, etag: ETag(sum)),
  ]

  private func complete(
    found etag: String, first: ScriptedHTTP.Answer = .failure(.connectionLost),
    then: ScriptedHTTP.Answer = .refusal(404, "NoSuchUpload"), parts: [UploadedPart] = parts
  ) throws -> Result<PutResult, ObjectStoreError> {
    let http = ScriptedHTTP { request, number in
      if request.method == .head { return .ok(objectHeaders(etag: "\"\(etag)\"", length: 10)) }
      return number == 1 ? first : then
    }
    let bucket = try scriptedBucket(http)
    return Result { () throws(ObjectStoreError) in
      try bucket.completeUpload(MultipartUpload(key: "key", id: "u"), parts: parts)
    }
  }

  @Test func aCompletedUploadIsRecognised() throws {
    let expected = try #require(ETag.ofUpload(Self.parts))
    #expect(expected.value.hasSuffix("-2"))
    #expect(try complete(found: expected.value).get().etag == expected)
    #expect(try complete(found: expected.value, then: .refusal(412, "PreconditionFailed")).get().etag == expected)
    for words in [ScriptedHTTP.Answer.refusal(400, "InvalidPart"), .refusal(409, "OperationAborted")] {
      #expect(try complete(found: expected.value, then: words).get().etag == expected)
    }
    // The attempt that was applied may be one of an earlier run, which did not live to hear of it.
    #expect(try complete(found: expected.value, first: .refusal(404, "NoSuchUpload")).get().etag == expected)
    let inBody = ScriptedHTTP.Answer(
      status: 200, body: Array("\n \n<?xml version=\"1.0\"?><Error><Code>InternalError</Code></Error>".utf8))
    #expect(try complete(found: expected.value, first: inBody).get().etag == expected)
  }

  @Test func anotherObjectIsNotTakenForTheUpload() throws {
    let other = try complete(found: "5d41402abc4b2a76b9719d911017c592-2")
    #expect(failure { () throws(ObjectStoreError) in try other.get() }?.code == .noSuchUpload)
    let expected = try #require(ETag.ofUpload(Self.parts))
    let refused = try complete(found: expected.value, first: .refusal(400, "InvalidPart"))
    #expect(failure { () throws(ObjectStoreError) in try refused.get() }?.code == .invalidRequest)
    let opaque = try complete(found: expected.value, parts: [UploadedPart(number: 1, etag: ETag("opaque"))])
    #expect(failure { () throws(ObjectStoreError) in try opaque.get() }?.code == .noSuchUpload)
  }

  private func copyInPlace(
    found: [HTTPHeader], first: ScriptedHTTP.Answer = .failure(.connectionLost),
    to destination: ObjectKey = ObjectKey("key")
  ) throws -> Result<PutResult, ObjectStoreError> {
    let http = ScriptedHTTP { request, number in
      if request.method == .head { return .ok(objectHeaders(etag: "\"copy\"", length: 10, found)) }
      return number == 1 ? first : .refusal(412, "PreconditionFailed")
    }
    let bucket = try scriptedBucket(http)
    return Result { () throws(ObjectStoreError) in
      try bucket.copy(
        CopyRequest(
          from: ObjectKey("key"), to: destination, sourceMatch: ETag("parts-2"),
          attributes: ObjectAttributes(userMetadata: ["mode": "33152", "ctime": "17.000000001"])))
    }
  }

  @Test func aCopyInPlaceThatWasMadeIsRecognised() throws {
    let mode = HTTPHeader("x-amz-meta-mode", "33152")
    let ctime = HTTPHeader("x-amz-meta-ctime", "17.000000001")
    #expect(try copyInPlace(found: [mode, ctime]).get().etag == ETag("copy"))
    // Somebody else's version.
    for found in [[], [mode], [mode, HTTPHeader("x-amz-meta-ctime", "18")]] {
      let other = try copyInPlace(found: found)
      #expect(failure { () throws(ObjectStoreError) in try other.get() }?.code == .preconditionFailed)
    }
    // No answer was lost, or the source was another object.
    let refused = try copyInPlace(found: [mode, ctime], first: .refusal(412, "PreconditionFailed"))
    #expect(failure { () throws(ObjectStoreError) in try refused.get() }?.code == .preconditionFailed)
    let elsewhere = try copyInPlace(found: [mode, ctime], to: ObjectKey("other"))
    #expect(failure { () throws(ObjectStoreError) in try elsewhere.get() }?.code == .preconditionFailed)
  }
}
