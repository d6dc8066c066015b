/// Percent-encoding as SigV4 wants it: everything but the unreserved characters of RFC 3986, uppercase digits.
func percentEncoded(_ text: String, keepingSlash: Bool = false) -> String {
  func isKept(_ byte: UInt8) -> Bool { isUnreserved(byte) || (keepingSlash && byte == UInt8(ascii: "/")) }
  func digit(_ value: UInt8) -> UInt8 { value < 10 ? UInt8(ascii: "0") + value : UInt8(ascii: "A") + value - 10 }
  // Most keys need no encoding, and every request has one.
  if text.utf8.allSatisfy(isKept) { return text }
  var out: [UInt8] = []
  out.reserveCapacity(text.utf8.count + 32)
  for byte in text.utf8 {
    if isKept(byte) {
      out.append(byte)
    } else {
      out.append(UInt8(ascii: "%"))
      out.append(digit(byte >> 4))
      out.append(digit(byte & 15))
    }
  }
  return String(decoding: out, as: UTF8.self)
}

private func isUnreserved(_ byte: UInt8) -> Bool {
  switch byte {
  case UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "a")...UInt8(ascii: "z"),
    UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "_"),
    UInt8(ascii: "~"):
    true
  default: false
  }
}

/// Undoes the encoding of `encoding-type=url`, in which `+` is a space as in a form. Nil when it is not well-formed or
/// not UTF-8: a name that cannot be told apart from another one must not be guessed.
func formDecoded(_ text: String) -> String? {
  if !text.utf8.contains(where: { $0 == UInt8(ascii: "%") || $0 == UInt8(ascii: "+") }) { return text }
  let bytes = Array(text.utf8)
  var out: [UInt8] = []
  out.reserveCapacity(bytes.count)
  var index = 0
  while index < bytes.count {
    switch bytes[index] {
    case UInt8(ascii: "%"):
      guard index + 2 < bytes.count, let high = nibble(bytes[index + 1]), let low = nibble(bytes[index + 2]) else {
        return nil
      }
      out.append(high << 4 | low)
      index += 3
    case UInt8(ascii: "+"):
      out.append(UInt8(ascii: " "))
      index += 1
    case let byte:
      out.append(byte)
      index += 1
    }
  }
  return String(validating: out, as: UTF8.self)
}
