import Basics
import ObjectStore

extension ConformanceContext {
  /// Puts small objects, several at once.
  fileprivate func fill(_ names: [String]) throws {
    let results: [Result<PutResult, ObjectStoreError>] = fanOut(over: names, limit: 16) { name, completion in
      store.put(PutRequest(key(name), body: .bytes(Array(name.utf8))), nil, completion)
    }
    for result in results { _ = try result.get() }
  }

  fileprivate func expectOrder(_ keys: [ObjectKey]) throws {
    guard traits.byteOrder else { return }
    try expect(keys == keys.sorted(), "the listing is not in byte order")
  }
}

private func padded(_ number: Int) -> String { String(String(number + 100_000).dropFirst()) }

let listChecks: [ConformanceCheck] = [
  ConformanceCheck("2,500 keys over pages, and their deletion") { context in
    let names = (0..<2500).map { "d\($0 % 3)/\(padded($0))" }
    try context.fill(names)
    let flat = try context.listAll(delimited: false)
    try context.expectEqual(flat.entries.count, 2500)
    try context.expectEqual(Set(flat.entries.map(\.key)), Set(names.map { context.key($0) }))
    try context.expect(flat.pages >= 3, "2,500 keys came in \(flat.pages) pages")
    try context.expectOrder(flat.entries.map(\.key))
    let entry = flat.entries.first { $0.key == context.key(names[1]) }
    let head = try context.store.head(context.key(names[1]))
    try context.expectEqual(entry?.size, head.size)
    try context.expectEqual(entry?.etag, head.etag)
    try context.expectEqual(entry?.lastModified, head.lastModified)

    let folded = try context.listAll(delimited: true)
    try context.expectEqual(Set(folded.prefixes), Set((0..<3).map { context.key("d\($0)/").string }))
    try context.expectEqual(folded.prefixes.count, 3)
    try context.expectEqual(folded.entries.count, 0)
    let inside = try context.listAll("d1/", delimited: true, limit: 100)
    try context.expectEqual(inside.entries.count, 833)
    try context.expectEqual(Set(inside.entries.map(\.key)).count, 833)

    let keys = flat.entries.map(\.key)
    for start in stride(from: 0, to: keys.count, by: 1000) {
      let failed = try context.store.deleteMany(Array(keys[start..<min(start + 1000, keys.count)]))
      try context.expect(failed.isEmpty, "could not be deleted: \(failed.count)")
    }
    try context.expectEqual(try context.listAll(delimited: false).entries.count, 0)
  },

  ConformanceCheck("pages of entries and prefixes") { context in
    let files = (0..<23).map { "f\(padded($0))" }
    let directories = (0..<21).flatMap { ["d\(padded($0))/x", "d\(padded($0))/y"] }
    try context.fill(files + directories)
    for limit in [1, 2, 7, 44] {
      let listing = try context.listAll(delimited: true, limit: limit)
      try context.expectEqual(listing.entries.map(\.key), files.map { context.key($0) })
      try context.expectEqual(listing.prefixes, (0..<21).map { context.key("d\(padded($0))/").string })
    }
  },

  ConformanceCheck("names around the delimiter") { context in
    let names = ["a-/x", "a/x", "a/y/z", "a.txt", "a0", "b"]
    try context.fill(names)
    let flat = try context.listAll(delimited: false)
    try context.expectEqual(Set(flat.entries.map(\.key)), Set(names.map { context.key($0) }))
    try context.expectOrder(flat.entries.map(\.key))
    let folded = try context.listAll(delimited: true)
    try context.expectEqual(Set(folded.prefixes), Set(["a-/", "a/"].map { context.prefix + $0 }))
    try context.expectEqual(Set(folded.entries.map(\.key)), Set(["a.txt", "a0", "b"].map { context.key($0) }))
    let below = try context.listAll("a/", delimited: true)
    try context.expectEqual(below.entries.map(\.key), [context.key("a/x")])
    try context.expectEqual(below.prefixes, [context.key("a/y/").string])
    // A prefix need not end at a delimiter.
    try context.expectEqual(
      Set(try context.listAll("a", delimited: false).entries.map(\.key)), Set(names.dropLast().map { context.key($0) }))
  },

  ConformanceCheck("start after a key") { context in
    guard context.traits.startAfter else { return }
    let names = (0..<20).map { "k\(padded($0))" }
    try context.fill(names)
    for delimited in [false, true] {
      let rest = try context.listAll(delimited: delimited, limit: 4, startAfter: names[11])
      try context.expectEqual(rest.entries.map(\.key), names[12...].map { context.key($0) })
      // The key need not be there.
      let between = try context.listAll(delimited: delimited, startAfter: names[11] + "x")
      try context.expectEqual(between.entries.map(\.key), names[12...].map { context.key($0) })
      try context.expectEqual(try context.listAll(delimited: delimited, startAfter: "z").entries.count, 0)
    }
  },

  ConformanceCheck("a prefix with nothing below it") { context in
    for delimited in [false, true] {
      let listing = try context.listAll("nothing/", delimited: delimited)
      try context.expect(listing.entries.isEmpty && listing.prefixes.isEmpty, "there is something")
      try context.expectEqual(listing.pages, 1)
    }
  },

  ConformanceCheck("deleting what is not there") { context in
    try context.fill(["there"])
    let failed = try context.store.deleteMany([context.key("there"), context.key("not there")])
    try context.expect(failed.isEmpty, "could not be deleted: \(failed)")
    try context.expectEqual(try context.store.deleteMany([]), [:])
    try context.expectFailure(.invalidRequest) { () throws(ObjectStoreError) in
      try context.store.deleteMany((0...1000).map { context.key("n\($0)") })
    }
  },
]
