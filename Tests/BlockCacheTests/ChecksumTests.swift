import CChecksum
import Testing

struct ChecksumTests {
  @Test func theSumIsTheOneOfTheStandard() {
    let digits = Array("123456789".utf8)
    #expect(cchecksum_crc32c(0, digits, digits.count) == 0xE306_9283)
    #expect(cchecksum_crc32c_portable(0, digits, digits.count) == 0xE306_9283)
    let zeros = [UInt8](repeating: 0, count: 32)
    #expect(cchecksum_crc32c(0, zeros, zeros.count) == 0x8A91_36AA)
  }

  @Test func allWaysAgree() {
    var random = SystemRandomNumberGenerator()
    let bytes = (0..<5000).map { _ in UInt8.random(in: .min ... .max, using: &random) }
    for length in Array(0..<70) + [127, 128, 129, 1000, 4093] {
      let before = UInt32.random(in: .min ... .max, using: &random)
      bytes.withUnsafeBytes { all in
        guard let base = all.baseAddress else { return }
        let sum = cchecksum_crc32c_portable(before, base + 3, length)
        #expect(cchecksum_crc32c(before, base + 3, length) == sum)
        let split = length / 3
        #expect(cchecksum_crc32c(cchecksum_crc32c(before, base + 3, split), base + 3 + split, length - split) == sum)
      }
    }
    for (piece, length) in [(100, 399), (100, 400), (100, 401), (64, 5000), (17, 1000), (1000, 10), (8, 0)] {
      var sums = (0..<(length + piece - 1) / piece).map { UInt32($0) }
      let single = sums.enumerated().map { index, before in
        let part = Array(bytes[index * piece..<min((index + 1) * piece, length)])
        return cchecksum_crc32c_portable(before, part, part.count)
      }
      // One element more, for there is no memory behind an empty array.
      sums.append(0)
      cchecksum_crc32c_pieces(bytes, length, piece, &sums)
      #expect(Array(sums.dropLast()) == single)
    }
  }
}
