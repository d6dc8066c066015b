/// Reads the values of options. Every function throws a `UsageError` that says which form is expected.
enum OptionValue {
  /// A yes or no; names without a value mean yes.
  static func flag(_ text: String) throws(UsageError) -> Bool {
    switch text {
    case "yes", "true", "on", "1": true
    case "no", "false", "off", "0": false
    default: throw UsageError("'\(text)' is neither yes nor no")
    }
  }

  /// A whole number in a range, in decimal digits.
  static func number(_ text: String, in range: ClosedRange<UInt64>) throws(UsageError) -> UInt64 {
    guard let value = digits(text, radix: 10), range.contains(value) else {
      throw UsageError("'\(text)' is not a number from \(range.lowerBound) to \(range.upperBound)")
    }
    return value
  }

  /// A user or group id. 4294967295 means "nobody" to chown(2) and is refused.
  static func identifier(_ text: String) throws(UsageError) -> UInt32 {
    UInt32(try number(text, in: 0...UInt64(UInt32.max - 1)))
  }

  /// Permission bits in octal, `022` or `0644`; at most 0777.
  static func permissions(_ text: String) throws(UsageError) -> UInt32 {
    let octal = text.hasPrefix("0o") ? text.dropFirst(2) : text[...]
    guard let value = digits(octal, radix: 8), value <= 0o777 else {
      throw UsageError("'\(text)' is not an octal number from 0 to 777, such as 022")
    }
    return UInt32(value)
  }

  /// A number of bytes: `1048576`, `512K`, `256MiB`, `1G` in powers of 1024; `64MB` in powers of 1000.
  static func size(_ text: String) throws(UsageError) -> UInt64 {
    let (count, unit) = splitNumber(text)
    guard let factor = sizeUnits[unit.lowercased()], let value = digits(count, radix: 10) else {
      throw UsageError("'\(text)' is not a size such as 256MiB, 1G or 1048576")
    }
    let (bytes, overflow) = value.multipliedReportingOverflow(by: factor)
    guard !overflow else { throw UsageError("'\(text)' is too large a size") }
    return bytes
  }

  /// A time in seconds: `60`, `60s`, `0.5`, `500ms`, `5m`, `1h`, `1d`; at most ten years.
  static func duration(_ text: String) throws(UsageError) -> Double {
    let (count, unit) = splitNumber(text)
    guard let factor = durationUnits[unit], let value = decimal(count), value * factor <= 3650 * 86400 else {
      throw UsageError("'\(text)' is not a time such as 60, 500ms, 5m or 1h")
    }
    return value * factor
  }

  /// A path; absolute, made so with `directory`.
  static func path(_ text: String, relativeTo directory: String) throws(UsageError) -> String {
    guard !text.isEmpty else { throw UsageError("the path is empty") }
    if text.hasPrefix("/") { return text }
    return directory.hasSuffix("/") ? directory + text : "\(directory)/\(text)"
  }

  private static let sizeUnits: [String: UInt64] = [
    "": 1, "b": 1, "k": 1 << 10, "kib": 1 << 10, "m": 1 << 20, "mib": 1 << 20, "g": 1 << 30, "gib": 1 << 30,
    "t": 1 << 40, "tib": 1 << 40, "kb": 1000, "mb": 1_000_000, "gb": 1_000_000_000, "tb": 1_000_000_000_000,
  ]

  private static let durationUnits: [String: Double] = [
    "": 1, "s": 1, "ms": 0.001, "m": 60, "min": 60, "h": 3600, "d": 86400,
  ]

  private static func splitNumber(_ text: String) -> (count: Substring, unit: String) {
    let end = text.firstIndex { !("0"..."9").contains($0) && $0 != "." } ?? text.endIndex
    return (text[..<end], String(text[end...]))
  }

  /// Only digits: the standard library's initialisers would also take a sign.
  private static func digits(_ text: some StringProtocol, radix: Int) -> UInt64? {
    guard !text.isEmpty, text.utf8.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }) else {
      return nil
    }
    return UInt64(text, radix: radix)
  }

  private static func decimal(_ text: Substring) -> Double? {
    let parts = text.split(separator: ".", omittingEmptySubsequences: false)
    guard (1...2).contains(parts.count), parts.allSatisfy({ digits($0, radix: 10) != nil }) else { return nil }
    return Double(text)
  }
}
