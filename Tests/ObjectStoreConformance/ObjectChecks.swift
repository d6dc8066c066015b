import Basics
import ObjectStore

let objectChecks: [ConformanceCheck] = [
  ConformanceCheck("the bucket is there") { try $0.store.headBucket() },

  ConformanceCheck("put, head and get agree") { context in
    let key = context.key("file.txt")
    let bytes = pattern(70_000)
    let result = try context.store.put(PutRequest(key, body: .bytes(bytes)))
    let head = try context.store.head(key)
    try context.expectEqual(head.size, 70_000)
    try context.expectEqual(head.etag, result.etag)
    try context.expect(head.lastModified.seconds > 1_000_000, "the object has no date")
    let (metadata, read) = try context.store.get(GetRequest(key))
    try context.expectBytes(read, bytes)
    try context.expectEqual(metadata.etag, head.etag)
    try context.expectEqual(metadata.size, head.size)
    try context.expectEqual(metadata.lastModified, head.lastModified)
  },

  ConformanceCheck("an object of no bytes") { context in
    let key = context.key("empty")
    try context.store.put(PutRequest(key, body: .bytes([])))
    try context.expectEqual(try context.store.head(key).size, 0)
    let (metadata, bytes) = try context.store.get(GetRequest(key))
    try context.expectEqual(metadata.size, 0)
    try context.expectBytes(bytes, [])
    try context.expectFailure(.invalidRange) { () throws(ObjectStoreError) in
      try context.store.get(GetRequest(key, range: ByteRange(offset: 0, length: 10)))
    }
  },

  ConformanceCheck("a put replaces everything") { context in
    let key = context.key("replaced")
    let first = try context.store.put(
      PutRequest(key, body: .bytes(pattern(1000)), attributes: ObjectAttributes(userMetadata: ["mode": "33188"])))
    let second = try context.store.put(PutRequest(key, body: .bytes(pattern(10, seed: 2))))
    try context.expect(first.etag != second.etag, "two contents have one tag")
    let (metadata, bytes) = try context.store.get(GetRequest(key))
    try context.expectBytes(bytes, pattern(10, seed: 2))
    try context.expectEqual(metadata.userMetadata["mode"], nil)
  },

  ConformanceCheck("what is not there is not found") { context in
    let key = context.key("missing")
    try context.expectFailure(.notFound) { () throws(ObjectStoreError) in try context.store.head(key) }
    try context.expectFailure(.notFound) { () throws(ObjectStoreError) in try context.store.get(GetRequest(key)) }
    try context.store.delete(key)
  },

  ConformanceCheck("a deleted object is gone") { context in
    let key = context.key("deleted")
    try context.store.put(PutRequest(key, body: .bytes([1])))
    try context.store.delete(key)
    try context.expectFailure(.notFound) { () throws(ObjectStoreError) in try context.store.head(key) }
    try context.expectEqual(try context.listAll(delimited: false).entries.count, 0)
  },

  ConformanceCheck("attributes come back") { context in
    let key = context.key("attributes")
    let metadata = [
      "mode": "33188", "mtime": "1700000000.123456789", "uid": "1000", "xattr": "%7B%22user.a%22%3A%22eA%3D%3D%22%7D",
      "with-dash": "a b  c", "punctuation": "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~",
    ]
    try context.store.put(
      PutRequest(
        key, body: .bytes([1, 2, 3]),
        attributes: ObjectAttributes(contentType: "text/x-test; charset=utf-8", userMetadata: metadata)))
    let head = try context.store.head(key)
    let got = try context.store.get(GetRequest(key)).metadata
    for found in [head, got] {
      for (name, value) in metadata { try context.expectEqual(found.userMetadata[name], value) }
      if context.traits.contentType { try context.expectEqual(found.contentType, "text/x-test; charset=utf-8") }
    }
  },

  ConformanceCheck("attributes that headers cannot carry are refused") { context in
    let bad = [
      ["mode": "ä"], ["mode": "a\nb"], ["Mode": "1"], ["mo de": "1"], ["": "1"], ["mode": " 1"], ["mode": "1 "],
    ]
    for metadata in bad {
      try context.expectFailure(.invalidRequest) { () throws(ObjectStoreError) in
        try context.store.put(
          PutRequest(
            context.key("bad"), body: .bytes([1]), attributes: ObjectAttributes(userMetadata: metadata)))
      }
    }
    try context.expectFailure(.notFound) { () throws(ObjectStoreError) in try context.store.head(context.key("bad")) }
  },

  ConformanceCheck("a directory marker keeps its metadata") { context in
    let key = context.key("dir/")
    let attributes = ObjectAttributes(contentType: "application/x-directory", userMetadata: ["mode": "16877"])
    try context.store.put(PutRequest(key, body: .bytes([]), attributes: attributes))
    let head = try context.store.head(key)
    try context.expectEqual(head.size, 0)
    if context.traits.markerMetadata { try context.expectEqual(head.userMetadata["mode"], "16877") }
    guard context.traits.markers else { return }
    try context.expectEqual(try context.listAll(delimited: true).prefixes, [key.string])
    try context.expectEqual(try context.listAll("dir/", delimited: true).entries.map(\.key), [key])
  },

  ConformanceCheck("keys that cannot be keys") { context in
    let long = ObjectKey(String(repeating: "a/", count: 600))
    try context.expectFailure(.nameTooLong) { () throws(ObjectStoreError) in
      try context.store.put(PutRequest(long, body: .bytes([1])))
    }
    try context.expectFailure(.invalidRequest) { () throws(ObjectStoreError) in
      try context.store.put(PutRequest(ObjectKey(""), body: .bytes([1])))
    }
  },

  ConformanceCheck("an object and another below its name") { context in
    guard context.traits.nested else { return }
    try context.store.put(PutRequest(context.key("a"), body: .bytes([1])))
    try context.store.put(PutRequest(context.key("a/b"), body: .bytes([2])))
    try context.expectBytes(try context.store.get(GetRequest(context.key("a"))).bytes, [1])
    try context.expectBytes(try context.store.get(GetRequest(context.key("a/b"))).bytes, [2])
    let listing = try context.listAll(delimited: true)
    try context.expectEqual(listing.entries.map(\.key), [context.key("a")])
    try context.expectEqual(listing.prefixes, [context.key("a/").string])
  },

  ConformanceCheck("a cancelled operation reports so") { context in
    let cancellation = Cancellation()
    cancellation.cancel()
    try context.expectFailure(.cancelled) { () throws(ObjectStoreError) in
      try context.store.head(context.key("any"), cancellation)
    }
  },
]

