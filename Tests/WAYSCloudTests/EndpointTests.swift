import HTTPTransport
import Testing

@testable import WAYSCloud

private let key = "wc_0123456789"

private func client(
  _ steps: ScriptedClient.Step...
) throws -> (ControlPlane, ScriptedClient) {
  let transport = ScriptedClient(steps)
  return (try ControlPlane(client: transport, apiKey: key, random: { 0.5 }), transport)
}

@Suite struct EndpointTests {
  @Test func listsBuckets() throws {
    let (plane, transport) = try client(
      .answer(
        200,
        """
        {"buckets":[{"name":"a-1","region":"no-oslo-1","created_at":"2026-01-02T03:04:05Z","size_bytes":5497558138880,
        "object_count":7,"is_public":true,"colour":"red"},{"bucket_name":"b-2"},{"name":"c-3","size_bytes":null}],
        "total":3,"page":{"next":null}}
        """))
    let list = try plane.listBuckets()
    #expect(list.total == 3)
    #expect(
      list.buckets == [
        Bucket(
          name: "a-1", region: "no-oslo-1", createdAt: "2026-01-02T03:04:05Z", sizeBytes: 5_497_558_138_880,
          objectCount: 7, isPublic: true), Bucket(name: "b-2"), Bucket(name: "c-3"),
      ])
    let request = try #require(transport.requests.first)
    #expect(request.method == .get)
    #expect(request.url == "https://api.wayscloud.services/v1/storage/buckets")
    #expect(request.header("X-API-Key") == key)
    #expect(request.deadlines.total != nil)
  }

  @Test func describesABucket() throws {
    let (plane, transport) = try client(
      .answer(
        200,
        """
        {"name":"my-bucket","region":"no-oslo-1","created_at":"2026-01-02","size_bytes":0,"object_count":0,"is_public":false}
        """))
    let expected = Bucket(
      name: "my-bucket", region: "no-oslo-1", createdAt: "2026-01-02", sizeBytes: 0, objectCount: 0, isPublic: false)
    #expect(try plane.bucket(named: "my-bucket") == expected)
    #expect(transport.requests.first?.url == "https://api.wayscloud.services/v1/storage/buckets/my-bucket")
  }

  @Test func createsABucket() throws {
    let (plane, transport) = try client(
      .answer(
        200,
        """
        {"success":true,"bucket_name":"my-bucket","message":"done","endpoint":"https://storage.wayscloud.services",
        "region":"no-oslo-1"}
        """), .answer(201, ""))
    let created = try plane.createBucket(named: "my-bucket", tier: .enterprise, region: #"a"b"#)
    #expect(
      created
        == CreatedBucket(
          name: "my-bucket", message: "done", endpoint: "https://storage.wayscloud.services", region: "no-oslo-1"))
    #expect(try plane.createBucket(named: "my-bucket") == CreatedBucket(name: "my-bucket"))
    let requests = transport.requests
    #expect(requests[0].method == .post)
    #expect(requests[0].url == "https://api.wayscloud.services/v1/storage/buckets")
    #expect(requests[0].header("Content-Type") == "application/json")
    for part in [#""bucket_name":"my-bucket""#, #""tier":"enterprise""#, #""region":"a\"b""#] {
      #expect(requests[0].bodyText.contains(part))
    }
    #expect(requests[1].bodyText == #"{"bucket_name":"my-bucket"}"#)
  }

  @Test func deletesABucket() throws {
    let (plane, transport) = try client(.answer(200, #"{"success":true,"message":"gone"}"#), .answer(204, ""))
    #expect(try plane.deleteBucket(named: "my-bucket").message == "gone")
    #expect(try plane.deleteBucket(named: "my-bucket").message == nil)
    #expect(transport.requests[0].method == .delete)
    #expect(transport.requests[0].url == "https://api.wayscloud.services/v1/storage/buckets/my-bucket")
  }

  @Test func getsCredentials() throws {
    let (plane, transport) = try client(
      .answer(
        200,
        """
        {"access_key_id":"AK","secret_access_key":"SK","endpoint_url":"https://storage.wayscloud.services",
        "region":"eu-north-1"}
        """), .answer(200, #"{"access_key_id":"AK","secret_access_key":"SK"}"#),
      .answer(200, #"{"access_key_id":"","secret_access_key":"SK"}"#))
    #expect(
      try plane.credentials()
        == StorageCredentials(
          accessKeyID: "AK", secretAccessKey: "SK", endpointURL: "https://storage.wayscloud.services",
          region: "eu-north-1"))
    #expect(try plane.credentials() == StorageCredentials(accessKeyID: "AK", secretAccessKey: "SK"))
    let error = #expect(throws: ControlPlaneError.self) { try plane.credentials() }
    #expect(error?.code == .malformedResponse)
    #expect(transport.requests[0].url == "https://api.wayscloud.services/v1/storage/credentials")
  }

  @Test func getsTheGuide() throws {
    let (plane, transport) = try client(.answer(200, "# Guide\n"))
    #expect(try plane.protocolGuide() == "# Guide\n")
    #expect(transport.requests[0].url == "https://api.wayscloud.services/storage/s3")
  }

  @Test(arguments: [
    "", "ab", String(repeating: "x", count: 64), "Abc", "a_b", "a/b", "../..", "a b", "abé", "abc\n", "a?b",
  ])
  func sendsNothingForABadName(name: String) throws {
    let (plane, transport) = try client()
    for call in [
      { () throws in _ = try plane.bucket(named: name) }, { () throws in _ = try plane.createBucket(named: name) },
      { () throws in _ = try plane.deleteBucket(named: name) },
    ] {
      let error = #expect(throws: ControlPlaneError.self) { try call() }
      #expect(error?.code == .invalidName)
    }
    #expect(transport.requests.isEmpty)
  }

  @Test(arguments: ["abc", String(repeating: "x", count: 63), "a-1"])
  func sendsGoodNames(name: String) throws {
    let (plane, transport) = try client(.answer(200, #"{"name":"\#(name)"}"#))
    #expect(try plane.bucket(named: name).name == name)
    #expect(transport.requests.count == 1)
  }
}

@Suite struct ConfigurationTests {
  @Test(arguments: [
    ("https://api.example.com/", "https://api.example.com"), ("https://a:8443/x", "https://a:8443/x"),
    ("http://127.0.0.1:9", "http://127.0.0.1:9"), ("http://localhost", "http://localhost"),
    ("http://[::1]:80", "http://[::1]:80"),
  ])
  func acceptsAddresses(address: String, expected: String) throws {
    #expect(try ControlPlane(client: ScriptedClient([]), apiKey: key, baseURL: address).baseURL == expected)
  }

  @Test(arguments: [
    "", "api.example.com", "ftp://a", "https://", "https:///x", "https://u:p@a", "https://a b", "https://a\r\nX: y",
    "https://a?b", "https://a#b", "http://api.example.com", "http://127.0.0.1.evil.com", "http://localhost.evil.com",
    "http://10.0.0.1", "http://[::1].evil.com", "https://é",
  ])
  func refusesAddresses(address: String) {
    let error = #expect(throws: ControlPlaneError.self) {
      try ControlPlane(client: ScriptedClient([]), apiKey: key, baseURL: address)
    }
    #expect(error?.code == .configuration)
  }

  @Test(arguments: ["", "a b", "a\r\nX-Evil: 1", "é", "a\u{0}"])
  func refusesKeys(key: String) {
    let error = #expect(throws: ControlPlaneError.self) {
      try ControlPlane(client: ScriptedClient([]), apiKey: key)
    }
    #expect(error?.code == .configuration)
    #expect(key.isEmpty || error.map { !"\($0)".contains(key) } == true)
  }
}
