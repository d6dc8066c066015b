import Basics
import Glibc
import Synchronization
import SystemPackage

/// How much room a disk cache may take.
public struct DiskCacheBounds: Hashable, Sendable {
  /// Bytes that all mounts together may have in the directory; nil: a tenth of the disk.
  public var limit: UInt64?
  /// The part of its size that the disk keeps free, 0...1.
  public var freeFraction: Double

  /// Makes bounds; 5% of the disk stay free.
  public init(limit: UInt64? = nil, freeFraction: Double = 0.05) {
    self.limit = limit
    self.freeFraction = freeFraction
  }
}

/// The account of a cache directory that several mounts share.
///
/// Each adds what it is about to write to a number in a file, under a lock; it only ever grows, so that no crash makes it
/// wrong. What is in use is then at most what the last look into the directory found, and what was added since.
///
/// Thread-safe. Lock order: the gate (held across I/O), then the mutex.
final class CacheSpace: Sendable {
  private struct State {
    /// What the last look found; nil before the first.
    var found: UInt64?
    /// The number in the file before that look.
    var before: UInt64 = 0
    /// The number in the file when it was last seen.
    var added: UInt64 = 0
    /// What is added already and not used yet.
    var credit: UInt64 = 0
    /// Nothing is put in before that time, in nanoseconds.
    var pausedUntil: UInt64 = 0

    // Wraps where somebody has removed the file: then nothing fits until the next look.
    var used: UInt64 {
      let (sum, overflow) = (found ?? 0).addingReportingOverflow(added &- before)
      return overflow ? .max : sum
    }
  }

  /// What the disk had when it was asked.
  enum Answer: Hashable {
    case granted
    /// Not now; something has to be removed first.
    case full
    /// Not now, and nothing is to be done about it.
    case paused
  }

  let limit: UInt64
  private let directory: FilePath
  private let counter: FilePath
  private let freeFraction: Double
  private let disk: CacheDisk
  private let clock: TimeSource
  private let gate = AccessGate()
  private let state = Mutex(State())

  /// Added to the file at once, so that its lock is seldom taken.
  private var lot: UInt64 { min(4 << 20, limit / 64) }

  init(directory: FilePath, bounds: DiskCacheBounds, disk: CacheDisk, clock: TimeSource) {
    self.directory = directory
    self.disk = disk
    self.clock = clock
    counter = directory.appending("added")
    freeFraction = min(max(0, bounds.freeFraction), 1)
    limit = bounds.limit ?? (disk.room(directory).map { $0.size / 10 } ?? 1 << 30)
  }

  /// Whether it is known what the directory holds; nothing is put in before.
  var hasLooked: Bool { state.withLock { $0.found != nil } }

  /// Bytes in use, as far as is known.
  var used: UInt64 { state.withLock { $0.used } }

  /// Room is made down to this.
  var lowWater: UInt64 { limit - limit / 8 }

  /// Whether room should be made before it is needed.
  var isTight: Bool { state.withLock { $0.used > limit - limit / 16 } }

  /// Asks for room for bytes that are about to be written. Blocks for local I/O.
  func take(_ bytes: UInt64) throws(Errno) -> Answer {
    let known: Answer? = state.withLock { state in
      if state.found == nil || clock.monotonic < state.pausedUntil { return .paused }
      guard state.credit >= bytes else { return nil }
      state.credit -= bytes
      return .granted
    }
    if let known { return known }
    return try gate.exclusive { () throws(Errno) in
      let wanted = max(bytes, lot)
      guard missing(for: wanted) == 0 else { return .full }
      let isGranted = try changeCounter { added in
        state.withLock { state in
          state.added = added
          guard bytes <= limit, state.used <= limit, state.used + wanted <= limit else { return 0 }
          state.added = added &+ wanted
          state.credit += wanted - bytes
          return wanted
        }
      }
      return isGranted ? .granted : .full
    }
  }

  /// What was asked for is not used after all.
  func giveBack(_ bytes: UInt64) { state.withLock { $0.credit += bytes } }

  /// Puts nothing in for that many seconds: the disk is full, whatever was thought.
  func pause(seconds: Double) {
    let until = clock.monotonic + UInt64(seconds * 1e9)
    state.withLock { $0.pausedUntil = max($0.pausedUntil, until) }
  }

  /// Bytes that the disk lacks for as many more to be written while it keeps free what it should. A disk that does not
  /// say is taken to have room: the write itself will tell.
  func missing(for bytes: UInt64 = 0) -> UInt64 {
    guard let room = disk.room(directory) else { return 0 }
    let keep = UInt64(exactly: (Double(room.size) * freeFraction).rounded(.down)) ?? room.size
    let (needed, overflow) = keep.addingReportingOverflow(bytes)
    return overflow ? .max : needed > room.free ? needed - room.free : 0
  }

  // MARK: Looks

  /// To be called before a look into the directory; its result is for `endLook`.
  func beginLook() throws(Errno) -> UInt64 {
    try gate.exclusive { () throws(Errno) in
      var now: UInt64 = 0
      _ = try changeCounter { added in
        now = added
        return 0
      }
      return now
    }
  }

  /// Takes note of what a look found, less what was removed after it.
  func endLook(since before: UInt64, found: UInt64) {
    state.withLock { state in
      state.found = found
      state.before = before
      state.added = max(state.added, before)
    }
  }

  // MARK: The number in the file

  /// Reads the number that all mounts share and adds to it what `more` says.
  /// - Returns: whether anything was added.
  private func changeCounter(_ more: (UInt64) -> UInt64) throws(Errno) -> Bool {
    let file = try disk.open(counter, makes: true)
    guard CacheDisk.lock(file, whole: true, waits: true) else { throw Errno(rawValue: errno) }
    // Closing would do, but for a child that has inherited the descriptor.
    defer { CacheDisk.unlock(file) }
    var number: UInt64 = 0
    let count: Int
    do {
      count = try withUnsafeMutableBytes(of: &number) { try disk.read(file, counter, into: $0, at: 0) }
    } catch {
      throw error as? Errno ?? .ioError
    }
    let now = count == 8 ? UInt64(littleEndian: number) : 0
    let added = more(now)
    guard added > 0 else { return false }
    do {
      try withUnsafeBytes(of: (now &+ added).littleEndian) { try disk.write($0, to: file, counter, at: 0) }
    } catch {
      throw error as? Errno ?? .ioError
    }
    return true
  }
}
