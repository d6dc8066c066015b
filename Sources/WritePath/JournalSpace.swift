public import Basics
import Glibc
import Synchronization
public import SystemPackage

/// How much room the journal may take.
public struct JournalBounds: Hashable, Sendable {
  /// Bytes that may be in use at once; nil: what the disk has.
  public var limit: UInt64?
  /// The part of its size that the disk keeps free, 0...1.
  public var freeFraction: Double

  /// Makes bounds; without a limit, 5% of the disk stay free.
  public init(limit: UInt64? = nil, freeFraction: Double = 0.05) {
    self.limit = limit
    self.freeFraction = freeFraction
  }
}

/// A disk's size and what this user may still write to it, in bytes.
struct DiskRoom: Hashable, Sendable {
  var size: UInt64
  var free: UInt64

  /// What statvfs(3) says; nil when it fails.
  static func at(_ path: FilePath) -> DiskRoom? {
    var info = statvfs()
    guard path.withPlatformString({ statvfs($0, &info) }) == 0 else { return nil }
    let block = UInt64(info.f_frsize)
    return DiskRoom(
      size: UInt64(info.f_blocks).multipliedClamped(by: block), free: UInt64(info.f_bavail).multipliedClamped(by: block)
    )
  }
}

/// The account of a journal's staging space, which it may share with the journals of other buckets.
///
/// Who writes reserves first. When there is no room, the writer waits as long as somebody is freeing: an upload is under
/// way whose end gives space back. Recovered and quarantined files are not counted, but for what they take of the disk.
/// Of a shared room nobody takes more than half of what the others leave, so that a bucket which cannot be sent to does
/// not take it all; who has taken so much waits only for what is freed of it.
///
/// Thread-safe; the mutex is that of the room, held for a few memory accesses only.
public final class JournalSpace: Sendable {
  private let room: JournalRoom
  private let member: Int

  /// The space of one more journal in a room.
  public init(in room: JournalRoom) {
    self.room = room
    member = room.addMember()
  }

  convenience init(bounds: JournalBounds, disk: @escaping @Sendable () -> DiskRoom?) {
    self.init(in: JournalRoom(bounds: bounds, isShared: false, disk: disk))
  }

  /// The most that may be reserved, by all who share the room; nil where only the disk's room counts.
  public var limit: UInt64? { room.limit }

  /// Bytes that are reserved.
  public var used: UInt64 { room.used(by: member) }

  /// Adds to the bytes in use; blocks while there is no room and somebody is freeing. The caller must hold nothing that
  /// an upload needs to come to its end.
  /// - Throws: ENOSPC when there is no room and nobody is freeing, or when there can never be enough; EINTR when the
  ///   caller gives up.
  public func reserve(_ bytes: UInt64, _ cancellation: Cancellation? = nil) throws(Errno) {
    try room.reserve(bytes, for: member, waits: true, cancellation)
  }

  /// `reserve`, that with `waits` false is refused where it would block.
  func reserve(_ bytes: UInt64, waits: Bool) throws(Errno) { try room.reserve(bytes, for: member, waits: waits) }

  /// Gives bytes back.
  public func release(_ bytes: UInt64) { room.release(bytes, of: member) }

  /// Somebody has begun what will give space back: writers may wait for it.
  public func beginFreeing() { room.changeFreeing(by: 1, of: member) }

  /// It has ended, in success or not.
  public func endFreeing() { room.changeFreeing(by: -1, of: member) }

  /// Counts bytes that an earlier mount wrote.
  func adopt(_ bytes: UInt64) { room.adopt(bytes, for: member) }

  /// Whether a writer waits for room, or one may soon.
  public var isTight: Bool { room.isTight(for: member) }

  /// How many callers wait.
  var waitingCount: Int { room.waitingCount }
}

extension UInt64 {
  fileprivate func multipliedClamped(by other: UInt64) -> UInt64 {
    let (product, overflow) = multipliedReportingOverflow(by: other)
    return overflow ? .max : product
  }
}
