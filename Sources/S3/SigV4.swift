import HTTPTransport
import Synchronization

/// AWS Signature Version 4, computed from nothing but its arguments
/// (AWS: "Signing AWS API requests"; "Authenticating Requests: Using the Authorization Header").
enum SigV4 {
  /// What a signing key is good for.
  struct Scope: Hashable, Sendable {
    /// `20130524`
    var day: String
    var region: String
    var service: String

    var text: String { "\(day)/\(region)/\(service)/aws4_request" }
  }

  /// The request in the one form both sides compute.
  struct CanonicalRequest: Sendable {
    var text: String
    /// `host;x-amz-date`
    var signedHeaders: String
  }

  /// Builds the canonical request.
  /// - Parameters:
  ///   - path: percent-encoded once, and otherwise as it will be sent: S3 does not normalise paths.
  ///   - query: as `canonicalQuery` makes it.
  ///   - headers: every field to sign, `host` included.
  ///   - payloadHash: hexadecimal SHA-256, or `UNSIGNED-PAYLOAD`.
  static func canonicalRequest(
    method: String, path: String, query: String, headers: [HTTPHeader], payloadHash: String
  ) -> CanonicalRequest {
    var fields: [String: String] = [:]
    for header in headers {
      let name = header.name.lowercased()
      let value = trimmed(header.value)
      fields[name] = fields[name].map { "\($0),\(value)" } ?? value
    }
    let names = fields.keys.sorted()
    let signedHeaders = names.joined(separator: ";")
    var text = "\(method)\n\(path)\n\(query)\n"
    for name in names { text += "\(name):\(fields[name] ?? "")\n" }
    text += "\n\(signedHeaders)\n\(payloadHash)"
    return CanonicalRequest(text: text, signedHeaders: signedHeaders)
  }

  /// The query, encoded and sorted by name and then value. It is also what is sent.
  static func canonicalQuery(_ items: [(name: String, value: String)]) -> String {
    items.map { (name: percentEncoded($0.name), value: percentEncoded($0.value)) }
      .sorted { ($0.name, $0.value) < ($1.name, $1.value) }
      .map { "\($0.name)=\($0.value)" }
      .joined(separator: "&")
  }

  static func stringToSign(date: String, scope: Scope, canonicalRequest: String) -> String {
    "AWS4-HMAC-SHA256\n\(date)\n\(scope.text)\n"
      + hexadecimal(Digest.of(Array(canonicalRequest.utf8), .sha256))
  }

  static func signingKey(secret: String, scope: Scope) -> [UInt8] {
    var key = hmacSHA256(key: Array("AWS4\(secret)".utf8), scope.day.utf8)
    key = hmacSHA256(key: key, scope.region.utf8)
    key = hmacSHA256(key: key, scope.service.utf8)
    return hmacSHA256(key: key, "aws4_request".utf8)
  }

  /// The value of the `Authorization` header.
  static func authorization(
    accessKeyID: String, key: [UInt8], scope: Scope, date: String, request: CanonicalRequest
  ) -> String {
    let text = stringToSign(date: date, scope: scope, canonicalRequest: request.text)
    let signature = hexadecimal(hmacSHA256(key: key, text.utf8))
    // The spaces are not needed by the specification, but by some servers.
    return "AWS4-HMAC-SHA256 Credential=\(accessKeyID)/\(scope.text), SignedHeaders=\(request.signedHeaders), "
      + "Signature=\(signature)"
  }

  /// Without spaces at the ends, and with each run of spaces as one.
  private static func trimmed(_ value: String) -> String {
    value.split(separator: " ", omittingEmptySubsequences: true).joined(separator: " ")
  }
}

/// The signing key of the day, so that it is not derived anew for every request. Thread-safe.
final class SigningKeyCache: Sendable {
  private struct Entry: Sendable {
    var scope: SigV4.Scope
    var secret: String
    var key: [UInt8]
  }

  private let entry = Mutex<Entry?>(nil)

  func key(secret: String, scope: SigV4.Scope) -> [UInt8] {
    let known = entry.withLock { entry in
      entry.flatMap { $0.scope == scope && $0.secret == secret ? $0.key : nil }
    }
    if let known { return known }
    let key = SigV4.signingKey(secret: secret, scope: scope)
    entry.withLock { $0 = Entry(scope: scope, secret: secret, key: key) }
    return key
  }
}
