/// A UTC date and time of day, and its conversion to and from seconds since 1970 in the proleptic Gregorian calendar.
public struct CivilTime: Hashable, Sendable {
  /// Year, negative before year 0.
  public var year: Int
  /// 1 to 12.
  public var month: Int
  /// 1 to 31.
  public var day: Int
  /// 0 to 23.
  public var hour: Int
  /// 0 to 59.
  public var minute: Int
  /// 0 to 60.
  public var second: Int

  /// Takes the fields as they are.
  public init(year: Int, month: Int, day: Int, hour: Int, minute: Int, second: Int) {
    (self.year, self.month, self.day) = (year, month, day)
    (self.hour, self.minute, self.second) = (hour, minute, second)
  }

  /// The date and time of day of a time.
  public init(_ time: Timestamp) {
    let seconds = Int(time.seconds)
    let days = seconds >= 0 ? seconds / 86_400 : -((86_399 - seconds) / 86_400)
    let rest = seconds - days * 86_400
    (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60)
    // Counted in eras of 400 years that begin on March 1st, so that the leap day is the last day of a year.
    let shifted = days + 719_468
    let era = (shifted >= 0 ? shifted : shifted - 146_096) / 146_097
    let dayOfEra = shifted - era * 146_097
    let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
    let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
    let shiftedMonth = (5 * dayOfYear + 2) / 153
    day = dayOfYear - (153 * shiftedMonth + 2) / 5 + 1
    month = shiftedMonth < 10 ? shiftedMonth + 3 : shiftedMonth - 9
    year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)
  }

  /// The time that has this date and time of day; nil when a field is out of its range.
  public var timestamp: Timestamp? {
    guard (1...12).contains(month), (1...31).contains(day), (0...23).contains(hour), (0...59).contains(minute),
      (0...60).contains(second), (0...9999).contains(year)
    else { return nil }
    let shiftedYear = month <= 2 ? year - 1 : year
    let era = (shiftedYear >= 0 ? shiftedYear : shiftedYear - 399) / 400
    let yearOfEra = shiftedYear - era * 400
    let dayOfYear = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1
    let dayOfEra = yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear
    let days = era * 146_097 + dayOfEra - 719_468
    return Timestamp(seconds: Int64(days * 86_400 + hour * 3600 + minute * 60 + second))
  }
}

/// Parses the HTTP date `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110, section 5.6.7). The obsolete forms are not taken.
public func parseHTTPDate(_ text: String) -> Timestamp? {
  withBytes(text) { bytes in
    guard bytes.count == 29, hasSeparators(bytes, [(3, ","), (4, " "), (7, " "), (11, " "), (16, " "), (25, " ")]),
      hasSeparators(bytes, [(19, ":"), (22, ":")]), bytes[26...].elementsEqual("GMT".utf8),
      let month = month(bytes[8..<11]), let day = number(bytes[5..<7]), let year = number(bytes[12..<16]),
      let hour = number(bytes[17..<19]), let minute = number(bytes[20..<22]), let second = number(bytes[23..<25])
    else { return nil }
    return CivilTime(year: year, month: month, day: day, hour: hour, minute: minute, second: second).timestamp
  }
}

/// Parses `2009-10-12T17:50:30.000Z` (RFC 3339), also without the fraction or with an offset such as `+00:00`. The
/// fraction is dropped: elsewhere S3 tells whole seconds, and both must agree.
public func parseISODate(_ text: String) -> Timestamp? {
  withBytes(text) { bytes in
    guard bytes.count >= 20, hasSeparators(bytes, [(4, "-"), (7, "-"), (10, "T"), (13, ":"), (16, ":")]),
      let year = number(bytes[0..<4]), let month = number(bytes[5..<7]), let day = number(bytes[8..<10]),
      let hour = number(bytes[11..<13]), let minute = number(bytes[14..<16]), let second = number(bytes[17..<19])
    else { return nil }
    var rest = bytes[19...]
    if rest.first == UInt8(ascii: ".") {
      rest = rest.dropFirst().drop { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }
    }
    guard let offset = zoneOffset(rest),
      let local = CivilTime(year: year, month: month, day: day, hour: hour, minute: minute, second: second).timestamp
    else { return nil }
    return Timestamp(seconds: local.seconds - offset)
  }
}

private typealias Bytes = UnsafeBufferPointer<UInt8>

/// Listings have a date for each entry: no copies, and no characters.
private func withBytes(_ text: String, _ parse: (Bytes) -> Timestamp?) -> Timestamp? {
  var text = text
  return text.withUTF8(parse)
}

private func hasSeparators(_ bytes: Bytes, _ expected: [(Int, Unicode.Scalar)]) -> Bool {
  expected.allSatisfy { bytes[$0.0] == UInt8(ascii: $0.1) }
}

private func month(_ name: Slice<Bytes>) -> Int? {
  let names: StaticString = "JanFebMarAprMayJunJulAugSepOctNovDec"
  return names.withUTF8Buffer { names in
    (0..<12).first { names[($0 * 3)..<($0 * 3 + 3)].elementsEqual(name) }.map { $0 + 1 }
  }
}

private func zoneOffset(_ zone: Slice<Bytes>) -> Int64? {
  if zone.elementsEqual("Z".utf8) { return 0 }
  guard zone.count == 6, let sign = zone.first, sign == UInt8(ascii: "+") || sign == UInt8(ascii: "-"),
    zone[zone.startIndex + 3] == UInt8(ascii: ":"), let hours = number(zone.dropFirst().prefix(2)),
    let minutes = number(zone.suffix(2))
  else { return nil }
  let seconds = Int64(hours * 3600 + minutes * 60)
  return sign == UInt8(ascii: "+") ? seconds : -seconds
}

/// At most four digits, and nothing else.
private func number(_ digits: Slice<Bytes>) -> Int? {
  var value = 0
  for digit in digits {
    guard (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(digit) else { return nil }
    value = value * 10 + Int(digit - UInt8(ascii: "0"))
  }
  return value
}
