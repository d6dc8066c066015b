import Basics

/// The contents of an in-memory bucket and the rules for changing them. A plain value: no locks, no clocks, no I/O.
struct InMemoryBucket: Sendable {
  struct Object: Sendable {
    var bytes: [UInt8]
    var metadata: ObjectMetadata
  }

  struct Part: Sendable {
    var bytes: [UInt8]
    var etag: ETag
  }

  struct Upload: Sendable {
    var key: ObjectKey
    var attributes: ObjectAttributes
    var parts: [Int: Part] = [:]
  }

  private(set) var objects: [ObjectKey: Object] = [:]
  private(set) var sortedKeys: [ObjectKey] = []
  var uploads: [String: Upload] = [:]
  private var uploadCounter = 0

  func object(_ key: ObjectKey) throws(ObjectStoreError) -> Object {
    guard let object = objects[key] else {
      throw ObjectStoreError(.notFound, "There is no such object.", httpStatus: 404, serverCode: "NoSuchKey")
    }
    return object
  }

  func check(_ condition: WriteCondition, _ key: ObjectKey) throws(ObjectStoreError) {
    let holds =
      switch condition {
      case .none: true
      case .ifMatch(let etag): objects[key]?.metadata.etag == etag
      case .ifAbsent: objects[key] == nil
      }
    guard holds else { throw Self.preconditionFailed }
  }

  static var preconditionFailed: ObjectStoreError {
    ObjectStoreError(
      .preconditionFailed, "The object is not the version that was asked for.", httpStatus: 412,
      serverCode: "PreconditionFailed")
  }

  @discardableResult
  mutating func store(
    _ key: ObjectKey, _ bytes: [UInt8], _ attributes: ObjectAttributes, etag: ETag, now: Timestamp
  ) throws(ObjectStoreError) -> PutResult {
    try key.checkLength()
    try attributes.check()
    let metadata = ObjectMetadata(
      size: UInt64(bytes.count), etag: etag, lastModified: now,
      contentType: attributes.contentType ?? "binary/octet-stream", headers: attributes.headers,
      userMetadata: attributes.userMetadata, storageClass: attributes.storageClass)
    if objects.updateValue(Object(bytes: bytes, metadata: metadata), forKey: key) == nil {
      sortedKeys.insert(key, at: sortedKeys.firstIndex(partitionedBy: { $0 >= key }))
    }
    return PutResult(etag: etag)
  }

  mutating func remove(_ key: ObjectKey) {
    guard objects.removeValue(forKey: key) != nil else { return }
    sortedKeys.remove(at: sortedKeys.firstIndex(partitionedBy: { $0 >= key }))
  }

  mutating func beginUpload(_ key: ObjectKey, _ attributes: ObjectAttributes) throws(ObjectStoreError)
    -> MultipartUpload
  {
    try key.checkLength()
    try attributes.check()
    uploadCounter += 1
    let id = "upload-\(uploadCounter)"
    uploads[id] = Upload(key: key, attributes: attributes)
    return MultipartUpload(key: key, id: id)
  }

  func upload(_ upload: MultipartUpload) throws(ObjectStoreError) -> Upload {
    guard let found = uploads[upload.id], found.key == upload.key else {
      throw ObjectStoreError(.noSuchUpload, "There is no such upload.", httpStatus: 404, serverCode: "NoSuchUpload")
    }
    return found
  }

  mutating func addPart(
    _ reference: MultipartUpload, _ number: Int, _ bytes: [UInt8]
  ) throws(ObjectStoreError) -> UploadedPart {
    guard (1...10_000).contains(number) else {
      throw ObjectStoreError(.invalidRequest, "Part numbers go from 1 to 10,000.", serverCode: "InvalidArgument")
    }
    _ = try upload(reference)
    let etag = ETag.ofContent(bytes)
    uploads[reference.id]?.parts[number] = Part(bytes: bytes, etag: etag)
    return UploadedPart(number: number, etag: etag, size: UInt64(bytes.count))
  }

  mutating func complete(
    _ reference: MultipartUpload, _ parts: [UploadedPart], _ condition: WriteCondition, minimumPartSize: UInt64,
    now: Timestamp
  ) throws(ObjectStoreError) -> PutResult {
    let upload = try upload(reference)
    let sorted = parts.sorted { $0.number < $1.number }
    guard !sorted.isEmpty, zip(sorted, sorted.dropFirst()).allSatisfy({ $0.number < $1.number }) else {
      throw ObjectStoreError(.invalidRequest, "The list of parts is empty or names one twice.", httpStatus: 400)
    }
    var bytes: [UInt8] = []
    for (index, part) in sorted.enumerated() {
      guard let stored = upload.parts[part.number], stored.etag == part.etag else {
        throw ObjectStoreError(
          .invalidRequest, "Part \(part.number) was not uploaded, or is another version.", httpStatus: 400,
          serverCode: "InvalidPart")
      }
      guard index == sorted.count - 1 || UInt64(stored.bytes.count) >= minimumPartSize else {
        throw ObjectStoreError(
          .invalidSize, "Part \(part.number) is smaller than the smallest allowed.", httpStatus: 400,
          serverCode: "EntityTooSmall")
      }
      bytes += stored.bytes
    }
    try check(condition, reference.key)
    let etag = ETag.ofParts(sorted.map(\.etag))
    let result = try store(reference.key, bytes, upload.attributes, etag: etag, now: now)
    uploads[reference.id] = nil
    return result
  }
}

extension Array {
  /// The first index whose element satisfies a predicate that is false and then true over the array.
  func firstIndex(partitionedBy isAfter: (Element) -> Bool) -> Int {
    var low = 0
    var high = count
    while low < high {
      let middle = low + (high - low) / 2
      if isAfter(self[middle]) { high = middle } else { low = middle + 1 }
    }
    return low
  }
}

extension ETag {
  /// The tag of an object made of parts.
  static func ofParts(_ tags: [ETag]) -> ETag {
    ETag("\(ofContent(tags.flatMap { Array($0.value.utf8) }).value)-\(tags.count)")
  }

  /// A tag in the form of S3's that depends on the bytes alone, so that equal contents have equal tags as there; in
  /// another process they have others. Made by the standard library, which is fast in debug builds too.
  static func ofContent(_ bytes: [UInt8]) -> ETag {
    var hasher = Hasher()
    bytes.withUnsafeBytes { hasher.combine(bytes: $0) }
    let first = UInt64(bitPattern: Int64(hasher.finalize()))
    let second = UInt64(bytes.count) &* 0x9e37_79b9_7f4a_7c15 ^ first >> 17
    return ETag(hexadecimal(first) + hexadecimal(second))
  }

  private static func hexadecimal(_ value: UInt64) -> String {
    let digits = String(value, radix: 16)
    return String(repeating: "0", count: 16 - digits.count) + digits
  }
}
