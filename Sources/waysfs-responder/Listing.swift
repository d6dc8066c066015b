/// A page of a listing of keys.
struct Listing<Value: Sendable>: Sendable {
  struct Request: Equatable, Sendable {
    var prefix = Key([])
    /// What ends a common prefix; empty for none.
    var delimiter: [UInt8] = []
    /// The last key or common prefix of the page before; nil for the first page.
    var after: Key?
    var limit = 1000
  }

  private(set) var entries: [(key: Key, value: Value)] = []
  private(set) var commonPrefixes: [Key] = []
  private(set) var isTruncated = false
  /// The last key or common prefix.
  private(set) var last: Key?

  var count: Int { entries.count + commonPrefixes.count }

  init(_ map: SortedMap<Value>, _ request: Request) {
    // AWS answers so, too.
    guard request.limit > 0, let start = Self.start(request) else { return }
    map.visit(from: start) { entry in
      guard entry.key.hasPrefix(request.prefix) else { return .stop }
      if entry.key == request.after { return .next }
      guard count < request.limit else {
        isTruncated = true
        return .stop
      }
      guard let common = Self.commonPrefix(of: entry.key, request) else {
        entries.append(entry)
        last = entry.key
        return .next
      }
      commonPrefixes.append(common)
      last = common
      return common.afterAllBelow.map { .seek($0) } ?? .stop
    }
  }

  /// Where to begin; nil when there can be nothing.
  private static func start(_ request: Request) -> Key? {
    guard let after = request.after, request.prefix < after else { return request.prefix }
    // Behind a common prefix, what is below it was told already.
    if after.hasPrefix(request.prefix), commonPrefix(of: after, request) == after { return after.afterAllBelow }
    return after
  }

  private static func commonPrefix(of key: Key, _ request: Request) -> Key? {
    let rest = key.bytes.dropFirst(request.prefix.bytes.count)
    guard let first = request.delimiter.first else { return nil }
    var from = rest.startIndex
    while let found = rest[from...].firstIndex(of: first) {
      if rest[found...].starts(with: request.delimiter) {
        return Key(Array(key.bytes[..<(found + request.delimiter.count)]))
      }
      from = found + 1
    }
    return nil
  }
}
