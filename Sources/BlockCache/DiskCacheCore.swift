import Basics
import Glibc
import Logging
import Synchronization
import SystemPackage

/// What a disk cache has done since it was opened.
public struct DiskCacheStatistics: Hashable, Sendable {
  /// Requests for stretches of an object that were there, and that were not.
  public var hits: UInt64 = 0
  /// Requests for stretches of an object that were not there.
  public var misses: UInt64 = 0
  /// Bytes that were read and found right.
  public var bytesRead: UInt64 = 0
  /// Bytes that were put in.
  public var bytesWritten: UInt64 = 0
  /// Bytes that were not put in, because the disk was slower than the network or had no room.
  public var bytesSkipped: UInt64 = 0
  /// Granules and files that were not what they should be, and were dropped.
  public var damaged: UInt64 = 0
  /// Versions that were removed to make room.
  public var evictions: UInt64 = 0
  /// Bytes that were removed to make room.
  public var bytesEvicted: UInt64 = 0
  /// Bytes in use in the directory, of all mounts, as far as is known.
  public var used: UInt64 = 0
  /// The most that may be in use.
  public var limit: UInt64 = 0
  /// Whether the cache was given up because its disk fails.
  public var isOff = false

  /// Nothing.
  public init() {}
}

extension DiskCache {
  /// What the parts of a cache share. Thread-safe; its mutex is a leaf.
  final class Core: Sendable {
    let directory: FilePath
    let disk: CacheDisk
    let space: CacheSpace
    let clock: TimeSource
    let log: Logger
    /// Signalled when the thread has something to do.
    let evictionWanted: Basics.Semaphore = Basics.Semaphore()
    /// Tells the unfinished files of this process from those of others that share the directory.
    private let tag = UInt64.random(in: .min ... .max)
    private let temporaries = Atomic<UInt64>(0)
    private let isGivenUp = Atomic(false)
    private let isEvictionAsked = Atomic(false)
    private let counts = Mutex(DiskCacheStatistics())

    /// Nothing is put in for that long after the disk said that it is full, in seconds.
    private static let pauseWhenFull = 30.0

    init(directory: FilePath, disk: CacheDisk, space: CacheSpace, clock: TimeSource, log: Logger) {
      self.directory = directory
      self.disk = disk
      self.space = space
      self.clock = clock
      self.log = log
    }

    /// A name beside `path` that nobody else uses. What a crash leaves under it is evicted like any version.
    func temporaryPath(for path: FilePath) -> FilePath {
      let number = temporaries.add(1, ordering: .relaxed).newValue
      return FilePath("\(path).\(String(tag, radix: 16)).\(number)")
    }

    var isOff: Bool { isGivenUp.load(ordering: .relaxed) }

    var statistics: DiskCacheStatistics {
      var statistics = counts.withLock { $0 }
      statistics.used = space.used
      statistics.limit = space.limit
      statistics.isOff = isOff
      return statistics
    }

    func count(_ change: (inout DiskCacheStatistics) -> Void) { counts.withLock { change(&$0) } }

    /// Where the bytes of a version are: 256 directories keep each of them short.
    func path(of name: String) -> FilePath { directory.appending(String(name.prefix(2))).appending(name) }

    /// Asks for room; has some made where it is scarce.
    func take(_ bytes: UInt64) throws(Errno) -> Bool {
      let answer = try space.take(bytes)
      if answer == .full || space.isTight { askForEviction() }
      return answer == .granted
    }

    /// Whether room is to be made: somebody has asked, or the disk has less left than it should.
    var wantsEviction: Bool { isEvictionAsked.load(ordering: .relaxed) || space.isTight || space.missing() > 0 }

    /// Whether somebody has asked, and the eviction has not begun.
    var isEvictionWanted: Bool { isEvictionAsked.load(ordering: .relaxed) }

    func askForEviction() {
      guard !isEvictionAsked.exchange(true, ordering: .relaxed) else { return }
      evictionWanted.signal()
    }

    /// Eviction begins: whoever asks from now on asks for another.
    func beginEviction() { isEvictionAsked.store(false, ordering: .relaxed) }

    // MARK: Failures

    /// Does I/O unless the cache was given up; nil when it fails, which nobody has to know of: there is the network.
    func guarding<Value>(_ path: FilePath, _ body: () throws(Errno) -> Value) -> Value? {
      guard !isOff else { return nil }
      do throws(Errno) {
        return try body()
      } catch {
        note(error, path)
        return nil
      }
    }

    private func note(_ error: Errno, _ path: FilePath) {
      switch error.rawValue {
      case ENOSPC, EDQUOT:
        log.debug("the disk of the cache is full", metadata: ["path": "\(path)"])
        space.pause(seconds: Self.pauseWhenFull)
        askForEviction()
      // Limits of this process, and a file that somebody removes at the same time: no fault of the disk.
      case EFBIG, EMFILE, ENFILE, ENOMEM, EAGAIN, EINTR, ENOENT:
        log.debug("a use of the disk cache failed", metadata: ["path": "\(path)", "cause": "\(error)"])
      default:
        guard !isGivenUp.exchange(true, ordering: .relaxed) else { return }
        log.warning(
          "the disk cache is not used any more; reads go on without it",
          metadata: ["path": "\(path)", "cause": "\(error)"])
      }
    }

    func reportDamage(_ path: FilePath) {
      log.warning(
        "something in the disk cache is damaged; it is dropped, and fetched again", metadata: ["path": "\(path)"])
    }
  }
}
