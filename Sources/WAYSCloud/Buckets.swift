/// How a bucket is stored.
public enum StorageTier: String, Hashable, Sendable, CaseIterable, Encodable {
  /// Reliable storage for general use; the default of the service.
  case standard
  /// Dedicated infrastructure, better performance and durability.
  case enterprise
}

/// A bucket and what it holds (GET /v1/storage/buckets and /v1/storage/buckets/{bucket_name}).
///
/// Only the name is certain: the document does not say which fields may be missing.
public struct Bucket: Hashable, Sendable {
  /// Name.
  public var name: String
  /// Where it is stored, such as "no-oslo-1". Not the region that S3 requests are signed for.
  public var region: String?
  /// Time of its creation, as the service writes it.
  public var createdAt: String?
  /// Sum of the sizes of its objects, in bytes.
  public var sizeBytes: UInt64?
  /// How many objects it holds.
  public var objectCount: UInt64?
  /// Whether everybody can read it.
  public var isPublic: Bool?

  /// Makes a description.
  public init(
    name: String, region: String? = nil, createdAt: String? = nil, sizeBytes: UInt64? = nil,
    objectCount: UInt64? = nil, isPublic: Bool? = nil
  ) {
    self.name = name
    self.region = region
    self.createdAt = createdAt
    self.sizeBytes = sizeBytes
    self.objectCount = objectCount
    self.isPublic = isPublic
  }
}

extension Bucket: Decodable {
  private enum CodingKeys: String, CodingKey {
    case name
    case bucketName = "bucket_name"
    case region
    case createdAt = "created_at"
    case sizeBytes = "size_bytes"
    case objectCount = "object_count"
    case isPublic = "is_public"
  }

  /// Reads the service's JSON.
  public init(from decoder: any Decoder) throws {
    let fields = try decoder.container(keyedBy: CodingKeys.self)
    // The document leaves the elements of the list open, and calls the name "bucket_name" elsewhere.
    name =
      try fields.decodeIfPresent(String.self, forKey: .name)
      ?? fields.decodeIfPresent(String.self, forKey: .bucketName) ?? fields.decode(String.self, forKey: .name)
    region = try fields.decodeIfPresent(String.self, forKey: .region)
    createdAt = try fields.decodeIfPresent(String.self, forKey: .createdAt)
    sizeBytes = try fields.decodeIfPresent(UInt64.self, forKey: .sizeBytes)
    objectCount = try fields.decodeIfPresent(UInt64.self, forKey: .objectCount)
    isPublic = try fields.decodeIfPresent(Bool.self, forKey: .isPublic)
  }
}

/// All buckets of the account (GET /v1/storage/buckets).
public struct BucketList: Hashable, Sendable, Decodable {
  /// The buckets, in the service's order.
  public var buckets: [Bucket]
  /// How many the service says there are.
  public var total: Int?
}

/// The answer to a creation (POST /v1/storage/buckets).
public struct CreatedBucket: Hashable, Sendable {
  /// Name of the new bucket.
  public var name: String
  /// What the service says about it.
  public var message: String?
  /// Address of the S3 interface to use with it.
  public var endpoint: String?
  /// Where it is stored.
  public var region: String?
}

/// The answer to a deletion (DELETE /v1/storage/buckets/{bucket_name}).
public struct DeletedBucket: Hashable, Sendable {
  /// What the service says about it.
  public var message: String?
}

/// Keys for the S3 interface (GET /v1/storage/credentials). Its descriptions leave the secret out.
public struct StorageCredentials: Hashable, Sendable {
  /// Access key.
  public var accessKeyID: String
  /// Secret key.
  public var secretAccessKey: String
  /// Address of the S3 interface.
  public var endpointURL: String?
  /// Region to sign for.
  public var region: String?

  /// Makes credentials.
  public init(accessKeyID: String, secretAccessKey: String, endpointURL: String? = nil, region: String? = nil) {
    self.accessKeyID = accessKeyID
    self.secretAccessKey = secretAccessKey
    self.endpointURL = endpointURL
    self.region = region
  }
}

extension StorageCredentials: Decodable {
  private enum CodingKeys: String, CodingKey {
    case accessKeyID = "access_key_id"
    case secretAccessKey = "secret_access_key"
    case endpointURL = "endpoint_url"
    case region
  }
}

extension StorageCredentials: CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
  /// The access key only.
  public var description: String { "credentials \(accessKeyID)" }
  /// The access key only.
  public var debugDescription: String { description }
  /// Without the secret key.
  public var customMirror: Mirror {
    Mirror(self, children: ["accessKeyID": accessKeyID, "endpointURL": endpointURL as Any, "region": region as Any])
  }
}
