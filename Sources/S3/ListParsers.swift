import Basics
import ObjectStore

/// `ListBucketResult` (S3: ListObjectsV2).
struct ListingHandler: XMLElementHandler {
  private(set) var problem: String?
  private(set) var page = ListPage()
  private(set) var isTruncated = false
  private var root = ""
  private var encoded = false
  private var path: [String] = []
  private var key: String?
  private var size: UInt64?
  private var etag: String?
  private var lastModified: Timestamp?
  private var storageClass: String?
  private var rawEntries: [(key: String, entry: ListEntry)] = []
  private var rawPrefixes: [String] = []

  mutating func begin(_ name: String, depth: Int) {
    if depth == 1 { root = name }
    if depth <= path.count { path.removeLast(path.count - depth + 1) }
    path.append(name)
    if depth == 2 && name == "Contents" { (key, size, etag, lastModified, storageClass) = (nil, nil, nil, nil, nil) }
  }

  mutating func end(_ name: String, text: String, depth: Int) {
    switch (depth, depth > 2 ? path[1] : "", name) {
    case (2, _, "IsTruncated"): isTruncated = text == "true"
    case (2, _, "NextContinuationToken"): page.continuation = text
    case (2, _, "EncodingType"): encoded = text == "url"
    case (2, _, "Contents"): endEntry()
    case (3, "Contents", "Key"): key = text
    case (3, "Contents", "Size"): size = UInt64(text)
    case (3, "Contents", "ETag"): etag = text
    case (3, "Contents", "LastModified"): lastModified = parseISODate(text)
    case (3, "Contents", "StorageClass"): storageClass = text
    case (3, "CommonPrefixes", "Prefix"): rawPrefixes.append(text)
    default: break
    }
  }

  private mutating func endEntry() {
    guard let key, let size, let etag, let lastModified else {
      problem = "An entry of the listing has no key, size, tag or date."
      return
    }
    let entry = ListEntry(
      key: ObjectKey(""), size: size, etag: ETag(etag), lastModified: lastModified, storageClass: storageClass)
    rawEntries.append((key, entry))
  }

  /// The page, or what is wrong with it. The encoding may be announced behind the entries, so it is undone only here.
  consuming func finish(_ request: ListRequest) throws(XMLError) -> ListPage {
    guard root == "ListBucketResult" else { throw XMLError(message: "It is a \(plain(root, limit: 64)).") }
    if let problem { throw XMLError(message: problem) }
    func name(_ text: String) throws(XMLError) -> String {
      guard let decoded = encoded ? formDecoded(text) : text else {
        throw XMLError(message: "A name is not encoded as announced.")
      }
      guard decoded.utf8.starts(with: request.prefix.utf8) else {
        throw XMLError(message: "A name is not below the prefix that was asked for.")
      }
      return decoded
    }
    for raw in rawEntries {
      var entry = raw.entry
      entry.key = ObjectKey(try name(raw.key))
      page.entries.append(entry)
    }
    for raw in rawPrefixes { page.prefixes.append(try name(raw)) }
    if !isTruncated {
      page.continuation = nil
    } else if page.continuation == nil || page.continuation == request.continuation {
      throw XMLError(message: "The listing is cut, but does not say how to go on.")
    }
    return page
  }
}

/// Documents with a repeated element and a few fields around it: parts, uploads, buckets, refused deletions.
struct RecordsHandler: XMLElementHandler {
  /// The name of the repeated element, a child of the root.
  let record: String
  private(set) var root = ""
  private(set) var fields: [String: String] = [:]
  private(set) var records: [[String: String]] = []
  private let recordDepth: Int
  private var current: [String: String]?

  init(_ record: String, depth: Int = 2) {
    self.record = record
    recordDepth = depth
  }

  mutating func begin(_ name: String, depth: Int) {
    if depth == 1 { root = name }
    if depth == recordDepth && name == record { current = [:] }
  }

  mutating func end(_ name: String, text: String, depth: Int) {
    if depth == recordDepth && name == record {
      if let current { records.append(current) }
      current = nil
    } else if depth == recordDepth + 1 && current != nil {
      current?[name] = text
    } else if depth == 2 {
      fields[name] = text
    }
  }
}
