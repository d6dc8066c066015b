import Filesystem
import SystemPackage

/// The place of a bucket in an account's mount, and how the numbers of its filesystem become the mount's:
///
///      63      48 47                             0
///     |   slot   |  inode or handle in the bucket  |
///
/// Slot 0 is the mount's root itself. A bucket keeps its slot as long as the mount lives, also while it has vanished;
/// one that is made again after this mount has removed it gets a new one. So no number is ever used for two things.
struct Slot: Hashable, Sendable {
  /// 0 to `highest`.
  let number: UInt16

  /// The root, whose numbers are its own.
  static let root = Slot(number: 0)
  /// How many buckets have a place.
  static let highest = Int(UInt16.max)

  private static let bits: UInt64 = 48
  private static let mask: UInt64 = 1 << bits - 1

  /// Splits a number of the mount.
  static func split(_ number: UInt64) -> (slot: Slot, inBucket: UInt64) {
    (Slot(number: UInt16(truncatingIfNeeded: number >> bits)), number & mask)
  }

  /// A bucket's number as one of the mount.
  /// - Throws: EOVERFLOW past 2^48, which no mount lives long enough for.
  func number(of inBucket: UInt64) throws(Errno) -> UInt64 {
    guard inBucket <= Self.mask else { throw .overflow }
    return UInt64(number) << Self.bits | inBucket
  }

  /// The directory that stands for the bucket.
  var directory: InodeID { InodeID(UInt64(number) << Self.bits | InodeID.root.value) }

  func inode(_ inBucket: InodeID) throws(Errno) -> InodeID { InodeID(try number(of: inBucket.value)) }

  func handle(_ inBucket: HandleID) throws(Errno) -> HandleID { HandleID(try number(of: inBucket.value)) }
}

/// The numbers that `stat` shows for files of a bucket.
///
/// Within a bucket they come from the path alone, so that two buckets have the same ones: to cp(1) and tar(1) two files
/// with one number are one file. Each bucket therefore turns over other bits of them, always the same ones.
struct FileNumbers: Hashable, Sendable {
  private let turned: UInt64

  /// Those of a bucket: FNV-1a of its name, 64 bits.
  init(bucket: String) {
    turned = bucket.utf8.reduce(0xcbf2_9ce4_8422_2325) { ($0 ^ UInt64($1)) &* 0x100_0000_01b3 }
  }

  func shown(_ number: UInt64) -> UInt64 {
    let shown = number ^ turned
    // 0 is no number to readdir(3), and 1 is the mount's root.
    return shown < 2 ? ~shown : shown
  }

  func shown(_ attributes: FileAttributes) -> FileAttributes {
    var attributes = attributes
    attributes.fileNumber = shown(attributes.fileNumber)
    return attributes
  }
}
