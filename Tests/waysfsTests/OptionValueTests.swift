import Testing

@testable import waysfs

struct OptionValueTests {
  static let sizes: [(String, UInt64?)] = [
    ("0", 0), ("1048576", 1 << 20), ("512K", 512 << 10), ("256MiB", 256 << 20), ("1G", 1 << 30), ("1gib", 1 << 30),
    ("2T", 2 << 40), ("64MB", 64_000_000), ("10b", 10), ("", nil), ("G", nil), ("1.5G", nil), ("-1", nil), ("+1", nil),
    ("1 G", nil), ("1X", nil), ("0x10", nil), ("99999999999999999999", nil), ("99999999999T", nil), ("٣", nil),
  ]

  @Test(arguments: sizes)
  func size(_ text: String, _ bytes: UInt64?) {
    #expect((try? OptionValue.size(text)) == bytes)
  }

  static let durations: [(String, Double?)] = [
    ("0", 0), ("60", 60), ("60s", 60), ("0.5", 0.5), ("500ms", 0.5), ("5m", 300), ("5min", 300), ("1h", 3600),
    ("1d", 86400), ("", nil), ("s", nil), (".", nil), ("1.2.3", nil), ("-1", nil), ("1e9", nil), ("inf", nil),
    ("nan", nil), ("999999d", nil), ("1 m", nil), ("5.", nil), (".5", nil),
  ]

  @Test(arguments: durations)
  func duration(_ text: String, _ seconds: Double?) {
    #expect((try? OptionValue.duration(text)) == seconds)
  }

  static let modes: [(String, UInt32?)] = [
    ("0", 0), ("022", 0o22), ("22", 0o22), ("0o22", 0o22), ("0777", 0o777), ("1777", nil), ("8", nil), ("", nil),
    ("-1", nil), ("rwx", nil), ("0x1", nil), ("777777777777777777777777", nil),
  ]

  @Test(arguments: modes)
  func permissions(_ text: String, _ mode: UInt32?) {
    #expect((try? OptionValue.permissions(text)) == mode)
  }

  static let identifiers: [(String, UInt32?)] = [
    ("0", 0), ("1000", 1000), ("4294967294", 4_294_967_294), ("4294967295", nil), ("root", nil), ("", nil), ("-1", nil),
  ]

  @Test(arguments: identifiers)
  func identifier(_ text: String, _ id: UInt32?) {
    #expect((try? OptionValue.identifier(text)) == id)
  }

  @Test func flags() throws {
    #expect(try OptionValue.flag("yes"))
    #expect(try !OptionValue.flag("0"))
    #expect(throws: UsageError.self) { try OptionValue.flag("maybe") }
  }

  @Test func paths() throws {
    #expect(try OptionValue.path("/a", relativeTo: "/w") == "/a")
    #expect(try OptionValue.path("a/b", relativeTo: "/w") == "/w/a/b")
    #expect(try OptionValue.path("a", relativeTo: "/") == "/a")
    #expect(throws: UsageError.self) { try OptionValue.path("", relativeTo: "/") }
  }

  static let distances: [(String, String, Int)] = [
    ("", "", 0), ("", "abc", 3), ("abc", "abc", 0), ("abc", "abd", 1), ("abc", "acb", 1), ("kitten", "sitting", 3),
    ("ca", "abc", 3), ("region", "regoin", 1),
  ]

  @Test(arguments: distances)
  func distance(_ left: String, _ right: String, _ expected: Int) {
    #expect(editDistance(left, right) == expected)
    #expect(editDistance(right, left) == expected)
  }

  @Test func nearest() {
    #expect(nearestName(to: "warn", among: ["warning", "info", "error"]) == nil)
    #expect(nearestName(to: "warnin", among: ["warning", "info", "error"]) == "warning")
    #expect(nearestName(to: "zzzz", among: ["warning", "info"]) == nil)
    #expect(nearestName(to: String(repeating: "a", count: 1 << 20), among: ["warning"]) == nil)
    #expect(nearestName(to: "ac", among: ["ab", "aa"]) == "aa")
  }
}
