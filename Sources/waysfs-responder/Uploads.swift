import Synchronization

/// A multipart upload under way.
struct Upload: Sendable {
  struct Part: Sendable {
    var body: Body
    var etag: String
    var modified: Int
  }

  var key: Key
  var id: String
  var attributes: ObjectAttributes
  var initiated: Int
  var parts: [Int: Part] = [:]
}

extension Store {
  /// What a client names to complete an upload.
  struct NamedPart: Equatable, Sendable {
    var number: Int
    var etag: String
  }

  private static let nextUpload = Atomic<Int>(1)
  private static var smallestPart: Int { 5 << 20 }

  /// Uploads are sorted by key, then by id; no id has a NUL.
  static func place(_ key: Key, _ id: String) -> Key { Key(key.bytes + [0] + id.utf8) }

  func createUpload(_ bucket: String, _ key: Key, _ attributes: ObjectAttributes) throws(Refusal) -> String {
    let number = Self.nextUpload.add(1, ordering: .relaxed).newValue
    let digits = String(number, radix: 16)
    // Of one length, so that a newer one sorts behind an older one.
    let id = "upload" + String(repeating: "0", count: max(0, 10 - digits.count)) + digits
    let upload = Upload(key: key, id: id, attributes: attributes, initiated: now)
    try with(bucket) { _ = $0.uploads.set(Self.place(key, id), upload) }
    return id
  }

  func upload(_ bucket: String, _ key: Key, _ id: String) throws(Refusal) -> Upload {
    try with(bucket) { bucket throws(Refusal) in
      guard let upload = bucket.uploads[Self.place(key, id)] else { throw .noSuchUpload }
      return upload
    }
  }

  func putPart(
    _ bucket: String, _ key: Key, _ id: String, number: Int, _ body: Body, etag: String
  ) throws(Refusal) {
    let part = Upload.Part(body: body, etag: etag, modified: now)
    let place = Self.place(key, id)
    let old = try with(bucket) { bucket throws(Refusal) in
      guard var upload = bucket.uploads[place] else { throw .noSuchUpload }
      let old = upload.parts.updateValue(part, forKey: number)
      bucket.uploads.set(place, upload)
      return old
    }
    withExtendedLifetime(old) {}
  }

  func abortUpload(_ bucket: String, _ key: Key, _ id: String) throws(Refusal) {
    let old = try with(bucket) { bucket throws(Refusal) in
      guard let upload = bucket.uploads.remove(Self.place(key, id)) else { throw .noSuchUpload }
      return upload
    }
    withExtendedLifetime(old) {}
  }

  /// Makes an object of the parts, which costs nothing: it consists of their memory.
  func completeUpload(
    _ bucket: String, _ key: Key, _ id: String, _ parts: [NamedPart], _ conditions: Conditions
  ) throws(Refusal) -> StoredObject {
    let now = now
    let (object, old) = try with(bucket) { bucket throws(Refusal) in
      guard let upload = bucket.uploads[Self.place(key, id)] else { throw .noSuchUpload }
      let object = try Self.assemble(upload, parts, now: now)
      try conditions.check(bucket.objects[key])
      let old = bucket.objects.set(key, object)
      bucket.uploads.remove(Self.place(key, id))
      // What is not used any more is let go of outside of the lock.
      return (object, (old, upload))
    }
    withExtendedLifetime(old) {}
    return object
  }

  private static func assemble(_ upload: Upload, _ named: [NamedPart], now: Int) throws(Refusal) -> StoredObject {
    guard !named.isEmpty else { throw .malformedXML }
    guard zip(named, named.dropFirst()).allSatisfy({ $0.number < $1.number }) else {
      throw Refusal(400, "InvalidPartOrder", "The parts are not in order.")
    }
    var body = Body()
    var digests: [UInt8] = []
    for (index, part) in named.enumerated() {
      guard let stored = upload.parts[part.number], stored.etag == part.etag else {
        throw Refusal(400, "InvalidPart", "Part \(part.number) is not there, or has another tag.")
      }
      guard stored.body.count >= smallestPart || index == named.count - 1 else {
        throw Refusal(400, "EntityTooSmall", "Part \(part.number) is smaller than 5 MiB.")
      }
      body.append(stored.body)
      digests += Hexadecimal.bytes(stored.etag.utf8) ?? Array(stored.etag.utf8)
    }
    return StoredObject(
      body: body, etag: "\(MD5.of(digests))-\(named.count)", modified: now, attributes: upload.attributes)
  }
}
