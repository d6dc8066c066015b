import Testing

@testable import waysfs_responder

@Suite struct KeyTests {
  @Test func sortsByBytes() {
    let sorted = ["", "a", "a-/x", "a/x", "aa", "b", "é", "\u{FFFF}", "\u{10000}"].map { Key($0) }
    #expect(sorted.reversed().sorted() == sorted)
  }

  @Test func findsWhatFollowsAPrefix() {
    #expect(Key("a/").afterAllBelow == Key("a0"))
    #expect(Key([1, 255, 255]).afterAllBelow == Key([2]))
    #expect(Key([255]).afterAllBelow == nil)
  }
}

@Suite struct SortedMapTests {
  @Test(arguments: [1, 2, 3]) func doesWhatADictionaryDoes(seed: UInt64) {
    var generator = Generator(state: seed)
    var map = SortedMap<Int>()
    var model: [Key: Int] = [:]
    for step in 0..<6_000 {
      let key = Key(String(Int.random(in: 0..<2_000, using: &generator), radix: 7))
      // More is removed than added towards the end, so that leaves become empty.
      if Int.random(in: 0..<6_000, using: &generator) < step {
        #expect(map.remove(key) == model.removeValue(forKey: key))
      } else {
        #expect(map.set(key, step) == model.updateValue(step, forKey: key))
      }
    }
    #expect(map.count == model.count && map.isEmpty == model.isEmpty)
    for number in 0..<2_000 {
      let key = Key(String(number, radix: 7))
      #expect(map[key] == model[key])
    }
    let from = Key("3")
    var found: [Key] = []
    map.visit(from: from) {
      found.append($0.key)
      return .next
    }
    #expect(found == model.keys.filter { !($0 < from) }.sorted())
  }
}

@Suite struct ListingTests {
  /// What a listing is, said in the simplest way: the keys and common prefixes below the prefix, in order.
  private func expected(_ keys: [Key], _ prefix: String, _ delimiter: String) -> [String] {
    var items: [String] = []
    for key in keys.sorted() where key.hasPrefix(Key(prefix)) {
      let text = String(decoding: key.bytes, as: UTF8.self)
      let rest = text.dropFirst(prefix.count)
      let end = delimiter.isEmpty ? nil : rest.firstRange(of: delimiter)?.upperBound
      let item = end.map { String(text[..<$0]) } ?? text
      if items.last != item { items.append(item) }
    }
    return items
  }

  @Test(arguments: [1, 2, 5, 100], ["/", "", "aa"])
  func pagesGiveTheWhole(limit: Int, delimiter: String) {
    var generator = Generator(state: 42)
    var map = SortedMap<Int>()
    for number in 0..<300 {
      let letters = (0..<Int.random(in: 1...6, using: &generator)).map { _ in
        ["a", "b", "-", "/", "0"].randomElement(using: &generator) ?? "a"
      }
      map.set(Key(letters.joined()), number)
    }
    var keys: [Key] = []
    map.visit(from: Key("")) {
      keys.append($0.key)
      return .next
    }
    for prefix in ["", "a", "a/", "b-", "zzz"] {
      var request = Listing<Int>.Request(prefix: Key(prefix), delimiter: Array(delimiter.utf8), limit: limit)
      var found: [Key] = []
      while true {
        let page = Listing(map, request)
        #expect(page.count <= limit)
        found += (page.entries.map(\.key) + page.commonPrefixes).sorted()
        guard page.isTruncated, let last = page.last else { break }
        request.after = last
      }
      #expect(found == expected(keys, prefix, delimiter).map { Key($0) })
    }
  }

  @Test func beginsInTheMiddleOfACommonPrefix() {
    var map = SortedMap<Int>()
    for key in ["a/1", "a/2", "b"] { map.set(Key(key), 0) }
    var request = Listing<Int>.Request(delimiter: [UInt8(ascii: "/")], after: Key("a/1"))
    #expect(Listing(map, request).commonPrefixes == [Key("a/")])
    request.after = Key("a/2")
    #expect(Listing(map, request).commonPrefixes == [])
    request.limit = 0
    #expect(Listing(map, request).count == 0)
    #expect(!Listing(map, request).isTruncated)
  }
}

/// Numbers that are the same in each run.
private struct Generator: RandomNumberGenerator {
  var state: UInt64

  mutating func next() -> UInt64 {
    state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
    return (state ^ state >> 29) &* 0xBF58_476D_1CE4_E5B9
  }
}
