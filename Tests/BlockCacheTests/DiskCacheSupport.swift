import Basics
import Glibc
import Logging
import ObjectStore
import Synchronization
import SystemPackage
import Testing

@testable import BlockCache

let kib = 1 << 10
let mib = 1 << 20

/// A directory for disk caches that is removed with the test, and the caches of one or several mounts in it.
final class CacheBench: Sendable {
  let root: FilePath
  let clock = ManualClock()

  init() throws {
    var template = Array("/tmp/waysfs-test-XXXXXX".utf8CString)
    guard mkdtemp(&template) != nil else { throw Errno(rawValue: errno) }
    root = FilePath(String(decoding: template.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self))
  }

  deinit { Self.remove(root) }

  private static func remove(_ path: FilePath) {
    for name in (try? CacheDisk().names(in: path)) ?? [] { remove(path.appending(name)) }
    if path.withPlatformString({ rmdir($0) }) != 0 { _ = path.withPlatformString { unlink($0) } }
  }

  var directory: FilePath { root.appending("read") }

  /// The cache of one mount, whose directory was looked at once.
  func open(
    limit: Int = 64 << 20, free: Double = 0, openLimit: Int = 128, _ disk: CacheDisk = CacheDisk()
  ) throws -> DiskCache {
    let cache = try DiskCache(
      directory: directory, endpoint: "https://s3.example",
      bounds: DiskCacheBounds(limit: UInt64(limit), freeFraction: free), disk: disk, clock: clock.timeSource,
      log: Logger(label: "test", factory: { _ in SwiftLogNoOpLogHandler() }), openLimit: openLimit)
    cache.makeRoom()
    return cache
  }

  /// All files below, with their lengths on the disk.
  func files() throws -> [FilePath: UInt64] {
    var found: [FilePath: UInt64] = [:]
    for folder in try CacheDisk().names(in: directory) where folder.utf8.count == 2 {
      for name in try CacheDisk().names(in: directory.appending(folder)) {
        let path = directory.appending(folder).appending(name)
        found[path] = try CacheDisk().status(path)?.allocated
      }
    }
    return found
  }

  func used() throws -> UInt64 { try files().values.reduce(0, +) }
}

/// An object of the tests, with bytes that tell where they belong.
struct Sample: Sendable, CustomTestStringConvertible {
  let key: String
  let bytes: [UInt8]

  init(_ key: String, _ count: Int) {
    self.key = key
    var state = UInt64(count) &+ key.utf8.reduce(7) { $0 &* 31 &+ UInt64($1) }
    var words: [UInt64] = []
    words.reserveCapacity(count / 8 + 1)
    for _ in 0...count / 8 {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      words.append(state ^ state >> 29)
    }
    bytes = words.withUnsafeBytes { Array($0[..<count]) }
  }

  var testDescription: String { "\(key), \(bytes.count) bytes" }

  func identity(_ cache: DiskCache) -> CacheIdentity {
    cache.identity(
      of: ObjectVersion(bucket: "bucket", key: ObjectKey(key), etag: ETag("tag")), size: UInt64(bytes.count))
  }

  var granules: UInt64 { UInt64((bytes.count + BlockGeometry.granuleSize - 1) / BlockGeometry.granuleSize) }

  /// All granules, cut where blocks end.
  func blocks(_ granules: Range<UInt64>? = nil) -> [Range<UInt64>] {
    let granules = granules ?? 0..<self.granules
    let size = UInt64(BlockGeometry.granulesPerBlock)
    return stride(from: granules.lowerBound / size * size, to: granules.upperBound, by: Int(size)).map {
      granules.clamped(to: $0..<$0 + size)
    }
  }

  /// Puts granules in; how many blocks were taken.
  @discardableResult
  func put(_ cache: DiskCache, _ granules: Range<UInt64>? = nil) -> Int {
    blocks(granules).filter { part in
      let range = identity(cache).range(part)
      return bytes.withUnsafeBytes {
        cache.write(
          part, of: identity(cache), UnsafeRawBufferPointer(rebasing: $0[Int(range.lowerBound)..<Int(range.upperBound)])
        )
      }
    }
    .count
  }

