import Foundation
import Synchronization
import Testing

@testable import waysfs_sandbox

private let buckets = "/v1/storage/buckets"

@Suite struct ControlPlaneServiceTests {
  private final class Saved: Sendable {
    let names = Mutex<Set<String>>([])
    let installed = Mutex<[S3Credentials]>([])
  }

  private let backend: FakeBackend
  private let service: ControlPlaneService<FakeBackend>
  private let saved = Saved()

  init() {
    backend = FakeBackend(["photos": BucketUsage(bytes: 300, objects: 2), "empty": BucketUsage()])
    let credentials = S3Credentials(
      accessKeyId: "AK", secretAccessKey: "SK", endpointUrl: "http://127.0.0.1:1", region: "us-east-1")
    service = ControlPlaneService(
      apiKey: "secret", credentials: credentials, backend: backend, usedNames: ["burnt"],
      save: { [saved] names in saved.names.withLock { $0 = names } },
      install: { [saved] pair in saved.installed.withLock { $0.append(pair) } })
  }

  private func send(
    _ method: String, _ path: String, key: String? = "secret", _ body: String = ""
  ) async throws -> (status: Int, json: [String: Any]) {
    let reply = try await service.reply(method: method, path: path, apiKey: key, body: Data(body.utf8))
    let json = try JSONSerialization.jsonObject(with: reply.body) as? [String: Any]
    return (reply.status, try #require(json))
  }

  @Test(arguments: [nil, "", "Secret", "secret "])
  func refusesOtherKeysEverywhere(key: String?) async throws {
    for (method, path) in [
      ("GET", buckets), ("POST", buckets), ("GET", "\(buckets)/photos"), ("DELETE", "\(buckets)/empty"),
      ("GET", "/v1/storage/credentials"), ("GET", "/storage/s3"), ("GET", "/nowhere"),
    ] {
      let answer = try await send(method, path, key: key, #"{"bucket_name":"intruder"}"#)
      #expect(answer.status == 401)
      #expect(answer.json["success"] as? Bool == false)
    }
    #expect(await backend.contents.count == 2)
  }

  @Test func listsWithUsage() async throws {
    let answer = try await send("GET", buckets)
    #expect(answer.status == 200)
    #expect(answer.json["total"] as? Int == 2)
    let list = try #require(answer.json["buckets"] as? [[String: Any]])
    #expect(list.compactMap { $0["name"] as? String } == ["empty", "photos"])
    #expect(list[1]["size_bytes"] as? Int == 300)
    #expect(list[1]["object_count"] as? Int == 2)
    #expect(list[1]["created_at"] as? String == "2001-09-09T01:46:40Z")
  }

  @Test func describesABucketWithEveryField() async throws {
    let answer = try await send("GET", "\(buckets)/photos")
    #expect(answer.status == 200)
    #expect(
      Set(answer.json.keys) == ["name", "region", "created_at", "size_bytes", "object_count", "is_public"])
    #expect(answer.json["region"] as? String == "no-oslo-1")
    #expect(answer.json["is_public"] as? Bool == false)
  }

  @Test func createsWithEveryField() async throws {
    let answer = try await send(
      "POST", buckets, #"{"bucket_name":"new-one","tier":"enterprise","region":"no-oslo-1","other":1}"#)
    #expect(answer.status == 201)
    #expect(Set(answer.json.keys) == ["success", "bucket_name", "message", "endpoint", "region"])
    #expect(answer.json["bucket_name"] as? String == "new-one")
    #expect(answer.json["endpoint"] as? String == "http://127.0.0.1:1")
    #expect(await backend.contents["new-one"] != nil)
    #expect(saved.names.withLock { $0 } == ["burnt", "new-one"])
  }

  @Test(arguments: ["photos", "burnt"])
  func refusesNamesInUseOrBurnt(name: String) async throws {
    #expect(try await send("POST", buckets, #"{"bucket_name":"\#(name)"}"#).status == 409)
  }

  @Test func aDeletedNameStaysBurnt() async throws {
    #expect(try await send("DELETE", "\(buckets)/empty").status == 200)
    #expect(await backend.contents["empty"] == nil)
    #expect(saved.names.withLock { $0.contains("empty") })
    #expect(try await send("GET", "\(buckets)/empty").status == 404)
    #expect(try await send("DELETE", "\(buckets)/empty").status == 404)
    #expect(try await send("POST", buckets, #"{"bucket_name":"empty"}"#).status == 409)
  }

  @Test func deletesOnlyEmptyBuckets() async throws {
    let answer = try await send("DELETE", "\(buckets)/photos")
    #expect(answer.status == 409)
    #expect(answer.json["message"] as? String == "The bucket is not empty.")
    #expect(await backend.contents["photos"]?.objects == 2)
    #expect(try await send("POST", buckets, #"{"bucket_name":"photos"}"#).status == 409)
  }

  @Test(arguments: [
    "", "{", "[]", "null", "5", #"{"bucket_name":5}"#, #"{"bucket_name":null}"#, "{}",
    #"{"bucket_name":"ab"}"#, #"{"bucket_name":"Photos"}"#, #"{"bucket_name":"a_b"}"#, #"{"bucket_name":"a.b"}"#,
    #"{"bucket_name":"-ab"}"#, #"{"bucket_name":"ab-"}"#, #"{"bucket_name":"../../etc"}"#, #"{"bucket_name":"abc\n"}"#,
    #"{"bucket_name":"abc\u0000"}"#, #"{"bucket_name":"caf\u00e9"}"#,
    #"{"bucket_name":"abc","tier":"gold"}"#, #"{"bucket_name":"abc","region":"eu-north-1"}"#,
  ])
  func refusesBadRequests(body: String) async throws {
    #expect(try await send("POST", buckets, body).status == 422)
    #expect(await backend.contents.count == 2)
  }

  @Test func aFailedCreationLeavesTheNameFree() async throws {
    await backend.fail(true)
    await #expect(throws: FakeBackend.Broken.self) { try await send("POST", buckets, #"{"bucket_name":"later"}"#) }
    await backend.fail(false)
    #expect(try await send("POST", buckets, #"{"bucket_name":"later"}"#).status == 201)
  }

  @Test func oneOfManyCreatorsWins() async throws {
    let statuses = try await withThrowingTaskGroup(of: Int.self) { [service] group in
      for _ in 0..<20 {
        group.addTask {
          try await service.reply(
            method: "POST", path: buckets, apiKey: "secret", body: Data(#"{"bucket_name":"race"}"#.utf8)
          ).status
        }
      }
      return try await group.reduce(into: []) { $0.append($1) }
    }
    #expect(statuses.count { $0 == 201 } == 1)
    #expect(statuses.count { $0 == 409 } == 19)
  }

  @Test func givesCredentialsWithEveryField() async throws {
    let answer = try await send("GET", "/v1/storage/credentials")
    #expect(answer.status == 200)
    #expect(
      answer.json as? [String: String] == [
        "access_key_id": "AK", "secret_access_key": "SK", "endpoint_url": "http://127.0.0.1:1", "region": "us-east-1",
      ])
  }

  @Test func givesTheGuide() async throws {
    let reply = try await service.reply(method: "GET", path: "/storage/s3", apiKey: "secret", body: Data())
    #expect(reply.status == 200)
    #expect(String(decoding: reply.body, as: UTF8.self).contains("http://127.0.0.1:1"))
  }

  @Test(arguments: [
    ("GET", "/", 404), ("GET", "", 404), ("GET", "/v1/storage/buckets/", 404), ("GET", "/v1/storage/buckets/a/b", 404),
    ("GET", "/v1/storage/buckets/..", 404), ("GET", "/v1/storage/buckets/ph%6ftos", 404), ("GET", "//v1/storage", 404),
    ("PUT", "/v1/storage/buckets", 405), ("PATCH", "/v1/storage/buckets/photos", 405),
    ("POST", "/v1/storage/credentials", 405), ("DELETE", "/storage/s3", 405),
  ])
  func refusesWhatIsNoEndpoint(method: String, path: String, status: Int) async throws {
    #expect(try await send(method, path).status == status)
  }

  @Test func rotatesTheKeyPair() async throws {
    let pair = try await send("POST", "/sandbox/rotate").json as? [String: String]
    #expect(pair?["access_key_id"] != "AK" && pair?["secret_access_key"] != "SK")
    #expect(try await send("GET", "/v1/storage/credentials").json as? [String: String] == pair)
    #expect(saved.installed.withLock { $0.last?.accessKeyId } == pair?["access_key_id"])
    #expect(try await send("POST", "/sandbox/rotate", key: "other").status == 401)
    #expect(try await send("GET", "/sandbox/rotate").status == 405)
  }

  @Test func answersWithTheFaultsItWasTold() async throws {
    #expect(
      try await send("POST", "/sandbox/faults", #"{"status":429,"message":"slowly","retry_after":7,"times":2}"#).status
        == 200)
    for _ in 0..<2 {
      let reply = try await service.reply(method: "GET", path: buckets, apiKey: "secret", body: Data())
      #expect(reply.status == 429 && reply.retryAfter == 7)
    }
    #expect(try await send("GET", buckets).status == 200)
    for body in ["", "{}", #"{"status":99}"#, #"{"status":"x"}"#] {
      #expect(try await send("POST", "/sandbox/faults", body).status == 422)
    }
  }
}
