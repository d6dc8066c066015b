import Foundation
import HTTPTransport
import Testing
import WAYSCloud

@testable import waysfs_sandbox

/// The client and the control plane of the sandbox are written from the same document: here they talk to each other
/// over a real connection.
@Suite(.timeLimit(.minutes(10))) struct ClientAgreementTests {
  private func withPlane(
    _ contents: [String: BucketUsage] = ["photos": BucketUsage(bytes: 300, objects: 2)], failing: Bool = false,
    key: String = "secret", faults: [Fault] = [], _ body: (ControlPlane) async throws -> Void
  ) async throws {
    let backend = FakeBackend(contents)
    await backend.fail(failing)
    let credentials = S3Credentials(
      accessKeyId: "AK", secretAccessKey: "SK", endpointUrl: "http://127.0.0.1:1", region: "us-east-1")
    let service = ControlPlaneService(
      apiKey: "secret", credentials: credentials, backend: backend, usedNames: []
    ) { _ in }
    for fault in faults {
      let encoder = JSONEncoder()
      encoder.keyEncodingStrategy = .convertToSnakeCase
      let reply = try await service.reply(
        method: "POST", path: "/sandbox/faults", apiKey: "secret", body: encoder.encode(fault))
      #expect(reply.status == 200)
    }
    let (port, task) = try await ControlPlaneServer(service: service).start()
    defer { task.cancel() }
    let transport = try HTTPTransport()
    defer { transport.shutdown() }
    try await body(ControlPlane(client: transport, apiKey: key, baseURL: "http://127.0.0.1:\(port)"))
  }

  /// Calls the client from a thread of its own: it blocks, and the threads of the concurrency pool are needed by the
  /// server.
  private func call<Value: Sendable>(_ work: @escaping @Sendable () throws -> Value) async throws -> Value {
    try await withCheckedThrowingContinuation { continuation in
      Thread.detachNewThread { continuation.resume(with: Result(catching: work)) }
    }
  }

  private func code(_ work: @escaping @Sendable () throws -> some Sendable) async -> ControlPlaneError.Code? {
    await #expect(throws: ControlPlaneError.self) { _ = try await call(work) }?.code
  }

  @Test func agreeOnTheLifeOfABucket() async throws {
    try await withPlane { plane in
      let created = try await call { try plane.createBucket(named: "new-one", tier: .enterprise, region: "no-oslo-1") }
      #expect(created.name == "new-one" && created.endpoint == "http://127.0.0.1:1" && created.region == "no-oslo-1")
      let list = try await call { try plane.listBuckets() }
      #expect(list.total == 2)
      #expect(list.buckets.map(\.name) == ["new-one", "photos"])
      let photos = try await call { try plane.bucket(named: "photos") }
      #expect(
        photos
          == Bucket(
            name: "photos", region: "no-oslo-1", createdAt: "2001-09-09T01:46:40Z", sizeBytes: 300, objectCount: 2,
            isPublic: false))
      _ = try await call { try plane.deleteBucket(named: "new-one") }
      #expect(try await call { try plane.listBuckets() }.buckets.map(\.name) == ["photos"])
    }
  }

  @Test func agreeOnCredentialsAndGuide() async throws {
    try await withPlane { plane in
      let credentials = try await call { try plane.credentials() }
      #expect(
        credentials
          == StorageCredentials(
            accessKeyID: "AK", secretAccessKey: "SK", endpointURL: "http://127.0.0.1:1", region: "us-east-1"))
      #expect(try await call { try plane.protocolGuide() }.contains("http://127.0.0.1:1"))
    }
  }

  @Test func agreeOnErrors() async throws {
    try await withPlane { plane in
      #expect(await code { try plane.createBucket(named: "photos") } == .conflict)
      #expect(await code { try plane.createBucket(named: "new-one", region: "eu-north-1") } == .invalid)
      #expect(await code { try plane.createBucket(named: "-abc") } == .invalid)
      #expect(await code { try plane.deleteBucket(named: "photos") } == .conflict)
      #expect(await code { try plane.deleteBucket(named: "nothing") } == .notFound)
      #expect(await code { try plane.bucket(named: "nothing") } == .notFound)
    }
  }

  /// Every endpoint, by a call that succeeds when nothing is wrong.
  private static let calls: [@Sendable (ControlPlane) throws -> Void] = [
    { _ = try $0.listBuckets() }, { _ = try $0.createBucket(named: "new-one") }, { _ = try $0.bucket(named: "photos") },
    { _ = try $0.deleteBucket(named: "new-one") }, { _ = try $0.credentials() }, { _ = try $0.protocolGuide() },
  ]

  @Test func agreeOnWhoMayAsk() async throws {
    try await withPlane(key: "other") { plane in
      for work in Self.calls { #expect(await code { try work(plane) } == .unauthorized) }
    }
  }

  @Test(arguments: [
    (401, ControlPlaneError.Code.unauthorized), (403, .forbidden), (404, .notFound), (409, .conflict),
    (422, .invalid), (500, .server), (502, .server),
  ])
  func everyEndpointGivesEveryError(status: Int, expected: ControlPlaneError.Code) async throws {
    // Reading calls are tried four times when the server fails.
    let faults = Fault(status: status, message: "Told so.", times: status >= 500 ? 4 * 4 + 2 : 6)
    try await withPlane(faults: [faults]) { plane in
      for work in Self.calls {
        let error = await #expect(throws: ControlPlaneError.self) { try await call { try work(plane) } }
        #expect(error?.code == expected)
        #expect(error?.status == status)
        #expect(error?.message == "Told so.")
      }
      // And nothing was left behind: the next calls do what they say.
      for work in Self.calls { try await call { try work(plane) } }
    }
  }

  @Test func aBusyServerIsAskedAgainWhenItSays() async throws {
    for index in Self.calls.indices where index != 3 {
      try await withPlane(faults: [Fault(status: 429, retryAfter: 0, times: 2)]) { plane in
        try await call { try Self.calls[index](plane) }
      }
    }
    try await withPlane(faults: [Fault(status: 429, retryAfter: 3600)]) { plane in
      #expect(await code { try plane.deleteBucket(named: "photos") } == .rateLimited(retryAfter: 3600))
    }
  }

  @Test func aFailingStorageServerIsAServerError() async throws {
    try await withPlane(failing: true) { plane in
      #expect(await code { try plane.deleteBucket(named: "abc") } == .server)
    }
  }
}
