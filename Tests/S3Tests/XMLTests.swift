import Basics
import HTTPTransport
import ObjectStore
import Testing

@testable import S3

@Suite struct XMLTests {
  private func list(
    _ body: [UInt8], _ request: ListRequest = ListRequest(prefix: "", delimited: false)
  ) throws -> Result<ListPage, ObjectStoreError> {
    let bucket = try scriptedBucket(ScriptedHTTP(ScriptedHTTP.Answer(status: 200, body: body)))
    return Result { () throws(ObjectStoreError) in try bucket.list(request) }
  }

  private func list(_ text: String, prefix: String = "") throws -> Result<ListPage, ObjectStoreError> {
    try list(Array(text.utf8), ListRequest(prefix: prefix, delimited: true))
  }

  private static func entry(_ key: String) -> String {
    "<Contents><Key>\(key)</Key><LastModified>2009-10-12T17:50:30.000Z</LastModified><ETag>&quot;e&quot;</ETag>"
      + "<Size>5</Size><Owner><ID>x</ID></Owner></Contents>"
  }

  @Test func aPageIsRead() throws {
    let page = try list(
      """
      <?xml version="1.0" encoding="UTF-8"?>
      <ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>b</Name><Prefix>p/</Prefix>
      <IsTruncated>true</IsTruncated><NextContinuationToken>t&amp;1</NextContinuationToken>
      \(Self.entry("p/a&lt;b&gt;&#xE4;%41+"))
      <CommonPrefixes><Prefix>p/d/</Prefix></CommonPrefixes></ListBucketResult>
      """, prefix: "p/"
    ).get()
    #expect(page.continuation == "t&1")
    #expect(page.prefixes == ["p/d/"])
    let expected = ListEntry(
      key: "p/a<b>ä%41+", size: 5, etag: ETag("e"), lastModified: Timestamp(seconds: 1_255_369_830))
    #expect(page.entries == [expected])
  }

  @Test func namesAreDecodedOnlyWhenTheAnswerSaysSo() throws {
    let page = try list(
      "<ListBucketResult>\(Self.entry("a%0Ab+c%2B"))<CommonPrefixes><Prefix>d%25/</Prefix></CommonPrefixes>"
        + "<EncodingType>url</EncodingType><IsTruncated>false</IsTruncated></ListBucketResult>"
    ).get()
    #expect(page.entries.map(\.key) == ["a\nb c+"])
    #expect(page.prefixes == ["d%/"])
  }

  static let hostile: [String] = [
    "", "garbage", "<", "<a>", "<html><body>Welcome</body></html>", "{\"json\": true}", "<ListBucketResult>",
    "<ListBucketResult><Contents></Contents></ListBucketResult>",
    "<ListBucketResult><Contents><Key>a</Key></Contents></ListBucketResult>",
    "<ListBucketResult>\(entry("a").replacing("5</Size>", with: "-5</Size>"))</ListBucketResult>",
    "<ListBucketResult>\(entry("a").replacing("2009-10", with: "never"))</ListBucketResult>",
    "<ListBucketResult><EncodingType>url</EncodingType>\(entry("%zz"))</ListBucketResult>",
    "<ListBucketResult><EncodingType>url</EncodingType>\(entry("%FF"))</ListBucketResult>",
    "<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>",
    "<Error><Code>Odd</Code></Error>",
    "<!DOCTYPE a [<!ENTITY x \"y\">]><ListBucketResult>&x;</ListBucketResult>",
    "<!DOCTYPE a SYSTEM \"file:///etc/passwd\"><ListBucketResult/>",
    "<ListBucketResult>&undefined;</ListBucketResult>",
    String(repeating: "<d>", count: 100_000),
    "<ListBucketResult><Contents><Key>\(String(repeating: "k", count: 100_000))</Key></Contents></ListBucketResult>",
    "<ListBucketResult></ListBucketResult><again/>", "<ListBucketResult>\u{0}</ListBucketResult>",
  ]

  @Test(arguments: hostile.indices)
  func hostileDocumentsAreCorrupt(_ index: Int) throws {
    let result = try list(Self.hostile[index])
    #expect(failure { () throws(ObjectStoreError) in try result.get() }?.code == .corruptResponse)
  }

