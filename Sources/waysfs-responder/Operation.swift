/// What a request asks for.
enum Operation: String, CaseIterable, Sendable {
  case control
  case listBuckets
  case createBucket, headBucket, deleteBucket, bucketLocation, bucketVersioning
  case listObjects, listObjectsV2, listUploads, deleteObjects
  case getObject, headObject, putObject, copyObject, deleteObject
  case createUpload, uploadPart, copyPart, listParts, completeUpload, abortUpload

  /// The path under which the settings are read and changed; no bucket can have that name.
  static let controlPath = "__responder"

  /// What belongs to a bucket or an object without being it: not to be taken for it.
  private static let subresources: Set<String> = [
    "accelerate", "acl", "analytics", "attributes", "cors", "encryption", "intelligent-tiering", "inventory",
    "legal-hold", "lifecycle", "logging", "metrics", "notification", "object-lock", "ownershipControls", "policy",
    "policyStatus", "publicAccessBlock", "rename", "append", "renameObject", "replication", "requestPayment",
    "restore", "retention", "select", "session", "tagging", "torrent", "versions", "website",
  ]

  init(_ head: RequestHead) throws(Refusal) {
    if head.bucket == Self.controlPath {
      self = .control
    } else if head.query.names.contains(where: { Self.subresources.contains($0) }) {
      throw .notImplemented
    } else if head.bucket.isEmpty {
      guard head.method == .get else { throw .methodNotAllowed }
      self = .listBuckets
    } else if head.key.bytes.isEmpty {
      self = try Self.ofBucket(head)
    } else {
      self = try Self.ofObject(head)
    }
  }

  private static func ofBucket(_ head: RequestHead) throws(Refusal) -> Operation {
    switch head.method {
    case .get where head.query.has("location"): return .bucketLocation
    case .get where head.query.has("versioning"): return .bucketVersioning
    case .get where head.query.has("uploads"): return .listUploads
    case .get: return head.query["list-type"] == "2" ? .listObjectsV2 : .listObjects
    case .head: return .headBucket
    case .put where head.query.has("versioning"): throw .notImplemented
    case .put: return .createBucket
    case .delete: return .deleteBucket
    case .post where head.query.has("delete"): return .deleteObjects
    case .post: throw .methodNotAllowed
    }
  }

  private static func ofObject(_ head: RequestHead) throws(Refusal) -> Operation {
    let isUpload = head.query.has("uploadId")
    let isCopy = head["x-amz-copy-source"] != nil
    switch head.method {
    case .get: return isUpload ? .listParts : .getObject
    case .head: return .headObject
    case .put where isUpload: return isCopy ? .copyPart : .uploadPart
    case .put: return isCopy ? .copyObject : .putObject
    case .delete: return isUpload ? .abortUpload : .deleteObject
    case .post where head.query.has("uploads"): return .createUpload
    case .post where isUpload: return .completeUpload
    case .post: throw .methodNotAllowed
    }
  }

  /// Whether the body becomes an object or a part of one, whose tag is its MD5.
  var storesBody: Bool { self == .putObject || self == .uploadPart }
}
