/// Where the parts of a multipart upload begin and end.
///
/// The layout depends on nothing but the part's index, so that parts can be sent while the file still grows:
///
///     parts     0..<1000   8 MiB each   up to   7.8 GiB
///     parts  1000..<2000  16 MiB each   up to  23.4 GiB
///     ...                 doubling every 1000 parts
///     parts 9000..<10000   4 GiB each   up to   7.8 TiB
///
/// so 5 TiB, the largest object, needs 9,282 of the 10,000 parts that S3 allows (S3: "Multipart upload limits"), and no
/// part passes 5 GiB or, but for the last, stays under 5 MiB.
public enum PartLayout {
  /// Bytes in each of the first parts. A file of at most this size is a single PUT.
  public static let firstPartSize: UInt64 = 8 << 20
  /// Parts before the size doubles.
  private static let partsPerSize = 1000
  /// The largest object S3 takes: 5 TiB.
  public static let maximumObjectSize: UInt64 = 5 << 40

  /// The parts S3 allows: 10,000. Indices and offsets beyond are taken as the last there is.
  public static let maximumPartCount = 10_000

  /// Bytes in the part with that index (0-based), unless the file ends in it.
  public static func partSize(_ index: Int) -> UInt64 {
    firstPartSize << UInt64(clamped(index) / partsPerSize)
  }

  /// First byte of the part with that index (0-based).
  public static func partStart(_ index: Int) -> UInt64 {
    let index = clamped(index)
    let doublings = UInt64(index / partsPerSize)
    let before = firstPartSize * UInt64(partsPerSize) * ((1 << doublings) - 1)
    return before + UInt64(index % partsPerSize) * partSize(index)
  }

  /// Index of the part that holds the byte at `offset`.
  public static func partIndex(containing offset: UInt64) -> Int {
    var index = 0
    while index + partsPerSize < maximumPartCount, partStart(index + partsPerSize) <= offset { index += partsPerSize }
    return clamped(index + Int((offset - partStart(index)) / partSize(index)))
  }

  private static func clamped(_ index: Int) -> Int { min(max(0, index), maximumPartCount - 1) }

  /// The bytes of a part in a file of `size` bytes; empty beyond its end.
  public static func range(ofPart index: Int, size: UInt64) -> Range<UInt64> {
    let start = min(partStart(index), size)
    return start..<min(start + partSize(index), size)
  }

  /// How many parts a file of `size` bytes has; at least one, since an upload cannot have none.
  public static func partCount(size: UInt64) -> Int {
    size == 0 ? 1 : partIndex(containing: size - 1) + 1
  }
}
