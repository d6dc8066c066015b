/// How objects are cut into blocks and granules. Lengths are in bytes.
///
/// ```
/// object  |<------- block 0, 1 MiB ------->|<------- block 1 ------->| ...
///         | g0 | g1 | ...            | g15 |     granules of 64 KiB, one bit each in a mask
/// ```
public enum BlockGeometry {
  /// Length of a block: the unit in which memory is given out and reclaimed.
  public static let blockSize = 1 << 20
  /// Length of a granule: the smallest piece that can be there while its neighbours are not. A random read fetches
  /// two to four of them, so a smaller one would only lengthen the masks.
  public static let granuleSize = 1 << 16
  /// Granules in a block; one bit each in a `GranuleMask`.
  public static let granulesPerBlock = blockSize / granuleSize
}

/// Some of the 16 granules of a block; bit 0 is the first.
public struct GranuleMask: Hashable, Sendable, CustomStringConvertible {
  /// The bits.
  public var bits: UInt16

  /// Takes the bits as they are.
  public init(bits: UInt16) { self.bits = bits }

  /// None.
  public static let none = GranuleMask(bits: 0)
  /// All 16.
  public static let all = GranuleMask(bits: .max)

  /// The granules with the numbers in `range`, which is clipped to 0..<16.
  public init(_ range: Range<Int>) {
    let range = range.clamped(to: 0..<BlockGeometry.granulesPerBlock)
    let upTo = (UInt32(1) << UInt32(range.upperBound)) - 1
    let below = (UInt32(1) << UInt32(range.lowerBound)) - 1
    bits = UInt16(truncatingIfNeeded: upTo & ~below)
  }

  /// Whether every granule of `other` is in this mask.
  public func contains(_ other: GranuleMask) -> Bool { other.bits & ~bits == 0 }
  /// Whether the granule with that number (0..<16) is in this mask.
  public func contains(_ granule: Int) -> Bool { bits & Self.bit(granule) != 0 }
  /// Adds granules.
  public mutating func insert(_ other: GranuleMask) { bits |= other.bits }
  /// Takes granules away.
  public mutating func remove(_ other: GranuleMask) { bits &= ~other.bits }
  /// The granules of this mask that are not in `other`.
  public func subtracting(_ other: GranuleMask) -> GranuleMask { GranuleMask(bits: bits & ~other.bits) }
  /// The granules in both.
  public func intersection(_ other: GranuleMask) -> GranuleMask { GranuleMask(bits: bits & other.bits) }
  /// How many granules.
  public var count: Int { bits.nonzeroBitCount }
  /// Whether there is none.
  public var isEmpty: Bool { bits == 0 }

  /// The bits, last granule first.
  public var description: String {
    let digits = String(bits, radix: 2)
    return String(repeating: "0", count: BlockGeometry.granulesPerBlock - digits.count) + digits
  }

  private static func bit(_ granule: Int) -> UInt16 { 1 << UInt16(truncatingIfNeeded: granule) }
}
