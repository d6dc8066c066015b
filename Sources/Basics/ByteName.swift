/// A string that is compared byte by byte.
///
/// Swift's `String` calls "é" and "e\u{301}" equal; a filesystem and an object store do not. Everything that names an
/// object or a file is therefore one of these types, so that two different names can never be taken for one.
public protocol ByteName: Hashable, Comparable, Sendable, CustomStringConvertible {
  /// The name as text. Its UTF-8 bytes are the identity.
  var string: String { get }
}

extension ByteName {
  /// Byte-wise equality.
  public static func == (left: Self, right: Self) -> Bool {
    left.string.utf8.elementsEqual(right.string.utf8)
  }

  /// Byte-wise order, the order S3 lists keys in.
  public static func < (left: Self, right: Self) -> Bool {
    left.string.utf8.lexicographicallyPrecedes(right.string.utf8)
  }

  /// Hashes the bytes.
  public func hash(into hasher: inout Hasher) {
    var string = string
    string.withUTF8 { hasher.combine(bytes: UnsafeRawBufferPointer($0)) }
    hasher.combine(0xFF as UInt8)
  }

  /// The name as text.
  public var description: String { string }
}
