/// What is known of the granules of one object in a cache directory: their sums, and which of them were found right. A
/// pure value.
struct GranuleBook {
  /// The sums of a stretch of 1 GiB, so that a file of any size costs memory only where it is used.
  private struct Stretch {
    /// 0: not here.
    var sums: [UInt32]
    /// The granules that agreed with their sum, or were put in by this process; one bit each.
    var verified: [UInt64]
  }

  /// Granules of a stretch.
  static let stretchLength: UInt64 = 16_384

  private var stretches: [UInt64: Stretch] = [:]
  /// How many granules are verified.
  private(set) var verified: UInt64 = 0

  // MARK: Stretches

  /// The stretches that some granules lie in.
  private static func stretches(of granules: Range<UInt64>) -> Range<UInt64> {
    granules.isEmpty
      ? 0..<0 : granules.lowerBound / stretchLength..<(granules.upperBound - 1) / stretchLength + 1
  }

  /// Whether the sums of some granules are known.
  func knows(_ granules: Range<UInt64>) -> Bool {
    Self.stretches(of: granules).allSatisfy { stretches[$0] != nil }
  }

  /// The sums to read before those of some granules are known, each range in one go.
  /// - Parameter count: how many granules the object has.
  func missing(for granules: Range<UInt64>, of count: UInt64) -> [Range<UInt64>] {
    Self.stretches(of: granules).filter { stretches[$0] == nil }.map { Self.range(of: $0, of: count) }
  }

  private static func range(of stretch: UInt64, of count: UInt64) -> Range<UInt64> {
    stretch * stretchLength..<min((stretch + 1) * stretchLength, count)
  }

  /// Takes in what was read of a range that `missing` gave.
  mutating func add(_ sums: [UInt32], from first: UInt64) {
    stretches[first / Self.stretchLength] = Stretch(
      sums: sums, verified: Array(repeating: 0, count: (sums.count + 63) / 64))
  }

  /// All sums that are known, in pieces as `add` takes them, with their first granule.
  var known: [(first: UInt64, sums: [UInt32])] {
    stretches.map { ($0.key * Self.stretchLength, $0.value.sums) }
  }

  // MARK: Sums

  /// The sum of a granule; 0 when it is not here, or not known.
  func sum(_ granule: UInt64) -> UInt32 {
    stretches[granule / Self.stretchLength]?.sums[Int(granule % Self.stretchLength)] ?? 0
  }

  /// Those of some granules that are here, in runs and in order.
  func runs(in granules: Range<UInt64>) -> [Range<UInt64>] {
    var runs: [Range<UInt64>] = []
    for granule in granules where sum(granule) != 0 {
      if let last = runs.last, last.upperBound == granule {
        runs[runs.count - 1] = last.lowerBound..<granule + 1
      } else {
        runs.append(granule..<granule + 1)
      }
    }
    return runs
  }

  /// A granule was put in: nobody has to look at it.
  mutating func put(_ granule: UInt64, sum: UInt32) {
    stretches[granule / Self.stretchLength]?.sums[Int(granule % Self.stretchLength)] = sum
    verify(granule)
  }

  /// A granule is not what its sum says.
  mutating func drop(_ granule: UInt64) {
    let (stretch, place, bit) = Self.place(of: granule)
    stretches[stretch]?.sums[place] = 0
    guard let words = stretches[stretch]?.verified, words[place / 64] & bit != 0 else { return }
    stretches[stretch]?.verified[place / 64] &= ~bit
    verified -= 1
  }

  // MARK: What was found right

  /// A granule agreed with its sum.
  mutating func verify(_ granule: UInt64) {
    let (stretch, place, bit) = Self.place(of: granule)
    guard let words = stretches[stretch]?.verified, words[place / 64] & bit == 0 else { return }
    stretches[stretch]?.verified[place / 64] |= bit
    verified += 1
  }

  /// Everything is to be looked at once more.
  mutating func forgetVerified() {
    for stretch in stretches.keys {
      guard let count = stretches[stretch]?.verified.count else { continue }
      stretches[stretch]?.verified = Array(repeating: 0, count: count)
    }
    verified = 0
  }

  private static func place(of granule: UInt64) -> (stretch: UInt64, place: Int, bit: UInt64) {
    let place = Int(granule % stretchLength)
    return (granule / stretchLength, place, 1 << UInt64(place % 64))
  }
}
