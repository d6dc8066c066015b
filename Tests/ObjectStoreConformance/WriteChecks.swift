import Basics
import ObjectStore

let conditionChecks: [ConformanceCheck] = [
  ConformanceCheck("put only what is new") { context in
    guard context.traits.conditionalPut else { return }
    let key = context.key("new")
    try context.store.put(PutRequest(key, body: .bytes([1]), condition: .ifAbsent))
    try context.expectFailure(.preconditionFailed) { () throws(ObjectStoreError) in
      try context.store.put(PutRequest(key, body: .bytes([2]), condition: .ifAbsent))
    }
    try context.expectBytes(try context.store.get(GetRequest(key)).bytes, [1])
  },

  ConformanceCheck("put only over a known version") { context in
    guard context.traits.conditionalPut else { return }
    let key = context.key("known")
    let first = try context.store.put(PutRequest(key, body: .bytes([1])))
    let second = try context.store.put(PutRequest(key, body: .bytes([2]), condition: .ifMatch(first.etag)))
    try context.expectFailure(.preconditionFailed) { () throws(ObjectStoreError) in
      try context.store.put(PutRequest(key, body: .bytes([3]), condition: .ifMatch(first.etag)))
    }
    try context.expectBytes(try context.store.get(GetRequest(key, ifMatch: second.etag)).bytes, [2])
    try context.expectFailure(.preconditionFailed) { () throws(ObjectStoreError) in
      try context.store.put(PutRequest(context.key("gone"), body: .bytes([3]), condition: .ifMatch(first.etag)))
    }
  },
]

let copyChecks: [ConformanceCheck] = [
  ConformanceCheck("a copy has bytes and attributes") { context in
    let (source, destination) = (context.key("source ä+%&?#"), context.key("copy ö+%&?#"))
    let attributes = ObjectAttributes(contentType: "text/plain", userMetadata: ["mode": "33188", "uid": "5"])
    let put = try context.store.put(PutRequest(source, body: .bytes(pattern(5000)), attributes: attributes))
    let copied = try context.store.copy(CopyRequest(from: source, to: destination, sourceMatch: put.etag))
    let (metadata, bytes) = try context.store.get(GetRequest(destination))
    try context.expectBytes(bytes, pattern(5000))
    try context.expectEqual(metadata.etag, copied.etag)
    try context.expectEqual(metadata.userMetadata["mode"], "33188")
    try context.expectEqual(metadata.userMetadata["uid"], "5")
    if context.traits.contentType { try context.expectEqual(metadata.contentType, "text/plain") }
  },

  ConformanceCheck("a copy with new attributes") { context in
    let (source, destination) = (context.key("source"), context.key("copy"))
    try context.store.put(
      PutRequest(source, body: .bytes([1, 2]), attributes: ObjectAttributes(userMetadata: ["mode": "1", "uid": "5"])))
    try context.store.copy(
      CopyRequest(from: source, to: destination, attributes: ObjectAttributes(userMetadata: ["mode": "2"])))
    let metadata = try context.store.head(destination)
    try context.expectEqual(metadata.userMetadata["mode"], "2")
    if context.traits.copyReplacesAttributes { try context.expectEqual(metadata.userMetadata["uid"], nil) }
    try context.expectEqual(try context.store.head(source).userMetadata["mode"], "1")
  },

  ConformanceCheck("a copy onto itself changes the attributes") { context in
    let key = context.key("self")
    let put = try context.store.put(
      PutRequest(key, body: .bytes(pattern(900)), attributes: ObjectAttributes(userMetadata: ["mode": "1"])))
    try context.store.copy(
      CopyRequest(
        from: key, to: key, sourceMatch: put.etag,
        attributes: ObjectAttributes(contentType: "text/x-new", userMetadata: ["mode": "2"])))
    let (metadata, bytes) = try context.store.get(GetRequest(key))
    try context.expectBytes(bytes, pattern(900))
    try context.expectEqual(metadata.userMetadata["mode"], "2")
    if context.traits.contentType { try context.expectEqual(metadata.contentType, "text/x-new") }
  },

  ConformanceCheck("a copy of what is not there") { context in
    try context.expectFailure(.notFound) { () throws(ObjectStoreError) in
      try context.store.copy(CopyRequest(from: context.key("missing"), to: context.key("copy")))
    }
    try context.expectFailure(.notFound) { () throws(ObjectStoreError) in
      try context.store.head(context.key("copy"))
    }
  },

  ConformanceCheck("a copy of another version") { context in
    guard context.traits.conditionalCopy else { return }
    let key = context.key("source")
    let old = try context.store.put(PutRequest(key, body: .bytes([1])))
    try context.store.put(PutRequest(key, body: .bytes([2])))
    try context.expectFailure(.preconditionFailed) { () throws(ObjectStoreError) in
      try context.store.copy(CopyRequest(from: key, to: context.key("copy"), sourceMatch: old.etag))
    }
    try context.expectFailure(.notFound) { () throws(ObjectStoreError) in
      try context.store.head(context.key("copy"))
    }
  },
]
