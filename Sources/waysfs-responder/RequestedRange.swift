/// The header `Range` and its relatives.
enum RequestedRange {
  /// What a GET is to deliver of an object of `size` bytes; nil for all of it, which also is the answer to a header that
  /// cannot be read or asks for several ranges at once (RFC 9110, 14.2).
  static func parse(_ text: String?, size: Int) throws(Refusal) -> Range<Int>? {
    guard let text, let (first, last) = bounds(text) else { return nil }
    switch (first, last) {
    case (let first?, let last):
      let end = min(last ?? Int.max - 1, size - 1) + 1
      guard first < size, first < end else { throw unsatisfiable }
      return first..<end
    case (nil, let count?):
      guard count > 0, size > 0 else { throw unsatisfiable }
      return max(0, size - count)..<size
    case (nil, nil): return nil
    }
  }

  /// `x-amz-copy-source-range`: both ends must be given and lie in the source.
  static func parseCopy(_ text: String, size: Int) throws(Refusal) -> Range<Int> {
    guard case (let first?, let last?)? = bounds(text), last < size else {
      throw .invalidArgument("The range of the source is not a range of the source.")
    }
    return first..<last + 1
  }

  static let unsatisfiable = Refusal(416, "InvalidRange", "The range lies outside of the object.")

  /// Both ends of `bytes=first-last`; nil when it is not of that form.
  private static func bounds(_ text: String) -> (first: Int?, last: Int?)? {
    guard text.hasPrefix("bytes=") else { return nil }
    let ends = text.dropFirst(6).split(separator: "-", omittingEmptySubsequences: false)
    guard ends.count == 2 else { return nil }
    guard let first = number(ends[0]), let last = number(ends[1]) else { return nil }
    if let first, let last, first > last { return nil }
    return (first, last)
  }

  /// Nil when it is no number; a number or nothing otherwise.
  private static func number(_ text: Substring) -> Int?? {
    if text.isEmpty { return .some(nil) }
    guard text.utf8.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }) else { return nil }
    return Int(text).map { .some($0) } ?? nil
  }
}
