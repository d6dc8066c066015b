/// The names of the files in a journal's `files` directory; each starts with the number of the entry it belongs to.
///
///     17.data         the bytes of entry 17
///     17-23.data      also: made later, under a number of its own
///     X.data.copy     a copy made before the bytes it is of were changed: X.data as soon as a record says so
///     17.record  17.notes  17.rename
///     ANY.new         the beginning of a file that is renamed when it is whole
enum JournalName {
  static let data = ".data"
  static let copy = ".data.copy"
  static let record = ".record"
  static let notes = ".notes"
  static let rename = ".rename"
  static let new = ".new"

  /// No mount makes that many files; a name that says so is not ours, and must not use up the numbers.
  private static let numberLimit: UInt64 = 1 << 53

  /// Whether it is a name that the journal gives to data: digits, maybe `-` and digits, `.data`.
  static func isData(_ name: String) -> Bool { stem(of: name, ending: data) != nil }

  /// The name without its ending, `17` or `17-23`; nil when it is not a name that the journal gives.
  static func stem(of name: String, ending: String) -> String? {
    guard name.utf8.count > ending.utf8.count, name.utf8.reversed().starts(with: ending.utf8.reversed()) else {
      return nil
    }
    let stem = String(name.utf8.dropLast(ending.utf8.count)) ?? ""
    let pieces = stem.utf8.split(separator: UInt8(ascii: "-"), omittingEmptySubsequences: false)
    let isNumber = pieces.allSatisfy { piece in
      !piece.isEmpty && piece.allSatisfy { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }
        && UInt64(String(Substring(piece))).map { $0 < numberLimit } ?? false
    }
    return isNumber && pieces.count <= 2 ? stem : nil
  }

  /// The number of the entry that a file belongs to; nil for a name that starts with none.
  static func entry(of name: String) -> UInt64? {
    let digits = name.utf8.prefix { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }
    guard let next = name.utf8.dropFirst(digits.count).first,
      next == UInt8(ascii: ".") || next == UInt8(ascii: "-"), let number = UInt64(String(Substring(digits))),
      number < numberLimit
    else { return nil }
    return number
  }

  /// The highest number anywhere in a name.
  static func highestNumber(in name: String) -> UInt64 {
    name.utf8.split { !(UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }
      .compactMap { UInt64(String(Substring($0))) }.filter { $0 < numberLimit }.max() ?? 0
  }
}
