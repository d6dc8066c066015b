import Testing

@testable import waysfs

struct BucketReferenceTests {
  static let readable: [(String, String, String)] = [
    ("photos", "photos", ""), ("photos:", "photos", ""), ("photos:/", "photos", ""), ("a-b.c1", "a-b.c1", ""),
    ("photos:2024", "photos", "2024/"), ("photos:2024/", "photos", "2024/"), ("photos:/2024/x", "photos", "2024/x/"),
    ("photos:a:b", "photos", "a:b/"), ("photos:ä b", "photos", "ä b/"), ("photos:...", "photos", ".../"),
    ("photos:.hidden", "photos", ".hidden/"),
  ]

  @Test(arguments: readable)
  func reads(_ text: String, _ bucket: String, _ prefix: String) throws {
    let reference = try BucketReference(parsing: text)
    #expect(reference.bucket == bucket)
    #expect(reference.prefix == prefix)
  }

  static let refused = [
    "", ":", ":x", "ab", String(repeating: "a", count: 64), "Photos", "pho_tos", "-ab", "ab-", ".ab", "a..b",
    "192.168.0.1", "phötos", "a b", "photos:a//b", "photos://a", "photos:a//", "photos:..", "photos:a/../b",
    "photos:./a",
    "photos:a/.", "s3://photos", "https://host/photos", "photos/2024", "a\nbc",
    "photos:" + String(repeating: "k", count: 1001),
  ]

  @Test(arguments: refused)
  func refuses(_ text: String) {
    #expect(throws: UsageError.self) { try BucketReference(parsing: text) }
  }

  /// To Swift, a slash followed by a combining accent is one character that is not a slash.
  @Test func componentsAreCutByBytes() {
    #expect(throws: UsageError.self) { try BucketReference(parsing: "photos:a/../\u{301}b") }
  }

  @Test func hints() throws {
    let slash = try #require(throws: UsageError.self) { try BucketReference(parsing: "photos/a/b") }
    #expect(slash.message.contains("'photos:a/b'"))
  }

  @Test func source() throws {
    #expect(try BucketReference(parsing: "photos").source == "waysfs:photos")
    #expect(try BucketReference(parsing: "photos:/a/b/").source == "waysfs:photos/a/b")
    #expect(try BucketReference(parsing: "photos:/a").description == "photos:a/")
  }
}

struct EndpointTests {
  static let readable: [(String, String)] = [
    ("https://storage.wayscloud.services", "https://storage.wayscloud.services"),
    ("https://H.example/", "https://h.example"),
    ("http://127.0.0.1:8333", "http://127.0.0.1:8333"), ("HTTP://localhost:9000", "http://localhost:9000"),
    ("http://[::1]:80", "http://[::1]:80"), ("http://[::1]", "http://[::1]"), ("https://h.", "https://h."),
    ("http://my_host", "http://my_host"),
  ]

  @Test(arguments: readable)
  func reads(_ text: String, _ url: String) throws {
    #expect(try Endpoint(parsing: text).description == url)
  }

  @Test(arguments: [
    "", "storage.wayscloud.services", "ftp://h", "https://", "https:///", "https://u:p@h", "https://h/path",
    "https://h?x",
    "https://h#f", "https://h:", "https://h:0", "https://h:65536", "https://h:+1", "https://h:x", "https://[::1",
    "https://[]", "https://h h", "https://ä", "https://a..b", "https://.a", "https://h:1:2",
  ])
  func refuses(_ text: String) {
    #expect(throws: UsageError.self) { try Endpoint(parsing: text) }
  }

  @Test func doesNotQuotePasswords() throws {
    let error = try #require(throws: UsageError.self) { try Endpoint(parsing: "https://user:hunter2@h") }
    #expect(!error.message.contains("hunter2"))
  }

  @Test func loopback() throws {
    #expect(try Endpoint(parsing: "http://localhost:1").isLoopback)
    #expect(try Endpoint(parsing: "http://127.1.2.3").isLoopback)
    #expect(try Endpoint(parsing: "http://[::1]").isLoopback)
    #expect(try !Endpoint(parsing: "http://localhost.example.com").isLoopback)
    #expect(try !Endpoint(parsing: "http://10.0.0.1").isLoopback)
  }
}
