import Foundation

// The bodies of the control plane's requests and responses, field for field as WAYSCloud documents them.

struct BucketDetails: Codable, Equatable, Sendable {
  var name: String
  var region: String
  var createdAt: String
  var sizeBytes: UInt64
  var objectCount: UInt64
  var isPublic: Bool
}

struct BucketList: Codable, Equatable, Sendable {
  var buckets: [BucketDetails]
  var total: Int
}

struct CreateBucketRequest: Codable, Equatable, Sendable {
  var bucketName: String?
  var tier: String?
  var region: String?
}

struct BucketCreated: Codable, Equatable, Sendable {
  var success: Bool
  var bucketName: String
  var message: String
  var endpoint: String
  var region: String
}

/// The answer to a deletion, and the form of every error.
struct Outcome: Codable, Equatable, Sendable {
  var success: Bool
  var message: String
}

struct S3Credentials: Codable, Equatable, Sendable {
  var accessKeyId: String
  var secretAccessKey: String
  var endpointUrl: String
  var region: String
}

/// What the sandbox is told to answer instead of doing what is asked, for the next `times` requests (one unless said).
struct Fault: Codable, Equatable, Sendable {
  var status: Int
  var message: String?
  /// Seconds for `Retry-After`.
  var retryAfter: Int?
  var times: Int?
}

/// What the service answers, without the HTTP library's types.
struct ControlPlaneReply: Equatable, Sendable {
  var status: Int
  var contentType: String
  var body: Data
  /// Seconds for `Retry-After`.
  var retryAfter: Int?

  init(status: Int = 200, contentType: String = "application/json", body: Data) {
    self.status = status
    self.contentType = contentType
    self.body = body
  }

  init(status: Int = 200, json value: some Encodable) throws {
    let encoder = JSONEncoder()
    encoder.keyEncodingStrategy = .convertToSnakeCase
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    self.init(status: status, body: try encoder.encode(value))
  }
}

/// A refusal: becomes a reply with that status and message.
struct Refusal: Error, Equatable {
  var status: Int
  var message: String

  init(_ status: Int, _ message: String) {
    self.status = status
    self.message = message
  }
}
