import Basics

/// Listing pages of an in-memory bucket.
extension InMemoryBucket {
  /// One page, as ListObjectsV2 of AWS makes it.
  func page(_ request: ListRequest) throws(ObjectStoreError) -> ListPage {
    var index = try start(of: request)
    var page = ListPage()
    let limit = min(max(request.limit, 1), 1000)
    var last = ""
    while index < sortedKeys.count, sortedKeys[index].hasPrefix(request.prefix) {
      let key = sortedKeys[index]
      guard page.entries.count + page.prefixes.count < limit else {
        page.continuation = last
        break
      }
      if request.delimited, let folded = key.commonPrefix(after: request.prefix) {
        page.prefixes.append(folded)
        last = "prefix:\(folded)"
        index = firstIndex(behindPrefix: folded)
        continue
      }
      if let metadata = objects[key]?.metadata {
        page.entries.append(
          ListEntry(key, metadata))
      }
      last = "key:\(key.string)"
      index += 1
    }
    return page
  }

  /// One page of all keys, as a server makes it whose directories are directories.
  func pageByNames(_ request: ListRequest) -> ListPage {
    func precedes(_ left: ObjectKey, _ right: ObjectKey) -> Bool {
      let slash = UInt8(ascii: "/")
      let (left, right) = (left.string.utf8.split(separator: slash), right.string.utf8.split(separator: slash))
      return left.lexicographicallyPrecedes(right) { $0.lexicographicallyPrecedes($1) }
    }
    let after = request.continuation.map { ObjectKey($0) } ?? request.startAfter
    let keys = sortedKeys.filter { key in
      key.hasPrefix(request.prefix) && after.map { precedes($0, key) } ?? true
    }.sorted(by: precedes)
    let limit = min(max(request.limit, 1), 1000)
    let entries = keys.prefix(limit).compactMap { key in
      objects[key].map { ListEntry(key, $0.metadata) }
    }
    return ListPage(entries: entries, continuation: keys.count > limit ? entries.last?.key.string : nil)
  }

  private func start(of request: ListRequest) throws(ObjectStoreError) -> Int {
    let prefix = ObjectKey(request.prefix)
    let first = sortedKeys.firstIndex(partitionedBy: { $0 >= prefix })
    if let token = request.continuation {
      if token.utf8.starts(with: "prefix:".utf8) {
        return max(first, firstIndex(behindPrefix: token.droppingBytes(7)))
      }
      guard token.utf8.starts(with: "key:".utf8) else {
        throw ObjectStoreError(
          .invalidRequest, "The continuation token is not valid.", httpStatus: 400, serverCode: "InvalidArgument")
      }
      // By bytes: dropping characters would take a combining mark at the start of the key with the colon.
      let key = ObjectKey(token.droppingBytes(4))
      return max(first, sortedKeys.firstIndex(partitionedBy: { $0 > key }))
    }
    guard let after = request.startAfter else { return first }
    return max(first, sortedKeys.firstIndex(partitionedBy: { $0 > after }))
  }

  private func firstIndex(behindPrefix prefix: String) -> Int {
    let bound = ObjectKey(prefix)
    return sortedKeys.firstIndex(partitionedBy: { $0 > bound && !$0.hasPrefix(prefix) })
  }
}

extension ObjectKey {
  /// What a delimited listing below `prefix` folds this key into; nil when it shows the key itself.
  func commonPrefix(after prefix: String) -> String? {
    let utf8 = string.utf8
    let rest = utf8.dropFirst(prefix.utf8.count)
    guard let slash = rest.firstIndex(of: UInt8(ascii: "/")) else { return nil }
    return String(decoding: utf8[...slash], as: UTF8.self)
  }
}

extension String {
  fileprivate func droppingBytes(_ count: Int) -> String { String(decoding: utf8.dropFirst(count), as: UTF8.self) }
}

extension ListEntry {
  fileprivate init(_ key: ObjectKey, _ metadata: ObjectMetadata) {
    self.init(
      key: key, size: metadata.size, etag: metadata.etag, lastModified: metadata.lastModified,
      storageClass: metadata.storageClass)
  }
}
