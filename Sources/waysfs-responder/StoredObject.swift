import Basics

/// What a client gives an object besides its bytes, and gets back with them.
struct ObjectAttributes: Equatable, Sendable {
  struct Header: Equatable, Sendable {
    /// In lower case.
    var name: String
    var value: [UInt8]
  }

  var headers: [Header] = []

  private static let kept: Set<String> = [
    "content-type", "cache-control", "content-disposition", "content-language", "expires",
  ]

  init() {}

  init(_ head: RequestHead) {
    for (name, value) in head.allFields {
      if name.hasPrefix("x-amz-meta-") || Self.kept.contains(name) {
        headers.append(Header(name: name, value: Array(value)))
      } else if name == "content-encoding" {
        // `aws-chunked` is about the way, not about the object.
        let left = String(decoding: value, as: UTF8.self).split(separator: ",").map(trimmed).filter {
          $0 != "aws-chunked"
        }
        if !left.isEmpty { headers.append(Header(name: name, value: Array(left.joined(separator: ",").utf8))) }
      }
    }
    if !headers.contains(where: { $0.name == "content-type" }) {
      headers.append(Header(name: "content-type", value: Array("binary/octet-stream".utf8)))
    }
  }
}

func trimmed(_ text: Substring) -> String {
  var text = text
  while text.first == " " { text.removeFirst() }
  while text.last == " " { text.removeLast() }
  return String(text)
}

/// One version of an object; never changes.
final class StoredObject: Sendable {
  let body: Body
  /// Without quotes.
  let etag: String
  /// Seconds since 1970.
  let modified: Int
  let attributes: ObjectAttributes

  init(body: Body, etag: String, modified: Int, attributes: ObjectAttributes) {
    self.body = body
    self.etag = etag
    self.modified = modified
    self.attributes = attributes
  }
}

/// `If-Match` and `If-None-Match`, or their namesakes for the source of a copy.
struct Conditions: Equatable, Sendable {
  private var match: [String]?
  private var noneMatch: [String]?

  init(ifMatch: String?, ifNoneMatch: String?) {
    match = ifMatch.map(Self.tags)
    noneMatch = ifNoneMatch.map(Self.tags)
  }

  init(_ head: RequestHead) {
    self.init(ifMatch: head["if-match"], ifNoneMatch: head["if-none-match"])
  }

  init(source head: RequestHead) {
    self.init(ifMatch: head["x-amz-copy-source-if-match"], ifNoneMatch: head["x-amz-copy-source-if-none-match"])
  }

  private static func tags(_ text: String) -> [String] {
    text.split(separator: ",").map { trimmed($0).filter { $0 != "\"" } }
  }

  /// Whether `If-Match` holds for the tag of what is there; nil when nothing is.
  func matchHolds(_ etag: String?) -> Bool {
    guard let match else { return true }
    return etag.map { match.contains("*") || match.contains($0) } ?? false
  }

  /// Whether `If-None-Match` holds.
  func noneMatchHolds(_ etag: String?) -> Bool {
    guard let noneMatch, let etag else { return true }
    return !noneMatch.contains("*") && !noneMatch.contains(etag)
  }

  /// Fails unless both hold for what is to be replaced or copied. A missing object that was to match is a 404, as at AWS.
  func check(_ found: StoredObject?) throws(Refusal) {
    if found == nil, match != nil { throw .noSuchKey }
    guard matchHolds(found?.etag), noneMatchHolds(found?.etag) else { throw .preconditionFailed }
  }
}
