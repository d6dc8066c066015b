import Testing

@testable import waysfs_sandbox

@Suite struct BucketNameTests {
  @Test(arguments: ["abc", "a-b", "123", String(repeating: "x", count: 63)])
  func accepts(name: String) {
    #expect(BucketName.problem(with: name) == nil)
  }

  @Test(arguments: [
    "", "ab", String(repeating: "x", count: 64), "Abc", "a_b", "a.b", "-ab", "ab-", "a b", "abé", "abc/", "a\u{0}c",
  ])
  func refuses(name: String) {
    #expect(BucketName.problem(with: name) != nil)
  }
}