  /// What the cache has, granule by granule: nil where nothing, false where wrong bytes.
  func look(_ cache: DiskCache) -> [Bool?] {
    var seen = [Bool?](repeating: nil, count: Int(granules))
    let room = UnsafeMutableRawBufferPointer.allocate(byteCount: mib, alignment: 4096)
    defer { room.deallocate() }
    for run in cache.present(0..<granules, of: identity(cache)) {
      for part in blocks(run) {
        let good = cache.read(part, of: identity(cache), into: room)
        for granule in part.prefix(good) {
          let range = identity(cache).range(granule..<granule + 1)
          let from = Int(granule - part.lowerBound) * BlockGeometry.granuleSize
          let isRight = bytes.withUnsafeBytes { bytes in
            guard let found = room.baseAddress, let right = bytes.baseAddress else { return false }
            return memcmp(found + from, right + Int(range.lowerBound), Int(range.upperBound - range.lowerBound)) == 0
          }
          seen[Int(granule)] = isRight
        }
      }
    }
    return seen
  }

  func isWhole(_ cache: DiskCache) -> Bool { look(cache).allSatisfy { $0 == true } }
  func isAbsent(_ cache: DiskCache) -> Bool { look(cache).allSatisfy { $0 == nil } }
  /// Whatever is there is right.
  func isNeverWrong(_ cache: DiskCache) -> Bool { look(cache).allSatisfy { $0 != false } }
}

/// Makes steps of a disk fail.
final class Faults: Sendable {
  private struct State {
    var steps = 0
    var first = Int.max
    var last = Int.max
    var error = Errno.ioError
  }

  private let state = Mutex(State())

  /// Steps so far.
  var count: Int { state.withLock { $0.steps } }

  /// Fails a step, counted from now on, and with `andAllLater` everything after it.
  func fail(_ step: Int, _ error: Errno, andAllLater: Bool = false) {
    state.withLock {
      $0 = State(first: step, last: andAllLater ? .max : step, error: error)
    }
  }

  var disk: CacheDisk {
    var disk = CacheDisk()
    disk.onStep = { _ throws(Errno) in
      let error: Errno? = self.state.withLock { state in
        defer { state.steps += 1 }
        return state.first...state.last ~= state.steps ? state.error : nil
      }
      if let error { throw error }
    }
    return disk
  }
}

/// Changes a file behind the back of the caches.
enum Damage {
  /// - Parameter atOnce: the file may get the same times as with the write before.
  static func flip(_ path: FilePath, at offset: Int, atOnce: Bool = false) throws {
    if !atOnce { try waitForTick(path) }
    let file = try CacheDisk().open(path)
    var byte: UInt8 = 0
    _ = try withUnsafeMutableBytes(of: &byte) { try CacheDisk().read(file, path, into: $0, at: UInt64(offset)) }
    byte ^= 0x10
    try withUnsafeBytes(of: byte) { try CacheDisk().write($0, to: file, path, at: UInt64(offset)) }
  }

  /// Until the time of the next change differs from that of the last: before Linux 6.13 files have the time of a clock
  /// that ticks every few milliseconds.
  private static func waitForTick(_ path: FilePath) throws {
    guard let status = try CacheDisk().status(path) else { return }
    var now = timespec()
    repeat {
      sched_yield()
      clock_gettime(CLOCK_REALTIME_COARSE, &now)
    } while Timestamp(seconds: Int64(now.tv_sec), nanoseconds: UInt32(now.tv_nsec)) <= status.changed
  }

  static func cut(_ path: FilePath, to length: Int) throws {
    try CacheDisk().resize(try CacheDisk().open(path), path, to: UInt64(length))
  }
}
