import Basics
import HTTPTransport
import ObjectStore

/// Reads the header fields of HeadObject and GetObject.
enum MetadataParser {
  /// The metadata of an object whose whole length is `size`; nil when the server left out the version or the date.
  static func metadata(_ head: HTTPResponseHead, size: UInt64) -> ObjectMetadata? {
    guard let etag = etag(head), let lastModified = head["last-modified"].flatMap(parseHTTPDate) else { return nil }
    var user: [String: String] = [:]
    for header in head.headers {
      let prefix = "x-amz-meta-".utf8
      guard header.name.utf8.lazy.map({ $0 | 0x20 }).starts(with: prefix) else { continue }
      let short = String(decoding: header.name.utf8.dropFirst(prefix.count), as: UTF8.self).lowercased()
      user[short] = user[short].map { "\($0),\(header.value)" } ?? header.value
    }
    return ObjectMetadata(
      size: size, etag: etag, lastModified: lastModified, contentType: head["content-type"],
      headers: storedHeaders(head),
      userMetadata: user, storageClass: head["x-amz-storage-class"], versionID: versionID(head))
  }

  private static func storedHeaders(_ head: HTTPResponseHead) -> [StoredHeader: String] {
    var headers: [StoredHeader: String] = [:]
    for header in StoredHeader.allCases {
      guard var value = head[header.rawValue] else { continue }
      if header == .contentEncoding {
        // Not of the object, but of the request that stored it: some servers keep it.
        let encodings = value.split(separator: ",").map { $0.drop { $0 == " " } }
        value = encodings.filter { $0.lowercased() != "aws-chunked" }.joined(separator: ", ")
      }
      if !value.isEmpty, ObjectAttributes.isPlainText(value) { headers[header] = value }
    }
    return headers
  }

  /// The version, without the mark of a weak tag that a proxy may have added.
  static func etag(_ head: HTTPResponseHead) -> ETag? {
    guard let value = head["etag"] else { return nil }
    let tag = ETag(value.utf8.starts(with: "W/".utf8) ? String(value.dropFirst(2)) : value)
    return tag.value.isEmpty ? nil : tag
  }

  /// Whether the tag of an answer is that of an encrypted object, which is no MD5 of its bytes (S3: "Object", `ETag`).
  static func isEncryptedTag(_ head: HTTPResponseHead) -> Bool {
    head["x-amz-server-side-encryption-customer-algorithm"] != nil
      || head["x-amz-server-side-encryption"]?.lowercased().hasPrefix("aws:kms") == true
  }

  static func versionID(_ head: HTTPResponseHead) -> String? {
    head["x-amz-version-id"].flatMap { $0 == "null" ? nil : $0 }
  }

  static func contentLength(_ head: HTTPResponseHead) -> UInt64? {
    guard let text = head["content-length"], !text.hasPrefix("+") else { return nil }
    return UInt64(text)
  }

  /// Parses `bytes 0-9/20` (RFC 9110, section 14.4); nil for anything that does not name all three numbers, or not in
  /// their order.
  static func contentRange(_ text: String) -> (range: ByteRange, size: UInt64)? {
    let words = text.split(separator: " ")
    guard words.count == 2, words[0] == "bytes" else { return nil }
    let parts = words[1].split(separator: "/", omittingEmptySubsequences: false)
    guard parts.count == 2 else { return nil }
    let bounds = parts[0].split(separator: "-", omittingEmptySubsequences: false)
    guard bounds.count == 2, let first = UInt64(bounds[0]), let last = UInt64(bounds[1]), let size = UInt64(parts[1]),
      first <= last, last < size
    else { return nil }
    return (ByteRange(offset: first, length: last - first + 1), size)
  }
}
