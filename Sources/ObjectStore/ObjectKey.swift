public import Basics

/// The name of an object within its bucket: 1 to 1024 bytes of UTF-8 (S3: "Object key naming guidelines").
/// Compared byte by byte.
public struct ObjectKey: ByteName {
  /// The key as text.
  public let string: String

  /// Wraps a key as it stands; nothing is checked or normalised.
  public init(_ string: String) {
    self.string = string
  }

  /// Whether the key starts with the bytes of `prefix`.
  public func hasPrefix(_ prefix: String) -> Bool {
    string.utf8.starts(with: prefix.utf8)
  }
}

/// The version of an object's bytes as the server names it, without the quotes of the HTTP header
/// (RFC 9110, section 8.8.3).
public struct ETag: Hashable, Sendable, CustomStringConvertible {
  /// The opaque tag, unquoted.
  public let value: String

  /// Wraps a tag; surrounding quotes are taken off.
  public init(_ value: String) {
    if value.utf8.count >= 2, value.utf8.first == UInt8(ascii: "\""), value.utf8.last == UInt8(ascii: "\"") {
      self.value = String(decoding: value.utf8.dropFirst().dropLast(), as: UTF8.self)
    } else {
      self.value = value
    }
  }

  /// The tag as HTTP headers carry it.
  public var quoted: String { "\"\(value)\"" }

  /// The tag, unquoted.
  public var description: String { value }
}
