import Basics
import ObjectStore

private let smallestPart = 5 << 20

let multipartChecks: [ConformanceCheck] = [
  ConformanceCheck("an object of parts") { context in
    let key = context.key("parts ä")
    let attributes = ObjectAttributes(contentType: "text/plain", userMetadata: ["mode": "33188"])
    let upload = try context.store.createUpload(key, attributes: attributes)
    try context.expectFailure(.notFound) { () throws(ObjectStoreError) in try context.store.head(key) }
    let anyOrder = context.traits.partsInAnyOrder
    var parts: [UploadedPart] = []
    for (number, bytes) in anyOrder
      ? [(3, pattern(10, seed: 3)), (1, pattern(smallestPart, seed: 1))]
      : [(1, pattern(smallestPart, seed: 1)), (2, pattern(10, seed: 3))]
    {
      parts.append(try context.store.uploadPart(upload, number: number, body: .bytes(bytes)))
    }
    // Given out of order, they are put together in order of number.
    let result = try context.store.completeUpload(upload, parts: anyOrder ? parts : parts.reversed())
    let (metadata, bytes) = try context.store.get(GetRequest(key))
    try context.expectBytes(bytes, pattern(smallestPart, seed: 1) + pattern(10, seed: 3))
    if context.traits.completeTellsTag { try context.expectEqual(metadata.etag, result.etag) }
    try context.expectEqual(metadata.userMetadata["mode"], "33188")
    if context.traits.contentType { try context.expectEqual(metadata.contentType, "text/plain") }
    let range = ByteRange(offset: UInt64(smallestPart) - 2, length: 4)
    try context.expectBytes(
      try context.store.get(GetRequest(key, range: range)).bytes, Array(bytes[(smallestPart - 2)..<(smallestPart + 2)]))
    try context.expectEqual(try context.listAll(delimited: false).entries.map(\.etag), [metadata.etag])
  },

  ConformanceCheck("a part is replaced by one of the same number") { context in
    guard context.traits.partsInAnyOrder else { return }
    let key = context.key("replaced")
    let upload = try context.store.createUpload(key, attributes: ObjectAttributes())
    _ = try context.store.uploadPart(upload, number: 1, body: .bytes(pattern(1000)))
    let part = try context.store.uploadPart(upload, number: 1, body: .bytes(pattern(2000, seed: 2)))
    _ = try context.store.completeUpload(upload, parts: [part])
    try context.expectBytes(try context.store.get(GetRequest(key)).bytes, pattern(2000, seed: 2))
  },

  ConformanceCheck("parts too small") { context in
    guard context.traits.minimumPartSize else { return }
    let upload = try context.store.createUpload(context.key("small"), attributes: ObjectAttributes())
    let parts = try (1...2).map {
      try context.store.uploadPart(upload, number: $0, body: .bytes(pattern(1000, seed: UInt64($0))))
    }
    try context.expectFailure(.invalidSize) { () throws(ObjectStoreError) in
      try context.store.completeUpload(upload, parts: parts)
    }
    try context.store.abortUpload(upload)
  },

  ConformanceCheck("an aborted upload is gone") { context in
    let upload = try context.store.createUpload(context.key("aborted"), attributes: ObjectAttributes())
    let part = try context.store.uploadPart(upload, number: 1, body: .bytes([1]))
    try context.store.abortUpload(upload)
    let codes: [ObjectStoreError.Code] = context.traits.noSuchUpload ? [.noSuchUpload] : [.noSuchUpload, .serverError]
    try context.expectFailure(codes) { () throws(ObjectStoreError) in
      try context.store.completeUpload(upload, parts: [part])
    }
    try context.store.abortUpload(upload)
    try context.expectFailure(.notFound) { () throws(ObjectStoreError) in
      try context.store.head(context.key("aborted"))
    }
  },

  ConformanceCheck("a part that was not uploaded") { context in
    let upload = try context.store.createUpload(context.key("wrong"), attributes: ObjectAttributes())
    var part = try context.store.uploadPart(upload, number: 1, body: .bytes([1]))
    try context.expectFailure(.invalidRequest) { () throws(ObjectStoreError) in
      try context.store.completeUpload(upload, parts: [])
    }
    for number in [0, 10_001] {
      try context.expectFailure(.invalidRequest) { () throws(ObjectStoreError) in
        try context.store.uploadPart(upload, number: number, body: .bytes([1]))
      }
    }
    part.number = 2
    try context.expectFailure(.invalidRequest) { () throws(ObjectStoreError) in
      try context.store.completeUpload(upload, parts: [part])
    }
    try context.store.abortUpload(upload)
    try context.expectFailure(.notFound) { () throws(ObjectStoreError) in
      try context.store.head(context.key("wrong"))
    }
  },

  ConformanceCheck("complete only what is new, or a known version") { context in
    let key = context.key("conditional")
    func complete(_ byte: UInt8, _ condition: WriteCondition) throws(ObjectStoreError) -> PutResult {
      let upload = try context.store.createUpload(key, attributes: ObjectAttributes())
      let part = try context.store.uploadPart(upload, number: 1, body: .bytes([byte]))
      do throws(ObjectStoreError) {
        return try context.store.completeUpload(upload, parts: [part], condition: condition)
      } catch {
        try context.store.abortUpload(upload)
        throw error
      }
    }
    var last = try complete(1, .ifAbsent)
    if context.traits.completeIfAbsent {
      try context.expectFailure(.preconditionFailed) { () throws(ObjectStoreError) in try complete(2, .ifAbsent) }
      try context.expectBytes(try context.store.get(GetRequest(key)).bytes, [1])
    }
    if context.traits.completeIfMatch {
      let old = last.etag
      last = try complete(3, .ifMatch(old))
      try context.expectFailure(.preconditionFailed) { () throws(ObjectStoreError) in try complete(4, .ifMatch(old)) }
      try context.expectBytes(try context.store.get(GetRequest(key, ifMatch: last.etag)).bytes, [3])
    }
  },
]

