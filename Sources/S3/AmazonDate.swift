import Basics

/// A time as SigV4 writes it: `20130524T000000Z`. The first eight characters are the day of the signing scope.
func amazonDate(_ time: Timestamp) -> String {
  let civil = CivilTime(time)
  return String(unsafeUninitializedCapacity: 16) { out in
    func write(_ value: Int, _ range: Range<Int>) {
      var rest = abs(value)
      for index in range.reversed() {
        out[index] = UInt8(ascii: "0") + UInt8(rest % 10)
        rest /= 10
      }
    }
    write(civil.year, 0..<4)
    write(civil.month, 4..<6)
    write(civil.day, 6..<8)
    out[8] = UInt8(ascii: "T")
    write(civil.hour, 9..<11)
    write(civil.minute, 11..<13)
    write(civil.second, 13..<15)
    out[15] = UInt8(ascii: "Z")
    return 16
  }
}
