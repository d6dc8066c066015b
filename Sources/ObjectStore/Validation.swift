/// Checks that every store makes before it sends anything.
extension ObjectKey {
  /// Throws `invalidRequest` for an empty key and `nameTooLong` for one of more than 1024 bytes
  /// (S3: "Object key naming guidelines").
  public func checkLength() throws(ObjectStoreError) {
    if string.utf8.isEmpty { throw ObjectStoreError(.invalidRequest, "The key is empty.", key: self) }
    if string.utf8.count > 1024 {
      throw ObjectStoreError(
        .nameTooLong, "The key is longer than 1024 bytes.", key: self, serverCode: "KeyTooLongError")
    }
  }
}

extension ObjectAttributes {
  /// Throws `invalidRequest` for what an HTTP header cannot carry, or would not bring back as it was: a name that is not
  /// a lowercase header name, a value with anything but printable ASCII or with a space at either end.
  public func check() throws(ObjectStoreError) {
    for (name, value) in userMetadata {
      guard !name.isEmpty, name.utf8.allSatisfy(Self.isNameByte) else {
        throw ObjectStoreError(.invalidRequest, "\(name.debugDescription) cannot be the name of metadata.")
      }
      guard Self.isPlainText(value) else {
        throw ObjectStoreError(.invalidRequest, "The metadata \(name) has a value that a header cannot carry.")
      }
    }
    for (name, value) in headers where value.isEmpty || !Self.isPlainText(value) {
      throw ObjectStoreError(.invalidRequest, "The header \(name.rawValue) has a value that cannot be sent.")
    }
    if let contentType, contentType.isEmpty || !Self.isPlainText(contentType) {
      throw ObjectStoreError(.invalidRequest, "The content type cannot be sent as a header.")
    }
  }

  /// Whether a header carries a text as it is.
  public static func isPlainText(_ value: String) -> Bool {
    let space = UInt8(ascii: " ")
    return value.utf8.allSatisfy { (0x20...0x7E).contains($0) } && value.utf8.first != space
      && value.utf8.last != space
  }

  private static func isNameByte(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "0")...UInt8(ascii: "9"): true
    // The rest of a token (RFC 9110, section 5.6.2).
    default: "!#$%&'*+-.^_`|~".utf8.contains(byte)
    }
  }
}