  @Test func billionLaughsAreRefusedAtTheDeclaration() {
    var document = "<!DOCTYPE l [<!ENTITY a0 \"ha\">"
    for level in 1...30 { document += "<!ENTITY a\(level) \"&a\(level - 1);&a\(level - 1);\">" }
    document += "]><Error><Message>&a30;</Message></Error>"
    #expect(throws: XMLError(message: "The document has a type declaration.")) {
      try FlatDocument(Array(document.utf8))
    }
  }

  @Test func invalidUTF8IsCorrupt() throws {
    let result = try list(
      Array("<ListBucketResult><Name>".utf8) + [0xFF, 0xC0] + Array("</Name></ListBucketResult>".utf8))
    #expect(failure { () throws(ObjectStoreError) in try result.get() }?.code == .corruptResponse)
  }

  @Test func aHugeAnswerIsNotCollected() throws {
    let result = try list([UInt8](repeating: 0x20, count: (16 << 20) + 1))
    #expect(failure { () throws(ObjectStoreError) in try result.get() }?.code == .corruptResponse)
  }

  @Test func aHugeRefusalIsCutAndKeepsItsStatus() throws {
    let http = ScriptedHTTP(pieceSize: 16 << 10) { _, _ in
      ScriptedHTTP.Answer(status: 403, body: [UInt8](repeating: 0x3C, count: 4 << 20))
    }
    let bucket = try scriptedBucket(http)
    #expect(failure { () throws(ObjectStoreError) in try bucket.get(GetRequest("key")) }?.code == .accessDenied)
  }

  @Test func namesOutsideThePrefixAreNotTaken() throws {
    let result = try list("<ListBucketResult>\(Self.entry("elsewhere"))</ListBucketResult>", prefix: "p/")
    #expect(failure { () throws(ObjectStoreError) in try result.get() }?.code == .corruptResponse)
  }

  @Test func aListingThatDoesNotGoOnIsCorrupt() throws {
    let same = Array(
      "<ListBucketResult><IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken></ListBucketResult>"
        .utf8)
    let result = try list(same, ListRequest(prefix: "", delimited: false, continuation: "t"))
    #expect(failure { () throws(ObjectStoreError) in try result.get() }?.code == .corruptResponse)
    let http = ScriptedHTTP(
      .ok(
        [],
        "<ListPartsResult><IsTruncated>true</IsTruncated><NextPartNumberMarker>5</NextPartNumberMarker></ListPartsResult>"
      ))
    let bucket = try scriptedBucket(http)
    let error = failure { () throws(ObjectStoreError) in try bucket.listParts(MultipartUpload(key: "k", id: "u")) }
    #expect(error?.code == .corruptResponse)
    #expect(http.requests.count == 2)
  }

  @Test func partsAndUploadsComeInPages() throws {
    let http = ScriptedHTTP { request, number in
      let part = "<Part><PartNumber>\(number)</PartNumber><ETag>\"e\(number)\"</ETag><Size>9</Size></Part>"
      let more = "<IsTruncated>\(number < 3)</IsTruncated><NextPartNumberMarker>\(number)</NextPartNumberMarker>"
      return .ok([], "<ListPartsResult>\(part)\(more)</ListPartsResult>")
    }
    let parts = try scriptedBucket(http).listParts(MultipartUpload(key: "k", id: "u 1"))
    #expect(parts.map(\.number) == [1, 2, 3])
    #expect(parts.map(\.size) == [9, 9, 9])
    #expect(http.requests.map { $0.url.contains("part-number-marker=2") } == [false, false, true])

    let uploads = ScriptedHTTP { request, number in
      let upload = "<Upload><Key>p%2B\(number)</Key><UploadId>u</UploadId><Initiator><ID>x</ID></Initiator></Upload>"
      let more = "<IsTruncated>\(number < 2)</IsTruncated><NextKeyMarker>p%2B1</NextKeyMarker>"
      return .ok(
        [], "<ListMultipartUploadsResult><EncodingType>url</EncodingType>\(upload)\(more)</ListMultipartUploadsResult>")
    }
    let found = try scriptedBucket(uploads).listUploads(prefix: "p")
    #expect(found.map(\.key) == ["p+1", "p+2"])
    #expect(uploads.requests.last?.url.contains("key-marker=p%2B1") == true)
  }

  @Test func anErrorInsideA200IsAnError() throws {
    let body = "  \n\n<?xml version=\"1.0\"?>\n<Error><Code>AccessDenied</Code><Message>no</Message></Error>"
    let bucket = try scriptedBucket(ScriptedHTTP(.ok([], body)))
    let upload = MultipartUpload(key: "k", id: "u")
    let part = UploadedPart(number: 1, etag: ETag("e"))
    let failures = [
      failure { () throws(ObjectStoreError) in try bucket.copy(CopyRequest(from: "a", to: "b")) },
      failure { () throws(ObjectStoreError) in try bucket.completeUpload(upload, parts: [part]) },
      failure { () throws(ObjectStoreError) in
        try bucket.copyPart(
          upload, number: 1, from: "a", range: ByteRange(offset: 0, length: 5), sourceMatch: nil)
      },
    ]
    #expect(failures.map(\.?.code) == [.accessDenied, .accessDenied, .accessDenied])
    let transient = ScriptedHTTP(
      .refusal(200, "InternalError"),
      .ok([], " \n<CompleteMultipartUploadResult><ETag>\"x-1\"</ETag></CompleteMultipartUploadResult>"))
    #expect(try scriptedBucket(transient).completeUpload(upload, parts: [part]).etag == ETag("x-1"))
    for odd in ["", "<Other/>", "<CopyObjectResult/>", "<CopyObjectResult><ETag></ETag></CopyObjectResult>"] {
      let bucket = try scriptedBucket(ScriptedHTTP(.ok([], odd)))
      let error = failure { () throws(ObjectStoreError) in try bucket.copy(CopyRequest(from: "a", to: "b")) }
      #expect(error?.code == .corruptResponse)
    }
  }

  @Test func refusedDeletionsAreToldOneByOne() throws {
    let body = """
      <DeleteResult><Error><Key>a</Key><Code>AccessDenied</Code><Message>no</Message></Error>
      <Error><Key>b</Key><Code>NoSuchKey</Code></Error><Error><Key>c</Key><Code>InternalError</Code></Error></DeleteResult>
      """
    let failed = try scriptedBucket(ScriptedHTTP(.ok([], body))).deleteMany(["a", "b", "c", "d"])
    #expect(failed.mapValues(\.code) == ["a": .accessDenied, "c": .serverError])
    #expect(failed.values.allSatisfy { $0.bucket == "bucket" && $0.key != nil })
    let bucket = try scriptedBucket(ScriptedHTTP(.ok([], "<html/>")))
    #expect(failure { () throws(ObjectStoreError) in try bucket.deleteMany(["a"]) }?.code == .corruptResponse)
  }

  @Test func messagesOfServersAreOneShortLine() throws {
    let text = "evil\u{1B}[31m\n" + String(repeating: "x", count: 5000)
    let body = "<Error><Code>AccessDenied</Code><Message>evil\n&#x9;\(text.dropFirst(9))</Message></Error>"
    let bucket = try scriptedBucket(ScriptedHTTP(ScriptedHTTP.Answer(status: 403, body: Array(body.utf8))))
    let message = try #require(failure { () throws(ObjectStoreError) in try bucket.get(GetRequest("k")) }?.message)
    #expect(message.unicodeScalars.count == 300)
    #expect(message.unicodeScalars.allSatisfy { $0.value >= 0x20 })
  }

  @Test func bucketsAreListed() throws {
    let http = ScriptedHTTP(
      .ok(
        [],
        "<ListAllMyBucketsResult><Owner><ID>o</ID></Owner><Buckets><Bucket><Name>a</Name><CreationDate>2009-10-12T17:50:30Z</CreationDate></Bucket><Bucket><Name>b</Name></Bucket></Buckets></ListAllMyBucketsResult>"
      ))
    let client = S3Client(
      configuration: try S3Configuration(endpoint: "http://a", region: "r"),
      credentials: StaticCredentials(S3Credentials(accessKeyID: "a", secretAccessKey: "b")), http: http,
      log: .init(label: "test"))
    let buckets = try waitFor { client.listBuckets(nil, $0) }
    #expect(buckets.map(\.name) == ["a", "b"])
    #expect(buckets.first?.created == Timestamp(seconds: 1_255_369_830))
  }
}
