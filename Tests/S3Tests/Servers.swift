import Basics
import Glibc
import HTTPTransport
import Logging
import ObjectStore
import ObjectStoreConformance

@testable import S3

/// The real servers that `make test` starts, and what each is known to do differently from S3.
enum TestServer: String, CaseIterable, Sendable, CustomStringConvertible {
  case seaweedFS = "WAYSFS_TEST_SEAWEEDFS"
  case moto = "WAYSFS_TEST_MOTO"
  case rclone = "WAYSFS_TEST_RCLONE"

  var description: String {
    switch self {
    case .seaweedFS: "SeaweedFS"
    case .moto: "moto_server"
    case .rclone: "rclone serve s3"
    }
  }

  var traits: StoreTraits {
    var traits = StoreTraits()
    switch self {
    case .seaweedFS:
      traits.markerMetadata = false
      traits.byteOrder = false
      traits.longComponents = false
      traits.backslash = false
    case .moto:
      traits.completeIfMatch = false
      traits.conditionalCopy = false
      traits.lineBreaks = false
      traits.noSuchUpload = false
    case .rclone:
      traits.conditionalPut = false
      traits.completeIfAbsent = false
      traits.completeIfMatch = false
      traits.conditionalCopy = false
      traits.copyPart = false
      traits.nested = false
      traits.markers = false
      traits.unicodeForms = false
      traits.copyReplacesAttributes = false
      traits.minimumPartSize = false
      traits.partsInAnyOrder = false
      traits.completeTellsTag = false
      traits.partsTag = false
      traits.longComponents = false
    }
    return traits
  }

  /// What the keys of this run begin with.
  static let runPrefix = "run-\(getpid())-\(TimeSource.system.wall.seconds)/"

  /// A bucket of this server, made when it is not there unless told otherwise. Without the server the test fails.
  func withBucket(
    accessKeyID: String? = nil, secret: String? = nil, time: TimeSource = .system, create: Bool = true,
    _ work: (S3Client, S3Bucket) throws -> Void
  ) throws {
    let http = try HTTPTransport()
    defer { http.shutdown() }
    let client = S3Client(
      configuration: try S3Configuration(endpoint: try variable(rawValue), region: "us-east-1"),
      credentials: StaticCredentials(
        S3Credentials(
          accessKeyID: try accessKeyID ?? variable("AWS_ACCESS_KEY_ID"),
          secretAccessKey: try secret ?? variable("AWS_SECRET_ACCESS_KEY"))),
      http: http, time: time, log: Logger(label: "test"))
    // One bucket for all runs, since SeaweedFS sets space aside for each; the runs have prefixes of their own.
    let name = "s3-conformance"
    do throws(ObjectStoreError) {
      if create { try waitFor { client.createBucket(name, nil, $0) } }
    } catch {
      // Made by an earlier test of this run; not every server says whose it is.
      guard ["BucketAlreadyExists", "BucketAlreadyOwnedByYou"].contains(error.serverCode) else { throw error }
    }
    try work(client, client.bucket(name))
  }

  private func variable(_ name: String) throws -> String {
    guard let value = getenv(name) else { throw MissingServer(variable: name) }
    return String(cString: value)
  }
}

struct MissingServer: Error, CustomStringConvertible {
  var variable: String
  var description: String {
    "\(variable) is not set: these tests need real S3 servers. `make test` starts them and sets it."
  }
}
