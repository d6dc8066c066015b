import HTTPTransport
import Testing

@testable import WAYSCloud

/// The document, endpoint by endpoint: what it shows is sent as it shows it, and the answers it describes are read with
/// every field.
@Suite struct DocumentTests {
  private static let key = "YOUR_API_KEY"

  /// One row of a table of response fields, and JSON of its type.
  private typealias Field = (name: String, json: String)

  private static let bucketFields: [Field] = [
    ("name", #""my-bucket""#), ("region", #""no-oslo-1""#), ("created_at", #""2026-01-02T03:04:05Z""#),
    ("size_bytes", "1024"), ("object_count", "3"), ("is_public", "true"),
  ]
  private static let creationFields: [Field] = [
    ("success", "true"), ("bucket_name", #""my-bucket""#), ("message", #""Bucket created""#),
    ("endpoint", #""https://storage.wayscloud.services""#), ("region", #""no-oslo-1""#),
  ]
  private static let deletionFields: [Field] = [("success", "true"), ("message", #""Bucket deleted""#)]
  private static let credentialFields: [Field] = [
    ("access_key_id", #""YOUR_ACCESS_KEY""#), ("secret_access_key", #""YOUR_SECRET_KEY""#),
    ("endpoint_url", #""https://storage.wayscloud.services""#), ("region", #""eu-north-1""#),
  ]

  private static func json(_ fields: [Field]) -> String {
    "{" + fields.map { "\"\($0.name)\": \($0.json)" }.joined(separator: ", ") + "}"
  }

  private func plane(_ answers: String...) throws -> (ControlPlane, ScriptedClient) {
    let transport = ScriptedClient(answers.map { .answer(200, $0) })
    return (try ControlPlane(client: transport, apiKey: Self.key), transport)
  }

  /// What a call sends is the line of curl that the document gives for it.
  private func expect(_ request: HTTPRequest?, is method: HTTPMethod, _ url: String) throws {
    let request = try #require(request)
    #expect(request.method == method)
    #expect(request.url == url)
    #expect(request.header("X-API-Key") == Self.key)
  }

  @Test func listBuckets() throws {
    let (plane, transport) = try plane(#"{"buckets": [\#(Self.json(Self.bucketFields))], "total": 1}"#)
    let list = try plane.listBuckets()
    #expect(list.total == 1)
    #expect(list.buckets == [Self.bucket])
    try expect(transport.requests.first, is: .get, "https://api.wayscloud.services/v1/storage/buckets")
  }

  @Test func createBucket() throws {
    let (plane, transport) = try plane(Self.json(Self.creationFields))
    #expect(
      try plane.createBucket(named: "my-bucket", tier: .standard, region: "no-oslo-1")
        == CreatedBucket(
          name: "my-bucket", message: "Bucket created", endpoint: "https://storage.wayscloud.services",
          region: "no-oslo-1"))
    let request = transport.requests.first
    try expect(request, is: .post, "https://api.wayscloud.services/v1/storage/buckets")
    #expect(request?.header("Content-Type") == "application/json")
    for part in [#""bucket_name":"my-bucket""#, #""tier":"standard""#, #""region":"no-oslo-1""#] {
      #expect(request?.bodyText.contains(part) == true)
    }
  }

  @Test func tiersAreThoseOfTheDocument() {
    #expect(StorageTier.allCases.map(\.rawValue) == ["standard", "enterprise"])
  }

  @Test func getBucket() throws {
    let (plane, transport) = try plane(Self.json(Self.bucketFields))
    #expect(try plane.bucket(named: "my-bucket") == Self.bucket)
    try expect(transport.requests.first, is: .get, "https://api.wayscloud.services/v1/storage/buckets/my-bucket")
  }

  @Test func deleteBucket() throws {
    let (plane, transport) = try plane(Self.json(Self.deletionFields))
    #expect(try plane.deleteBucket(named: "my-bucket").message == "Bucket deleted")
    try expect(transport.requests.first, is: .delete, "https://api.wayscloud.services/v1/storage/buckets/my-bucket")
  }

  @Test func getCredentials() throws {
    let (plane, transport) = try plane(Self.json(Self.credentialFields))
    #expect(
      try plane.credentials()
        == StorageCredentials(
          accessKeyID: "YOUR_ACCESS_KEY", secretAccessKey: "YOUR_SECRET_KEY",
          endpointURL: "https://storage.wayscloud.services", region: "eu-north-1"))
    try expect(transport.requests.first, is: .get, "https://api.wayscloud.services/v1/storage/credentials")
  }

  @Test func protocolGuide() throws {
    let (plane, transport) = try plane("WAYSCloud Storage is fully AWS S3 compatible.")
    #expect(try plane.protocolGuide() == "WAYSCloud Storage is fully AWS S3 compatible.")
    try expect(transport.requests.first, is: .get, "https://api.wayscloud.services/storage/s3")
  }

  @Test func optionalFieldsMayBeMissingOrNull() throws {
    for index in Self.bucketFields.indices where Self.bucketFields[index].name != "name" {
      for replacement: [Field] in [[], [(Self.bucketFields[index].name, "null")]] {
        var fields = Self.bucketFields
        fields.replaceSubrange(index...index, with: replacement)
        let (plane, _) = try plane(Self.json(fields))
        #expect(try plane.bucket(named: "my-bucket").name == "my-bucket")
      }
    }
    for index in Self.creationFields.indices {
      var fields = Self.creationFields
      fields.remove(at: index)
      let (plane, _) = try plane(Self.json(fields))
      #expect(try plane.createBucket(named: "my-bucket").name == "my-bucket")
    }
    let (plane, _) = try plane("{}", #"{"buckets": []}"#, Self.json(Array(Self.credentialFields.prefix(2))))
    #expect(try plane.deleteBucket(named: "my-bucket").message == nil)
    #expect(try plane.listBuckets().total == nil)
    #expect(try plane.credentials().endpointURL == nil)
  }

  @Test func fieldsOfAnotherTypeAreNamed() throws {
    for field in Self.bucketFields {
      var fields = Self.bucketFields.filter { $0.name != field.name }
      fields.append((field.name, "[]"))
      let (plane, _) = try plane(#"{"buckets": [\#(Self.json(Self.bucketFields)), \#(Self.json(fields))]}"#)
      let error = try #require(throws: ControlPlaneError.self) { try plane.listBuckets() }
      #expect(error.code == .malformedResponse)
      #expect(error.message.hasSuffix("buckets[1].\(field.name) is of another type than documented."))
    }
    for name in ["access_key_id", "secret_access_key"] {
      let (plane, _) = try plane(Self.json(Self.credentialFields.filter { $0.name != name }))
      let error = try #require(throws: ControlPlaneError.self) { try plane.credentials() }
      #expect(error.message.hasSuffix("\(name) is missing."))
    }
  }

  private static let bucket = Bucket(
    name: "my-bucket", region: "no-oslo-1", createdAt: "2026-01-02T03:04:05Z", sizeBytes: 1024, objectCount: 3,
    isPublic: true)
}