let rangeChecks: [ConformanceCheck] = [
  ConformanceCheck("ranges") { context in
    let key = context.key("ranges")
    let bytes = pattern(300_000)
    try context.store.put(PutRequest(key, body: .bytes(bytes)))
    let ranges: [(UInt64, UInt64)] = [
      (0, 1), (0, 300_000), (1, 65_536), (131_071, 2), (299_999, 1), (299_990, 100), (0, .max), (299_999, .max),
    ]
    for (offset, length) in ranges {
      let request = GetRequest(key, range: ByteRange(offset: offset, length: length))
      let (metadata, read) = try context.store.get(request)
      let end = Int(min(300_000, request.range?.end ?? 0))
      try context.expectBytes(read, Array(bytes[Int(offset)..<end]))
      try context.expectEqual(metadata.size, 300_000)
    }
    for offset in [300_000, 300_001, 1 << 40] as [UInt64] {
      try context.expectFailure(.invalidRange) { () throws(ObjectStoreError) in
        try context.store.get(GetRequest(key, range: ByteRange(offset: offset, length: 5)))
      }
    }
    try context.expectFailure(.invalidRange) { () throws(ObjectStoreError) in
      try context.store.get(GetRequest(key, range: ByteRange(offset: 5, length: 0)))
    }
  },

  ConformanceCheck("a get of one version") { context in
    let key = context.key("pinned")
    let first = try context.store.put(PutRequest(key, body: .bytes(pattern(100))))
    let (_, bytes) = try context.store.get(GetRequest(key, ifMatch: first.etag))
    try context.expectBytes(bytes, pattern(100))
    try context.store.put(PutRequest(key, body: .bytes(pattern(100, seed: 2))))
    guard context.traits.conditionalGet else { return }
    for range in [nil, ByteRange(offset: 10, length: 10)] {
      try context.expectFailure(.preconditionFailed) { () throws(ObjectStoreError) in
        try context.store.get(GetRequest(key, range: range, ifMatch: first.etag))
      }
    }
  },
]
