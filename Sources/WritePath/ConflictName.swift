public import Basics
public import ObjectStore

/// The name under which this machine's bytes are kept when somebody else changed the object first.
public enum ConflictName {
  /// `NAME (conflict HOST DATE)` beside the object, the date in UTC to the second.
  ///
  /// A name that would pass 255 bytes, or make the key pass 1,024, is shortened at its end, between characters.
  /// `attempt` above 1 makes a further name, for two conflicts in one second.
  public static func key(for key: ObjectKey, host: String, at time: Timestamp, attempt: Int = 1) -> ObjectKey {
    // By bytes: as a Character, a slash with a combining mark behind it is none.
    let bytes = key.string.utf8
    let start = bytes.lastIndex(of: UInt8(ascii: "/")).map { bytes.index(after: $0) } ?? bytes.startIndex
    let limit = min(255, 1024 - min(1024, bytes.distance(from: bytes.startIndex, to: start)))
    let more = attempt > 1 ? " \(attempt)" : ""
    let host = String(host.prefix { $0.isASCII && ($0.isLetter || $0.isNumber || $0 == "-") }.prefix(63))
    let suffix = " (conflict \(host.isEmpty ? "unknown" : host) \(date(time))\(more))"
    var name = String(key.string[start...])
    while name.utf8.count + suffix.utf8.count > limit, !name.isEmpty { name.removeLast() }
    return ObjectKey(key.string[..<start] + name + suffix)
  }

  /// Whether a name is one that `key` gives.
  public static func isOne(_ name: String) -> Bool {
    let words = name.split(separator: " ", omittingEmptySubsequences: false)
    // ... `(conflict` HOST DATE `TIME)`, or with a number behind the time.
    for tail in [words.suffix(4), words.suffix(5)] where words.count >= tail.count && tail.first == "(conflict" {
      let parts = tail.dropFirst().map { $0.hasSuffix(")") ? $0.dropLast() : $0 }
      guard name.hasSuffix(")"), parts.count >= 3, parts.allSatisfy({ !$0.isEmpty }) else { continue }
      let isDated = parts[1].split(separator: "-").count == 3 && parts[2].split(separator: ".").count == 3
      let digits = (parts[1...].joined()).utf8.filter { $0 != UInt8(ascii: "-") && $0 != UInt8(ascii: ".") }
      if isDated, digits.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }) { return true }
    }
    return false
  }

  /// `2026-11-22 16.49.37`: no colons, which some systems refuse in names.
  private static func date(_ time: Timestamp) -> String {
    let (year, month, day) = civilDate(daysSinceEpoch: time.seconds.floorDivided(by: 86_400))
    let second = (time.seconds % 86_400 + 86_400) % 86_400
    return "\(year)-\(two(month))-\(two(day)) \(two(second / 3600)).\(two(second / 60 % 60)).\(two(second % 60))"
  }

  private static func two(_ number: Int64) -> String { number < 10 ? "0\(number)" : "\(number)" }

  /// The Gregorian date of a day, counted in years that begin in March so that leap days come last.
  private static func civilDate(daysSinceEpoch: Int64) -> (year: Int64, month: Int64, day: Int64) {
    let shifted = daysSinceEpoch + 719_468
    let era = shifted.floorDivided(by: 146_097)
    let dayOfEra = shifted - era * 146_097
    let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
    let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
    let shiftedMonth = (5 * dayOfYear + 2) / 153
    let month = shiftedMonth < 10 ? shiftedMonth + 3 : shiftedMonth - 9
    return (yearOfEra + era * 400 + (month <= 2 ? 1 : 0), month, dayOfYear - (153 * shiftedMonth + 2) / 5 + 1)
  }
}

extension Int64 {
  fileprivate func floorDivided(by divisor: Int64) -> Int64 {
    let quotient = self / divisor
    return self % divisor < 0 ? quotient - 1 : quotient
  }
}
