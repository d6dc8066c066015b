/// Buckets, their listings, and the responder's own settings.
extension Service {
  func listBuckets() -> Answer {
    Answer(
      xml: XMLWriter.document("ListAllMyBucketsResult") { xml in
        xml.element("Buckets") { xml in
          for bucket in store.list() {
            xml.element("Bucket") { xml in
              xml.element("Name", bucket.name)
              xml.element("CreationDate", HTTPDate.iso(bucket.created))
            }
          }
        }
      })
  }

  func createBucket(_ head: RequestHead) -> Answer {
    store.create(head.bucket)
    var answer = Answer()
    answer.header("Location", "/\(head.bucket)")
    return answer
  }

  func headBucket(_ head: RequestHead) throws(Refusal) -> Answer {
    try store.with(head.bucket) { _ in }
    var answer = Answer()
    answer.header("x-amz-bucket-region", "us-east-1")
    return answer
  }

  func deleteBucket(_ head: RequestHead) throws(Refusal) -> Answer {
    try store.remove(head.bucket)
    return Answer(204)
  }

  /// A document about a bucket that says nothing, which means the default.
  func bucketDocument(_ head: RequestHead, root: String) throws(Refusal) -> Answer {
    try store.with(head.bucket) { _ in }
    return Answer(xml: XMLWriter.document(root) { _ in })
  }

  func listObjects(_ head: RequestHead) throws(Refusal) -> Answer {
    let marker = head.query.bytes("marker") ?? []
    let request = try listingRequest(head, after: marker)
    let page = try store.with(head.bucket) { bucket throws(Refusal) in Listing(bucket.objects, request) }
    return Answer(
      xml: XMLWriter.document("ListBucketResult") { xml in
        let isEncoded = Self.isEncoded(head)
        xml.element("Marker", key: marker, isEncoded: isEncoded)
        // AWS leaves it out without a delimiter, where it is the last key of the page.
        if page.isTruncated, let last = page.last {
          xml.element("NextMarker", key: last.bytes, isEncoded: isEncoded)
        }
        write(page, request, head, &xml)
      })
  }

  func listObjectsV2(_ head: RequestHead) throws(Refusal) -> Answer {
    let token = head.query.bytes("continuation-token")
    var after = head.query.bytes("start-after") ?? []
    if let token {
      guard let last = Hexadecimal.bytes(token) else { throw .invalidArgument("The token is not one of this server.") }
      after = last
    }
    let request = try listingRequest(head, after: after)
    let page = try store.with(head.bucket) { bucket throws(Refusal) in Listing(bucket.objects, request) }
    return Answer(
      xml: XMLWriter.document("ListBucketResult") { xml in
        xml.element("KeyCount", page.count)
        if let token { xml.element("ContinuationToken", token) }
        if let start = head.query.bytes("start-after") {
          xml.element("StartAfter", key: start, isEncoded: Self.isEncoded(head))
        }
        if page.isTruncated, let last = page.last {
          xml.element("NextContinuationToken", Hexadecimal.text(last.bytes))
        }
        write(page, request, head, &xml)
      })
  }

  private func listingRequest(_ head: RequestHead, after: [UInt8]) throws(Refusal) -> Listing<StoredObject>.Request {
    Listing.Request(
      prefix: Key(head.query.bytes("prefix") ?? []), delimiter: head.query.bytes("delimiter") ?? [],
      after: after.isEmpty ? nil : Key(after), limit: min(try head.query.number("max-keys") ?? 1000, 1000))
  }

  /// What both versions of a listing have.
  private func write(
    _ page: Listing<StoredObject>, _ request: Listing<StoredObject>.Request, _ head: RequestHead, _ xml: inout XMLWriter
  ) {
    let isEncoded = Self.isEncoded(head)
    xml.element("Name", head.bucket)
    xml.element("Prefix", key: request.prefix.bytes, isEncoded: isEncoded)
    if !request.delimiter.isEmpty { xml.element("Delimiter", key: request.delimiter, isEncoded: isEncoded) }
    xml.element("MaxKeys", request.limit)
    if isEncoded { xml.element("EncodingType", "url") }
    xml.element("IsTruncated", page.isTruncated ? "true" : "false")
    // Objects that were made together have the same time.
    var (time, text) = (Int.min, "")
    for (key, object) in page.entries {
      if object.modified != time { (time, text) = (object.modified, HTTPDate.iso(object.modified)) }
      xml.element("Contents") { xml in
        xml.element("Key", key: key.bytes, isEncoded: isEncoded)
        xml.element("LastModified", text)
        xml.element("ETag", "\"\(object.etag)\"")
        xml.element("Size", object.body.count)
        xml.element("StorageClass", "STANDARD")
      }
    }
    for common in page.commonPrefixes {
      xml.element("CommonPrefixes") { $0.element("Prefix", key: common.bytes, isEncoded: isEncoded) }
    }
  }

  private static func isEncoded(_ head: RequestHead) -> Bool { head.query["encoding-type"] == "url" }

  /// `PUT /__responder?delay=20ms&bandwidth=1Gbit/s&tags=opaque` changes what it names; GET tells the settings and what
  /// was asked for so far, a line each.
  func control(_ head: RequestHead) throws(Refusal) -> Answer {
    if head.method == .put {
      let delay = try Self.setting(head, "delay", SettingText.duration)
      let bandwidth = try Self.setting(head, "bandwidth", SettingText.bandwidth)
      let opaque = try Self.setting(head, "tags") { ["md5": false, "opaque": true][$0] }
      shaper.set(delay: delay, bandwidth: bandwidth)
      if let opaque { opaqueTags.store(opaque, ordering: .relaxed) }
    } else if head.method != .get {
      throw .methodNotAllowed
    }
    let settings = shaper.settings
    var lines = ["delay_ns \(settings.delay)", "bandwidth_bytes_per_second \(settings.bandwidth)"]
    lines += ["opaque_tags \(opaqueTags.load(ordering: .relaxed))", "memory_used \(pool.used)"]
    for (operation, count) in counters.all.sorted(by: { $0.key.rawValue < $1.key.rawValue }) {
      lines.append("\(operation.rawValue) \(count.requests) received \(count.received) sent \(count.sent)")
    }
    return Answer(200, .bytes(Array(lines.map { $0 + "\n" }.joined().utf8)))
  }

  private static func setting<Value>(
    _ head: RequestHead, _ name: String, _ parse: (String) -> Value?
  ) throws(Refusal) -> Value? {
    guard let text = head.query[name] else { return nil }
    guard let value = parse(text) else { throw .invalidArgument("\(name) cannot be \(text).") }
    return value
  }
}
