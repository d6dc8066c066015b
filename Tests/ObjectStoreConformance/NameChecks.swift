import Basics
import ObjectStore

enum Names {
  static let plain = [
    "with space", " leading", "trailing ", "two  spaces", "ümläut", "\u{e9}", "日本語", "😀", "100%", "%41",
    "a+b", "a&b", "a=b", "q?x=1", "#hash", "semi;colon", "comma,", "quote\"'", "<tag>", "]]>", "a:b",
    "a@b", "a*b", "~tilde", "[x]", "{y}", "$dollar", "!bang", "(x)", "|pipe", "^caret", "`tick", "tab\there", "..a",
    "a..", "...", "plus+ space %2B", "%2F", "uploads", "a\u{200B}b", "\u{FEFF}mark", String(repeating: "x", count: 255),
    String(repeating: "ä", count: 127) + "y",
  ]

  static func all(_ traits: StoreTraits) -> [String] {
    var names = plain
    if traits.unicodeForms { names.append("e\u{301}") }
    if traits.backslash { names.append("back\\slash") }
    if traits.lineBreaks { names += ["new\nline", "carriage\rreturn"] }
    if traits.controlCharacters { names += ["\u{1}control", "bell\u{7}", "del\u{7F}"] }
    return names
  }
}

let nameChecks: [ConformanceCheck] = [
  ConformanceCheck("every name comes back as it was") { context in
    let names = Names.all(context.traits)
    var expected: Set<ObjectKey> = []
    for (index, name) in names.enumerated() {
      let key = context.key(name)
      expected.insert(key)
      try context.store.put(PutRequest(key, body: .bytes(pattern(index + 1))))
    }
    for (index, name) in names.enumerated() {
      let (metadata, bytes) = try context.store.get(GetRequest(context.key(name)))
      try context.expect(bytes == pattern(index + 1), "\(name.debugDescription) has other bytes")
      try context.expectEqual(metadata.size, UInt64(index + 1))
      try context.expectEqual(try context.store.head(context.key(name)).size, UInt64(index + 1))
    }
    for delimited in [false, true] {
      let listed = Set(try context.listAll(delimited: delimited).entries.map(\.key))
      try context.expect(
        listed == expected,
        "missing: \(expected.subtracting(listed).map(\.string)), extra: \(listed.subtracting(expected).map(\.string))")
    }
    let failed = try context.store.deleteMany(Array(expected))
    try context.expect(failed.isEmpty, "could not be deleted: \(failed)")
    try context.expectEqual(try context.listAll(delimited: false).entries.map(\.key), [])
  },

  ConformanceCheck("names in directories with such names") { context in
    for name in ["with space/a b", "100%/50%", "a+b/c+d", "ü/e\u{301}", "q?/x=1&y", "#/#"] {
      let key = context.key(name)
      try context.store.put(PutRequest(key, body: .bytes(Array(name.utf8))))
      let directory = String(decoding: name.utf8.prefix { $0 != UInt8(ascii: "/") }, as: UTF8.self) + "/"
      let listing = try context.listAll(directory, delimited: true)
      try context.expectEqual(listing.entries.map(\.key), [key])
    }
    let prefixes = try context.listAll(delimited: true).prefixes
    try context.expectEqual(Set(prefixes.map { ObjectKey($0) }).count, 6)
  },

  ConformanceCheck("composed and decomposed names are two") { context in
    guard context.traits.unicodeForms else { return }
    let (composed, decomposed) = (context.key("caf\u{e9}"), context.key("cafe\u{301}"))
    try context.store.put(PutRequest(composed, body: .bytes([1])))
    try context.expectFailure(.notFound) { () throws(ObjectStoreError) in try context.store.head(decomposed) }
    try context.store.put(PutRequest(decomposed, body: .bytes([2])))
    try context.expectBytes(try context.store.get(GetRequest(composed)).bytes, [1])
    try context.expectBytes(try context.store.get(GetRequest(decomposed)).bytes, [2])
  },

  ConformanceCheck("components of more than 255 bytes") { context in
    let key = context.key(String(repeating: "n", count: 256))
    if context.traits.longComponents {
      try context.store.put(PutRequest(key, body: .bytes([1])))
      try context.expectBytes(try context.store.get(GetRequest(key)).bytes, [1])
    } else {
      try context.expectFailure(.nameTooLong, .invalidRequest, .serverError) { () throws(ObjectStoreError) in
        try context.store.put(PutRequest(key, body: .bytes([1])))
      }
    }
  },
]
