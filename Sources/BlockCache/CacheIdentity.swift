import CChecksum
import ObjectStore

/// Names one version of an object among all that a disk cache may hold, and says where its bytes and sums lie.
///
/// ```
/// DIRECTORY/added             how many bytes all mounts together have ever put in: 8 bytes
/// DIRECTORY/evicting          locked by the mount that makes room
/// DIRECTORY/3f/3f9a...        one file a version, named by the hash of its identity
/// DIRECTORY/3f/3f9a....map    beside it, for an object of more than 1 MiB only
///
/// an object of at most 1 MiB  3f9a...      | its bytes | zeros to 8 | header | sums |
/// a larger one                3f9a...      | its bytes at their offsets; sparse, exactly as long as the object |
///                             3f9a....map  | header | sums | seal, where all of it was found right |
///
/// header    "waysfs" 0 1 | size, 8 | length of the identity, 4 | CRC of the header without this field, 4 | identity |
///           zeros to a multiple of 8
/// identity  endpoint 0 bucket 0 key 0 tag
/// sums      4 bytes for each granule of 64 KiB, in order; 0: it is not here
/// seal      `CacheSeal`
/// ```
///
/// Numbers are little-endian. A sum is the CRC-32C of the header's CRC, the granule's number (8 bytes) and its bytes, so
/// that bytes of another object or from another place do not pass; where it is 0 it is written as 1. Bytes are written
/// before their sums, without waiting for the disk: whatever a crash leaves behind, a granule either agrees with its sum
/// or is not used.
public struct CacheIdentity: Hashable, Sendable {
  /// Length of the object in bytes.
  public let size: UInt64
  let header: [UInt8]
  private let seed: UInt32
  private let high: UInt64
  private let low: UInt64

  private static let magic: [UInt8] = Array("waysfs".utf8) + [0, 1]

  init(endpoint: String, version: ObjectVersion, size: UInt64) {
    var text = Array(endpoint.utf8)
    for part in [version.bucket, version.key.string, version.etag.value] { text += [0] + Array(part.utf8) }
    let head = Self.magic + Self.bytes(size) + Self.bytes(UInt32(clamping: text.count))
    let sum = Self.sum(Self.sum(0, head), text)
    var header = head + Self.bytes(sum) + text
    header += [UInt8](repeating: 0, count: Int(Self.up(UInt64(header.count)) - UInt64(header.count)))
    self.size = size
    self.header = header
    seed = sum
    // The header is compared when a file is opened: two hashes that are the same cost a miss, and nothing else.
    high = Self.hash(header, from: 0xcbf2_9ce4_8422_2325)
    low = Self.hash(header.reversed(), from: 0x8422_2325_cbf2_9ce4)
  }

  /// By the hash alone: it is what names the file.
  public func hash(into hasher: inout Hasher) { hasher.combine(high) }

  /// What the file is called.
  var name: String {
    [high, low].map { number in
      let digits = String(number, radix: 16)
      return String(repeating: "0", count: 16 - digits.count) + digits
    }.joined()
  }

  // MARK: Places

  /// Whether the sums are in the same file as the bytes. Of such objects there may be very many, and a file costs up to
  /// a millisecond to make. A larger one has a file that holds nothing but its bytes, for the kernel to read by itself.
  var isSmall: Bool { size <= UInt64(BlockGeometry.blockSize) }

  /// How many granules the object has.
  var granuleCount: UInt64 { (size + UInt64(BlockGeometry.granuleSize) - 1) / UInt64(BlockGeometry.granuleSize) }

  /// Where the header begins, in its file.
  var headerOffset: UInt64 { isSmall ? Self.up(size) : 0 }

  /// Where the sum of a granule is, in the file of the header.
  func sumOffset(_ granule: UInt64) -> UInt64 { headerOffset + UInt64(header.count) + 4 * granule }

  /// Length of the file of the header.
  var headerFileLength: UInt64 { sumOffset(granuleCount) }

  /// Length of the file of the header with a seal behind the sums; a small object has none.
  var sealedFileLength: UInt64 { headerFileLength + UInt64(CacheSeal.length) }

  /// Length of the file of the bytes.
  var dataFileLength: UInt64 { isSmall ? headerFileLength : size }

  /// The bytes of some granules, in the object.
  func range(_ granules: Range<UInt64>) -> Range<UInt64> {
    let unit = UInt64(BlockGeometry.granuleSize)
    let end = min(granules.upperBound * unit, size)
    return min(granules.lowerBound * unit, end)..<end
  }

  // MARK: Sums

  /// The sums of the granules from `first` on whose bytes these are; the last one may be shorter.
  func sums(_ bytes: UnsafeRawBufferPointer, from first: UInt64) -> [UInt32] {
    guard let base = bytes.baseAddress, !bytes.isEmpty else { return [] }
    let count = (bytes.count + BlockGeometry.granuleSize - 1) / BlockGeometry.granuleSize
    var sums = (0..<UInt64(count)).map { Self.sum(seed, Self.bytes(first + $0)) }
    sums.withUnsafeMutableBufferPointer { sums in
      guard let first = sums.baseAddress else { return }
      cchecksum_crc32c_pieces(base, bytes.count, BlockGeometry.granuleSize, first)
    }
    return sums.map { max($0, 1) }
  }

  /// The sum of something that is said of this object.
  func sum(_ bytes: [UInt8]) -> UInt32 { Self.sum(seed, bytes) }

  private static func sum(_ before: UInt32, _ bytes: [UInt8]) -> UInt32 {
    bytes.withUnsafeBytes { bytes in
      bytes.baseAddress.map { cchecksum_crc32c(before, $0, bytes.count) } ?? before
    }
  }

  private static func hash(_ bytes: some Sequence<UInt8>, from start: UInt64) -> UInt64 {
    bytes.reduce(start) { ($0 ^ UInt64($1)) &* 0x100_0000_01b3 }
  }

  static func bytes(_ number: some FixedWidthInteger) -> [UInt8] {
    withUnsafeBytes(of: number.littleEndian) { Array($0) }
  }

  private static func up(_ length: UInt64) -> UInt64 { (length + 7) / 8 * 8 }
}
