/// Objects.
extension Service {
  func getObject(_ head: RequestHead) throws(Refusal) -> Answer {
    let object = try store.get(head.bucket, head.key)
    let conditions = Conditions(head)
    guard conditions.matchHolds(object.etag) else { throw .preconditionFailed }
    guard conditions.noneMatchHolds(object.etag) else {
      var answer = Answer(304)
      answer.header("ETag", "\"\(object.etag)\"")
      return answer
    }
    let size = object.body.count
    let range = try RequestedRange.parse(head["range"], size: size)
    let wanted = range ?? 0..<size
    var answer = Answer(
      range == nil ? 200 : 206,
      head.method == .head ? .headOnly(length: wanted.count) : .object(object.body, wanted))
    if let range { answer.header("Content-Range", "bytes \(range.lowerBound)-\(range.upperBound - 1)/\(size)") }
    answer.header("Accept-Ranges", "bytes")
    answer.header("ETag", "\"\(object.etag)\"")
    answer.header("Last-Modified", HTTPDate.text(object.modified))
    for header in object.attributes.headers { answer.header(header.name, header.value) }
    return answer
  }

  func putObject(_ received: Received) throws(Refusal) -> Answer {
    let head = received.head
    let object = StoredObject(
      body: received.body, etag: received.etag, modified: store.now, attributes: ObjectAttributes(head))
    try store.put(head.bucket, head.key, object, Conditions(head))
    var answer = Answer()
    answer.header("ETag", "\"\(object.etag)\"")
    return answer
  }

  /// The copy shares the memory of its source, and has its tag.
  func copyObject(_ head: RequestHead) throws(Refusal) -> Answer {
    let (bucket, key) = try Self.source(head)
    let source = try store.get(bucket, key)
    try Self.check(source, head)
    let replaces = head["x-amz-metadata-directive"]?.uppercased() == "REPLACE"
    guard replaces || bucket != head.bucket || key != head.key else {
      throw .invalidRequest("An object is copied onto itself without a change.")
    }
    let copy = StoredObject(
      body: source.body, etag: source.etag, modified: store.now,
      attributes: replaces ? ObjectAttributes(head) : source.attributes)
    try store.put(head.bucket, head.key, copy, Conditions(head))
    return Answer(
      xml: XMLWriter.document("CopyObjectResult") { xml in
        xml.element("ETag", "\"\(copy.etag)\"")
        xml.element("LastModified", HTTPDate.iso(copy.modified))
      })
  }

  func deleteObject(_ head: RequestHead) throws(Refusal) -> Answer {
    try store.delete(head.bucket, head.key, Conditions(head))
    return Answer(204)
  }

  func deleteObjects(_ received: Received) throws(Refusal) -> Answer {
    let document = received.body.bytes[...]
    let keys = XMLReader.contents(of: "Object", in: document).map { XMLReader.text(of: "Key", in: $0) }
    guard !keys.isEmpty, keys.count <= 1000, !keys.contains(nil) else { throw .malformedXML }
    let isQuiet = XMLReader.text(of: "Quiet", in: document).map { $0.elementsEqual("true".utf8) } ?? false
    let none = Conditions(ifMatch: nil, ifNoneMatch: nil)
    for key in keys.compactMap({ $0 }) { try store.delete(received.head.bucket, Key(key), none) }
    return Answer(
      xml: XMLWriter.document("DeleteResult") { xml in
        guard !isQuiet else { return }
        for key in keys.compactMap({ $0 }) {
          xml.element("Deleted") { $0.element("Key", key) }
        }
      })
  }

  /// Bucket and key of the header that names the source of a copy.
  static func source(_ head: RequestHead) throws(Refusal) -> (bucket: String, key: Key) {
    guard let text = head["x-amz-copy-source"],
      let path = PercentCoding.decode(text.utf8.prefix { $0 != UInt8(ascii: "?") }, plusIsSpace: false)
    else { throw .invalidArgument("The source of the copy is not well encoded.") }
    let rest = path.first == UInt8(ascii: "/") ? path.dropFirst() : path[...]
    let bucket = rest.prefix { $0 != UInt8(ascii: "/") }
    let key = rest.dropFirst(bucket.count + 1)
    guard !bucket.isEmpty, !key.isEmpty else { throw .invalidArgument("The source of the copy has no key.") }
    return (String(decoding: bucket, as: UTF8.self), Key(Array(key)))
  }

  /// The conditions for the source of a copy; there, AWS has 412 for all that does not hold.
  static func check(_ source: StoredObject, _ head: RequestHead) throws(Refusal) {
    let conditions = Conditions(source: head)
    guard conditions.matchHolds(source.etag), conditions.noneMatchHolds(source.etag) else { throw .preconditionFailed }
  }
}
