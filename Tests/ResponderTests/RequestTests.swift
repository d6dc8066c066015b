import Testing

@testable import waysfs_responder

func head(_ requestLine: String, _ fields: String...) throws -> RequestHead {
  try RequestHead(Array(([requestLine] + fields).map { $0 + "\r\n" }.joined().utf8))
}

@Suite struct RequestHeadTests {
  @Test func splitsTheTarget() throws {
    let head = try head("GET /bucket/a%20b/c+d%2F%C3%A9?prefix=x%2By+z&list-type=2&uploads HTTP/1.1")
    #expect(head.method == .get && head.bucket == "bucket")
    #expect(head.key == Key("a b/c+d/é"))
    #expect(head.query["prefix"] == "x+y z" && head.query["list-type"] == "2" && head.query["uploads"] == "")
    #expect(head.query["delimiter"] == nil && !head.query.has("delimiter"))
  }

  @Test(arguments: [("/", "", ""), ("/b", "b", ""), ("/b/", "b", ""), ("/b//k/", "b", "/k/")])
  func tellsBucketFromKey(path: String, bucket: String, key: String) throws {
    let head = try head("HEAD \(path) HTTP/1.1")
    #expect(head.bucket == bucket && head.key == Key(key))
  }

  @Test func findsHeadersWhateverTheirCase() throws {
    let head = try head("PUT /b/k HTTP/1.1", "Content-LENGTH: 12 ", "X-Amz-Meta-Mode:33188", "x-amz-meta-modeless: 1")
    #expect(try head.number("content-length") == 12)
    #expect(head["x-amz-meta-mode"] == "33188")
    #expect(head["content-md5"] == nil)
    // The same bits but for 0x20, yet no letter of the other case.
    #expect(try waysfs_responder.RequestHead(Array("PUT / HTTP/1.1\nx\rmd: 1\n".utf8))["x-md"] == nil)
  }

  @Test func keepsConnectionsAsHTTPSays() throws {
    #expect(try head("GET / HTTP/1.1").keepsAlive)
    #expect(try !head("GET / HTTP/1.1", "Connection: Close").keepsAlive)
    #expect(try !head("GET / HTTP/1.0").keepsAlive)
    #expect(try head("GET / HTTP/1.0", "Connection: keep-alive").keepsAlive)
  }

  @Test(arguments: [
    "", "GET", "GET /", "GET / HTTP/2", "GET x HTTP/1.1", "GET /%zz HTTP/1.1", "GET /%1 HTTP/1.1", "BREW / HTTP/1.1",
    "GET /?a=%x HTTP/1.1", "GET  / HTTP/1.1", "GET /b/" + String(repeating: "k", count: 1025) + " HTTP/1.1",
  ])
  func refusesWhatIsNoRequest(line: String) {
    #expect(throws: Refusal.self) { try head(line) }
  }

  @Test func refusesBadHeaders() throws {
    #expect(throws: Refusal.self) { try head("GET / HTTP/1.1", "no colon") }
    #expect(throws: Refusal.self) { try head("GET / HTTP/1.1", "Content-Length: -1").number("content-length") }
  }
}

@Suite struct OperationTests {
  @Test(arguments: [
    ("GET /", Operation.listBuckets), ("GET /b", .listObjects), ("GET /b?list-type=2&prefix=x", .listObjectsV2),
    ("GET /b/?uploads", .listUploads), ("GET /b?location", .bucketLocation), ("HEAD /b", .headBucket),
    ("PUT /b", .createBucket), ("DELETE /b", .deleteBucket), ("POST /b?delete", .deleteObjects),
    ("GET /b/k", .getObject), ("HEAD /b/k", .headObject), ("PUT /b/k", .putObject), ("DELETE /b/k", .deleteObject),
    ("POST /b/k?uploads", .createUpload), ("PUT /b/k?partNumber=1&uploadId=u", .uploadPart),
    ("GET /b/k?uploadId=u", .listParts), ("POST /b/k?uploadId=u", .completeUpload),
    ("DELETE /b/k?uploadId=u", .abortUpload), ("PUT /__responder?delay=0", .control),
  ])
  func knows(request: String, operation: Operation) throws {
    #expect(try Operation(head("\(request) HTTP/1.1")) == operation)
  }

  @Test func knowsCopies() throws {
    let source = "x-amz-copy-source: /b/s"
    #expect(try Operation(head("PUT /b/k HTTP/1.1", source)) == .copyObject)
    #expect(try Operation(head("PUT /b/k?partNumber=1&uploadId=u HTTP/1.1", source)) == .copyPart)
  }

  @Test(arguments: ["PUT /b/k?acl", "PUT /b/k?append&position=0", "PUT /b?versioning", "GET /b/k?tagging", "POST /b/k"])
  func takesNothingForWhatItIsNot(request: String) {
    #expect(throws: Refusal.self) { try Operation(head("\(request) HTTP/1.1")) }
  }
}

@Suite struct RangeTests {
  @Test(arguments: [
    ("bytes=0-0", 0..<1), ("bytes=2-5", 2..<6), ("bytes=2-", 2..<10), ("bytes=9-99", 9..<10), ("bytes=-3", 7..<10),
    ("bytes=-99", 0..<10), ("bytes=0-9223372036854775807", 0..<10),
  ])
  func parses(text: String, range: Range<Int>) throws {
    #expect(try RequestedRange.parse(text, size: 10) == range)
  }

  @Test(arguments: [nil, "bytes=5-2", "bytes=-", "bytes=a-b", "bytes=0-1,3-4", "lines=0-1", "bytes=+1-2", "bytes=1"])
  func ignoresWhatItCannotRead(text: String?) throws {
    #expect(try RequestedRange.parse(text, size: 10) == nil)
  }

  @Test(arguments: [("bytes=10-", 10), ("bytes=10-20", 10), ("bytes=-0", 10), ("bytes=0-", 0), ("bytes=-1", 0)])
  func refusesWhatLiesOutside(text: String, size: Int) {
    #expect(throws: RequestedRange.unsatisfiable) { try RequestedRange.parse(text, size: size) }
  }

  @Test func wantsBothEndsForACopy() throws {
    #expect(try RequestedRange.parseCopy("bytes=0-9", size: 10) == 0..<10)
    for text in ["bytes=0-10", "bytes=0-", "bytes=-1", "0-1"] {
      #expect(throws: Refusal.self) { try RequestedRange.parseCopy(text, size: 10) }
    }
  }
}

@Suite struct ConditionTests {
  private func object(_ etag: String) -> StoredObject {
    StoredObject(body: Body(), etag: etag, modified: 0, attributes: ObjectAttributes())
  }

  @Test func matches() throws {
    let conditions = Conditions(ifMatch: "\"x\", \"y\"", ifNoneMatch: nil)
    try conditions.check(object("y"))
    #expect(throws: Refusal.preconditionFailed) { try conditions.check(object("z")) }
    #expect(throws: Refusal.noSuchKey) { try conditions.check(nil) }
    try Conditions(ifMatch: "*", ifNoneMatch: nil).check(object("y"))
  }

  @Test func matchesNothing() throws {
    let nothing = Conditions(ifMatch: nil, ifNoneMatch: "*")
    try nothing.check(nil)
    #expect(throws: Refusal.preconditionFailed) { try nothing.check(object("x")) }
    let other = Conditions(ifMatch: nil, ifNoneMatch: "x")
    try other.check(object("y"))
    #expect(throws: Refusal.preconditionFailed) { try other.check(object("x")) }
  }
}
