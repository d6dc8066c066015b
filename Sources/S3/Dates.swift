import Basics

/// A UTC date and time of day, and its conversion to and from seconds since 1970 in the proleptic Gregorian calendar.
struct CivilTime: Hashable {
  var year: Int
  var month: Int
  var day: Int
  var hour: Int
  var minute: Int
  var second: Int

  init(year: Int, month: Int, day: Int, hour: Int, minute: Int, second: Int) {
    (self.year, self.month, self.day) = (year, month, day)
    (self.hour, self.minute, self.second) = (hour, minute, second)
  }

  init(_ time: Timestamp) {
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

  /// Nil when a field is out of its range.
  var timestamp: Timestamp? {
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

/// A time as SigV4 writes it: `20130524T000000Z`. The first eight characters are the day of the signing scope.
func amazonDate(_ time: Timestamp) -> String {
  let civil = CivilTime(time)
  func two(_ value: Int) -> String { value < 10 ? "0\(value)" : "\(value)" }
  let year = String(repeating: "0", count: max(0, 4 - String(civil.year).count)) + String(civil.year)
  return year + two(civil.month) + two(civil.day) + "T" + two(civil.hour) + two(civil.minute) + two(civil.second) + "Z"
}

/// Parses the HTTP date `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110, section 5.6.7). The obsolete forms are not taken.
func parseHTTPDate(_ text: String) -> Timestamp? {
  let words = text.split(separator: " ", omittingEmptySubsequences: true)
  guard words.count == 6, words[5] == "GMT" || words[5] == "UTC" else { return nil }
  let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
  let clock = words[4].split(separator: ":", omittingEmptySubsequences: false)
  guard clock.count == 3, let month = months.firstIndex(of: String(words[2])),
    let day = number(words[1], digits: 1...2),
    let year = number(words[3], digits: 4...4), let hour = number(clock[0], digits: 2...2),
    let minute = number(clock[1], digits: 2...2), let second = number(clock[2], digits: 2...2)
  else { return nil }
  return CivilTime(year: year, month: month + 1, day: day, hour: hour, minute: minute, second: second).timestamp
}

/// Parses `2009-10-12T17:50:30.000Z` as S3's listings have it, also without the fraction or with an offset such as
/// `+00:00`. The fraction is dropped: HEAD tells whole seconds, and both must agree.
func parseISODate(_ text: String) -> Timestamp? {
  let bytes = Array(text.utf8)
  guard bytes.count >= 20, bytes[4] == UInt8(ascii: "-"), bytes[7] == UInt8(ascii: "-"),
    bytes[10] == UInt8(ascii: "T"), bytes[13] == UInt8(ascii: ":"), bytes[16] == UInt8(ascii: ":"),
    let year = number(bytes[0..<4], digits: 4...4), let month = number(bytes[5..<7], digits: 2...2),
    let day = number(bytes[8..<10], digits: 2...2), let hour = number(bytes[11..<13], digits: 2...2),
    let minute = number(bytes[14..<16], digits: 2...2), let second = number(bytes[17..<19], digits: 2...2)
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

private func zoneOffset(_ zone: ArraySlice<UInt8>) -> Int64? {
  if zone.elementsEqual("Z".utf8) { return 0 }
  guard zone.count == 6, let sign = zone.first, sign == UInt8(ascii: "+") || sign == UInt8(ascii: "-"),
    zone[zone.startIndex + 3] == UInt8(ascii: ":"),
    let hours = number(zone.dropFirst().prefix(2), digits: 2...2), let minutes = number(zone.suffix(2), digits: 2...2)
  else { return nil }
  let seconds = Int64(hours * 3600 + minutes * 60)
  return sign == UInt8(ascii: "+") ? seconds : -seconds
}

private func number(_ text: Substring, digits: ClosedRange<Int>) -> Int? {
  number(Array(text.utf8)[...], digits: digits)
}

private func number(_ text: ArraySlice<UInt8>, digits: ClosedRange<Int>) -> Int? {
  guard digits.contains(text.count) else { return nil }
  var value = 0
  for digit in text {
    guard (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(digit) else { return nil }
    value = value * 10 + Int(digit - UInt8(ascii: "0"))
  }
  return value
}
