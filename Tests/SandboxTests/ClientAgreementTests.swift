import Foundation
import HTTPTransport
import Testing
import WAYSCloud

@testable import waysfs_sandbox

/// The client and the control plane of the sandbox are written from the same document: here they talk to each other
/// over a real connection.
@Suite(.timeLimit(.minutes(1))) struct ClientAgreementTests {
  private func withPlane(
    _ contents: [String: BucketUsage] = ["photos": BucketUsage(bytes: 300, objects: 2)], failing: Bool = false,
    key: String = "secret", _ body: (ControlPlane) async throws -> Void
  ) async throws {
    let backend = FakeBackend(contents)
    await backend.fail(failing)
    let credentials = S3Credentials(
      accessKeyId: "AK", secretAccessKey: "SK", endpointUrl: "http://127.0.0.1:1", region: "us-east-1")
    let service = ControlPlaneService(
      apiKey: "secret", credentials: credentials, backend: backend, usedNames: []
    ) { _ in }
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

  @Test func agreeOnWhoMayAsk() async throws {
    try await withPlane(key: "other") { plane in
      #expect(await code { try plane.credentials() } == .unauthorized)
    }
  }

  @Test func aFailingStorageServerIsAServerError() async throws {
    try await withPlane(failing: true) { plane in
      #expect(await code { try plane.deleteBucket(named: "abc") } == .server)
    }
  }
}
