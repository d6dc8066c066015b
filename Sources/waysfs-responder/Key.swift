import Glibc

/// An object's key: bytes, compared in the order in which S3 lists.
struct Key: Hashable, Comparable, Sendable {
  let bytes: [UInt8]

  init(_ bytes: [UInt8]) {
    self.bytes = bytes
  }

  init(_ text: String) {
    bytes = Array(text.utf8)
  }

  static func < (left: Self, right: Self) -> Bool {
    left.bytes.withUnsafeBytes { left in
      right.bytes.withUnsafeBytes { right in
        guard let leftBase = left.baseAddress, let rightBase = right.baseAddress else {
          return left.count < right.count
        }
        let order = memcmp(leftBase, rightBase, min(left.count, right.count))
        return order == 0 ? left.count < right.count : order < 0
      }
    }
  }

  func hasPrefix(_ prefix: Key) -> Bool { bytes.starts(with: prefix.bytes) }

  /// The first key behind all that begin with this one; nil when there is none.
  var afterAllBelow: Key? {
    var bytes = bytes
    while let last = bytes.popLast() {
      if last < UInt8.max { return Key(bytes + [last + 1]) }
    }
    return nil
  }
}
