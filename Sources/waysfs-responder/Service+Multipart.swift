/// Multipart uploads.
extension Service {
  func createUpload(_ head: RequestHead) throws(Refusal) -> Answer {
    let id = try store.createUpload(head.bucket, head.key, ObjectAttributes(head))
    return Answer(
      xml: XMLWriter.document("InitiateMultipartUploadResult") { xml in
        xml.element("Bucket", head.bucket)
        xml.element("Key", head.key.bytes)
        xml.element("UploadId", id)
      })
  }

  func uploadPart(_ received: Received) throws(Refusal) -> Answer {
    let (id, number) = try Self.part(received.head)
    try store.putPart(
      received.head.bucket, received.head.key, id, number: number, received.body, etag: received.etag)
    var answer = Answer()
    answer.header("ETag", "\"\(received.etag)\"")
    return answer
  }

  /// The part shares the memory of the source. Its tag is made of the source's tag and the range: the MD5 of the bytes
  /// would have to be computed, and no client knows what it should be.
  func copyPart(_ head: RequestHead) throws(Refusal) -> Answer {
    let (id, number) = try Self.part(head)
    let (bucket, key) = try Self.source(head)
    let source = try store.get(bucket, key)
    try Self.check(source, head)
    var range = 0..<source.body.count
    if let text = head["x-amz-copy-source-range"] {
      range = try RequestedRange.parseCopy(text, size: source.body.count)
    }
    let etag = MD5.of(Array("\(source.etag) \(range)".utf8))
    try store.putPart(
      head.bucket, head.key, id, number: number, source.body.subrange(range), etag: etag)
    return Answer(
      xml: XMLWriter.document("CopyPartResult") { xml in
        xml.element("ETag", "\"\(etag)\"")
        xml.element("LastModified", HTTPDate.iso(store.now))
      })
  }

  func completeUpload(_ received: Received) throws(Refusal) -> Answer {
    let head = received.head
    let object = try store.completeUpload(
      head.bucket, head.key, try Self.id(head), try Self.namedParts(received.body.bytes), Conditions(head))
    return Answer(
      xml: XMLWriter.document("CompleteMultipartUploadResult") { xml in
        xml.element("Bucket", head.bucket)
        xml.element("Key", head.key.bytes)
        xml.element("ETag", "\"\(object.etag)\"")
      })
  }

  func abortUpload(_ head: RequestHead) throws(Refusal) -> Answer {
    try store.abortUpload(head.bucket, head.key, try Self.id(head))
    return Answer(204)
  }

  func listParts(_ head: RequestHead) throws(Refusal) -> Answer {
    let id = try Self.id(head)
    let upload = try store.upload(head.bucket, head.key, id)
    let limit = min(try head.query.number("max-parts") ?? 1000, 1000)
    let marker = try head.query.number("part-number-marker") ?? 0
    let rest = upload.parts.filter { $0.key > marker }.sorted { $0.key < $1.key }
    let page = rest.prefix(limit)
    return Answer(
      xml: XMLWriter.document("ListPartsResult") { xml in
        xml.element("Bucket", head.bucket)
        xml.element("Key", head.key.bytes)
        xml.element("UploadId", id)
        xml.element("PartNumberMarker", marker)
        if let last = page.last { xml.element("NextPartNumberMarker", last.key) }
        xml.element("MaxParts", limit)
        xml.element("IsTruncated", page.count < rest.count ? "true" : "false")
        for (number, part) in page {
          xml.element("Part") { xml in
            xml.element("PartNumber", number)
            xml.element("LastModified", HTTPDate.iso(part.modified))
            xml.element("ETag", "\"\(part.etag)\"")
            xml.element("Size", part.body.count)
          }
        }
      })
  }

  func listUploads(_ head: RequestHead) throws(Refusal) -> Answer {
    let limit = min(try head.query.number("max-uploads") ?? 1000, 1000)
    var request = Listing<Upload>.Request(prefix: Key(head.query.bytes("prefix") ?? []), limit: limit)
    if let key = head.query.bytes("key-marker"), !key.isEmpty {
      // Without an id all uploads of that key are behind us.
      request.after =
        head.query["upload-id-marker"].map { Store.place(Key(key), $0) } ?? Key(key + [0, UInt8.max])
    }
    let page = try store.with(head.bucket) { bucket throws(Refusal) in Listing(bucket.uploads, request) }
    let isEncoded = head.query["encoding-type"] == "url"
    return Answer(
      xml: XMLWriter.document("ListMultipartUploadsResult") { xml in
        xml.element("Bucket", head.bucket)
        if isEncoded { xml.element("EncodingType", "url") }
        if page.isTruncated, let last = page.entries.last?.value {
          xml.element("NextKeyMarker", key: last.key.bytes, isEncoded: isEncoded)
          xml.element("NextUploadIdMarker", last.id)
        }
        xml.element("MaxUploads", limit)
        xml.element("IsTruncated", page.isTruncated ? "true" : "false")
        for (_, upload) in page.entries {
          xml.element("Upload") { xml in
            xml.element("Key", key: upload.key.bytes, isEncoded: isEncoded)
            xml.element("UploadId", upload.id)
            xml.element("Initiated", HTTPDate.iso(upload.initiated))
          }
        }
      })
  }

  private static func id(_ head: RequestHead) throws(Refusal) -> String {
    guard let id = head.query["uploadId"], !id.isEmpty else { throw .noSuchUpload }
    return id
  }

  private static func part(_ head: RequestHead) throws(Refusal) -> (id: String, number: Int) {
    guard let number = try head.query.number("partNumber"), (1...10_000).contains(number) else {
      throw .invalidArgument("Part numbers go from 1 to 10,000.")
    }
    return (try id(head), number)
  }

  /// The parts that a client lists to complete an upload.
  static func namedParts(_ document: [UInt8]) throws(Refusal) -> [Store.NamedPart] {
    var parts: [Store.NamedPart] = []
    for part in XMLReader.contents(of: "Part", in: document[...]) {
      guard let number = XMLReader.text(of: "PartNumber", in: part), let etag = XMLReader.text(of: "ETag", in: part),
        let number = Int(String(decoding: number, as: UTF8.self))
      else { throw .malformedXML }
      parts.append(Store.NamedPart(number: number, etag: String(decoding: etag, as: UTF8.self).filter { $0 != "\"" }))
    }
    return parts
  }
}
