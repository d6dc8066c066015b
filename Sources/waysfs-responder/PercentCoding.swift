/// Percent-encoding of URLs.
enum PercentCoding {
  /// Decodes `%XX`, and `+` to a space where that is asked for (in a query). Nil when a `%` has no two digits.
  static func decode(_ bytes: some Collection<UInt8>, plusIsSpace: Bool) -> [UInt8]? {
    var out: [UInt8] = []
    out.reserveCapacity(bytes.count)
    var index = bytes.startIndex
    while index != bytes.endIndex {
      let byte = bytes[index]
      index = bytes.index(after: index)
      if byte == UInt8(ascii: "+"), plusIsSpace {
        out.append(UInt8(ascii: " "))
      } else if byte == UInt8(ascii: "%") {
        guard let high = nextDigit(bytes, &index), let low = nextDigit(bytes, &index) else { return nil }
        out.append(high << 4 | low)
      } else {
        out.append(byte)
      }
    }
    return out
  }

  private static func nextDigit<Bytes: Collection<UInt8>>(_ bytes: Bytes, _ index: inout Bytes.Index) -> UInt8? {
    guard index != bytes.endIndex else { return nil }
    defer { index = bytes.index(after: index) }
    return digit(bytes[index])
  }

  /// The value of a hexadecimal digit.
  static func digit(_ byte: UInt8) -> UInt8? {
    switch byte {
    case UInt8(ascii: "0")...UInt8(ascii: "9"): byte - UInt8(ascii: "0")
    case UInt8(ascii: "a")...UInt8(ascii: "f"): byte - UInt8(ascii: "a") + 10
    case UInt8(ascii: "A")...UInt8(ascii: "F"): byte - UInt8(ascii: "A") + 10
    default: nil
    }
  }

  /// Encodes as S3 does for `encoding-type=url`: like a form, but with slashes left alone.
  static func encode(_ bytes: [UInt8], into out: inout [UInt8]) {
    for byte in bytes {
      switch byte {
      case UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "a")...UInt8(ascii: "z"),
        UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "_"), UInt8(ascii: "."),
        UInt8(ascii: "*"), UInt8(ascii: "/"):
        out.append(byte)
      case UInt8(ascii: " "): out.append(UInt8(ascii: "+"))
      default:
        out.append(UInt8(ascii: "%"))
        for value in [byte >> 4, byte & 15] {
          out.append(value < 10 ? UInt8(ascii: "0") + value : UInt8(ascii: "A") + value - 10)
        }
      }
    }
  }
}
