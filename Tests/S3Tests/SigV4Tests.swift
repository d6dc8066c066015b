import Basics
import HTTPTransport
import ObjectStore
import Testing

@testable import S3

/// The vectors AWS publishes: its signature test suite, and the examples of the S3 reference
/// ("Signature Calculations for the Authorization Header: Transferring Payload in a Single Chunk").
@Suite struct SigV4Tests {
  struct Vector: Sendable, CustomStringConvertible {
    var name: String
    var method = "GET"
    var path = "/"
    var query: [(name: String, value: String)] = []
    var headers: [HTTPHeader] = []
    var payload = ""
    var signature: String
    var description: String { name }
  }

  static let suite = [
    Vector(name: "get-vanilla", signature: "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
    Vector(
      name: "get-vanilla-query-order-key-case", query: [("Param2", "value2"), ("Param1", "value1")],
      signature: "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500"),
    Vector(
      name: "get-vanilla-empty-query-key", query: [("Param1", "value1")],
      signature: "a67d582fa61cc504c4bae71f336f98b97f1ea3c7a6bfe1b6e45aec72011b9aeb"),
    Vector(
      name: "get-utf8", path: "/\u{1234}",
      signature: "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85"),
    Vector(
      name: "get-unreserved", path: "/-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
      signature: "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f"),
    Vector(
      name: "get-header-value-trim",
      headers: [HTTPHeader("My-Header1", " value1"), HTTPHeader("My-Header2", " \"a   b   c\"")],
      signature: "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736"),
    Vector(
      name: "post-vanilla", method: "POST",
      signature: "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
    Vector(
      name: "post-vanilla-query", method: "POST", query: [("Param1", "value1")],
      signature: "28038455d6de14eafc1f9222cf5aa6f1a96197d7deb8263271d420d138af7f11"),
    Vector(
      name: "post-x-www-form-urlencoded", method: "POST",
      headers: [HTTPHeader("Content-Type", "application/x-www-form-urlencoded")], payload: "Param1=value1",
      signature: "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a"),
  ]

  @Test(arguments: suite)
  func signatureTestSuite(_ vector: Vector) {
    let date = "20150830T123600Z"
    let request = SigV4.canonicalRequest(
      method: vector.method, path: percentEncoded(vector.path, keepingSlash: true),
      query: SigV4.canonicalQuery(vector.query),
      headers: vector.headers + [HTTPHeader("Host", "example.amazonaws.com"), HTTPHeader("X-Amz-Date", date)],
      payloadHash: hexadecimal(Digest.of(Array(vector.payload.utf8), .sha256)))
    let scope = SigV4.Scope(day: "20150830", region: "us-east-1", service: "service")
    let key = SigV4.signingKey(secret: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", scope: scope)
    let authorization = SigV4.authorization(
      accessKeyID: "AKIDEXAMPLE", key: key, scope: scope, date: date, request: request)
    #expect(authorization.hasSuffix("Signature=\(vector.signature)"))
    #expect(
      authorization.hasPrefix("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, "))
  }

  static let reference = [
    Vector(
      name: "GET Object", path: "/test.txt", headers: [HTTPHeader("Range", "bytes=0-9")],
      signature: "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"),
    Vector(
      name: "PUT Object", method: "PUT", path: "/test$file.text",
      headers: [
        HTTPHeader("Date", "Fri, 24 May 2013 00:00:00 GMT"),
        HTTPHeader("x-amz-storage-class", "REDUCED_REDUNDANCY"),
      ], payload: "Welcome to Amazon S3.",
      signature: "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"),
    Vector(
      name: "GET Bucket Lifecycle", query: [("lifecycle", "")],
      signature: "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"),
    Vector(
      name: "List Objects", query: [("max-keys", "2"), ("prefix", "J")],
      signature: "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"),
  ]

  @Test(arguments: reference)
  func referenceExamples(_ vector: Vector) throws {
    let builder = RequestBuilder(
      endpoint: try S3Endpoint("https://s3.amazonaws.com"), region: "us-east-1", addressing: .virtualHost)
    let key = vector.path == "/" ? nil : ObjectKey(String(vector.path.dropFirst()))
    let request = S3Request(
      method: HTTPMethod(rawValue: vector.method) ?? .get, bucket: "examplebucket", key: key, query: vector.query,
      headers: vector.headers, payloadHash: hexadecimal(Digest.of(Array(vector.payload.utf8), .sha256)))
    let credentials = S3Credentials(
      accessKeyID: "AKIAIOSFODNN7EXAMPLE", secretAccessKey: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
    let signed = builder.signed(
      request, credentials, at: parseHTTPDate("Fri, 24 May 2013 00:00:00 GMT") ?? .init(seconds: 0))
    #expect(signed.url.hasPrefix("https://examplebucket.s3.amazonaws.com/"))
    #expect(signed.header("authorization")?.hasSuffix("Signature=\(vector.signature)") == true)
  }

  @Test func canonicalQuerySortsByNameThenValueAndEncodes() {
    let query = SigV4.canonicalQuery([("b", "2"), ("a", "ä/ +~"), ("b", "1"), ("uploads", "")])
    #expect(query == "a=%C3%A4%2F%20%2B~&b=1&b=2&uploads=")
  }

  @Test func signingKeyIsCachedPerDayRegionAndSecret() {
    let cache = SigningKeyCache()
    let scope = SigV4.Scope(day: "20150830", region: "us-east-1", service: "s3")
    let first = cache.key(secret: "one", scope: scope)
    #expect(cache.key(secret: "one", scope: scope) == first)
    #expect(cache.key(secret: "two", scope: scope) != first)
    var next = scope
    next.day = "20150831"
    #expect(cache.key(secret: "one", scope: next) != first)
    #expect(cache.key(secret: "one", scope: scope) == SigV4.signingKey(secret: "one", scope: scope))
  }
}
