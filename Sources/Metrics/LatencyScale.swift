/// The buckets in which durations are counted: eight to each doubling, so that a duration is known to one part in
/// sixteen over the whole range, and fixed, so that counting needs no lock and histograms can be added up.
///
///     bucket     0...7       8...15       16...23      ...   240...247
///     up to      1.024 us    2.048 us     4.096 us           1100 s          (the last bucket of the eight)
///
/// A bucket has the durations above its lower bound, up to and with its upper bound; what is longer is in the last one.
public enum LatencyScale {
  /// Number of buckets.
  public static let count = 8 + octaves * 8
  /// Doublings above the first eight buckets.
  private static let octaves = 30
  /// The first eight buckets are 2^7 = 128 ns wide.
  private static let unitBits: UInt64 = 7

  /// The bucket of a duration in nanoseconds.
  public static func bucket(of nanoseconds: UInt64) -> Int {
    let units = (max(1, nanoseconds) - 1) >> unitBits
    guard units >= 8 else { return Int(units) }
    let exponent = 63 - units.leadingZeroBitCount
    let step = Int(units >> UInt64(exponent - 3)) & 7
    return min(count - 1, 8 + (exponent - 3) * 8 + step)
  }

  /// The longest duration of a bucket, in nanoseconds.
  public static func upperBound(of bucket: Int) -> UInt64 {
    guard bucket >= 8 else { return UInt64(bucket + 1) << unitBits }
    let (octave, step) = ((bucket - 8) / 8, (bucket - 8) % 8)
    return UInt64(9 + step) << (UInt64(octave) + unitBits)
  }

  /// The end of the bucket before, in nanoseconds.
  public static func lowerBound(of bucket: Int) -> UInt64 { bucket == 0 ? 0 : upperBound(of: bucket - 1) }
}