let partChecks: [ConformanceCheck] = [
  ConformanceCheck("tags confirm the bytes they were given for") { context in
    let store = context.store
    for bytes in [[], pattern(3), pattern(70_000)] {
      let put = try store.put(PutRequest(context.key("whole \(bytes.count)"), body: .bytes(bytes)))
      try context.expectEqual(store.confirms(put.etag, .bytes(bytes)), true)
      try context.expectEqual(store.confirms(put.etag, .bytes(bytes + [0])), false)
    }
    let key = context.key("parts")
    let upload = try store.createUpload(key, attributes: ObjectAttributes())
    let part = try store.uploadPart(upload, number: 1, body: .bytes(pattern(900)))
    let listed = context.traits.listsUploads ? try store.listParts(upload).map(\.etag) : []
    for etag in [part.etag] + listed {
      try context.expectEqual(store.confirms(etag, .bytes(pattern(900))), true)
      try context.expectEqual(store.confirms(etag, .bytes(pattern(900, seed: 2))), false)
    }
    _ = try store.completeUpload(upload, parts: [part])
    let told = store.confirms(try store.head(key).etag, .bytes(pattern(900)))
    try context.expectEqual(told, context.traits.partsTag ? nil : true)
  },

  ConformanceCheck("parts copied from another object") { context in
    let (source, key) = (context.key("source ö"), context.key("assembled"))
    let bytes = pattern(smallestPart + 100)
    let put = try context.store.put(PutRequest(source, body: .bytes(bytes)))
    let upload = try context.store.createUpload(key, attributes: ObjectAttributes())
    let range = ByteRange(offset: 50, length: UInt64(smallestPart))
    guard context.traits.copyPart else {
      try context.expectFailure(.unsupported, .invalidRequest, .serverError) { () throws(ObjectStoreError) in
        try context.store.copyPart(upload, number: 1, from: source, range: range, sourceMatch: put.etag)
      }
      return try context.store.abortUpload(upload)
    }
    let copied = try context.store.copyPart(upload, number: 1, from: source, range: range, sourceMatch: put.etag)
    let own = try context.store.uploadPart(upload, number: 2, body: .bytes(pattern(7, seed: 2)))
    _ = try context.store.completeUpload(upload, parts: [copied, own])
    try context.expectBytes(
      try context.store.get(GetRequest(key)).bytes, Array(bytes[50..<(50 + smallestPart)]) + pattern(7, seed: 2))
  },

  ConformanceCheck("a part is not copied from another version") { context in
    guard context.traits.copyPart, context.traits.conditionalCopy else { return }
    let source = context.key("source")
    let old = try context.store.put(PutRequest(source, body: .bytes([1, 2, 3])))
    try context.store.put(PutRequest(source, body: .bytes([4, 5, 6])))
    let upload = try context.store.createUpload(context.key("assembled"), attributes: ObjectAttributes())
    try context.expectFailure(.preconditionFailed) { () throws(ObjectStoreError) in
      try context.store.copyPart(
        upload, number: 1, from: source, range: ByteRange(offset: 0, length: 3), sourceMatch: old.etag)
    }
    try context.store.abortUpload(upload)
  },

  ConformanceCheck("uploads and parts are listed") { context in
    guard context.traits.listsUploads else { return }
    let key = context.key("listed ü+%/x")
    let upload = try context.store.createUpload(key, attributes: ObjectAttributes())
    try context.expectEqual(try context.store.listParts(upload), [])
    var parts: [UploadedPart] = []
    for number in [2, 1, 7] {
      parts.append(try context.store.uploadPart(upload, number: number, body: .bytes(pattern(number * 10))))
    }
    try context.expectEqual(try context.store.listParts(upload), parts.sorted { $0.number < $1.number })
    let other = try context.store.createUpload(context.key("other"), attributes: ObjectAttributes())
    try context.expectEqual(try context.store.listUploads(prefix: context.key("listed").string), [upload])
    let both = try context.store.listUploads(prefix: context.prefix)
    try context.expectEqual(Set(both), [upload, other])
    try context.store.abortUpload(upload)
    try context.expectEqual(try context.store.listUploads(prefix: context.prefix), [other])
    try context.store.abortUpload(other)
    try context.expectFailure(.noSuchUpload) { () throws(ObjectStoreError) in try context.store.listParts(upload) }
  },
]
