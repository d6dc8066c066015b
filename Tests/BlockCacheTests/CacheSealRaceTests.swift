import Basics
import Synchronization
import SystemPackage
import Testing

@testable import BlockCache

/// Files that change, or turn out damaged, while they are written to or said to be right.
struct CacheSealRaceTests {
  private let sample = Sample("key", 2 * mib + 70_001)

  private func path(_ cache: DiskCache, map: Bool = false) -> FilePath {
    let path = cache.core.path(of: sample.identity(cache).name)
    return map ? CachedFiles.mapPath(path) : path
  }

  private func isGivenOut(_ cache: DiskCache) -> Bool { cache.wholeFile(of: sample.identity(cache)) != nil }

  /// Calls something before the disk waits for bytes, and counts those waits. Thread-safe.
  private final class Syncs: Sendable {
    private let state = Mutex<(count: Int, onSync: (@Sendable () -> Void)?)>((0, nil))

    var count: Int { state.withLock { $0.count } }

    func set(_ body: @escaping @Sendable () -> Void) { state.withLock { $0.onSync = body } }

    var disk: CacheDisk {
      var disk = CacheDisk()
      disk.onStep = { step throws(Errno) in
        guard case .sync = step else { return }
        let body = self.state.withLock { state in
          state.count += 1
          return state.onSync
        }
        body?()
      }
      return disk
    }
  }

  @Test func aForeignWriteBetweenTwoOwnIsNoticed() throws {
    let bench = try CacheBench()
    let cache = try bench.open()
    sample.put(cache, 0..<16)
    try Damage.flip(path(cache), at: 17)
    sample.put(cache, 16..<sample.granules)
    #expect(!isGivenOut(cache))
    cache.seal()
    let next = try bench.open()
    #expect(!isGivenOut(next))
    for cache in [cache, next] { #expect(sample.isNeverWrong(cache) && !sample.isWhole(cache)) }
  }

  /// Before Linux 6.13 two changes within some milliseconds have the same time.
  @Test func aForeignWriteRightAfterAnOwnIsNoticed() throws {
    let bench = try CacheBench()
    let cache = try bench.open()
    sample.put(cache)
    let status = try #require(try CacheDisk().status(path(cache)))
    #expect(status.modified == Timestamp(seconds: bench.clock.timeSource.wall.seconds - 1), "as no write leaves it")
    #expect(isGivenOut(cache))
    try Damage.flip(path(cache), at: 17, atOnce: true)
    #expect(!isGivenOut(cache))
    cache.seal()
    #expect(!isGivenOut(try bench.open()))
  }

  @Test func damageThatIsFoundWhileItIsSealedUnsealsIt() throws {
    let (bench, syncs) = (try CacheBench(), Syncs())
    let cache = try bench.open(syncs.disk)
    let object = CachedObject(sample.identity(cache), cache.core)
    object.write(
      read: { room, offset in
        room.copyBytes(from: sample.bytes[Int(offset)..<Int(offset) + room.count])
        return true
      }, isUnchanged: { true })
    let files = try #require(try object.load(0..<sample.granules))
    #expect(object.wholeFile() != nil)
    syncs.set { object.drop([3], files) }
    object.seal()
    #expect(syncs.count == 1)
    #expect(object.wholeFile() == nil)
    #expect(!isGivenOut(try bench.open()))
  }

  @Test func whatAnotherMountFoundDamagedIsNotSealed() throws {
    let bench = try CacheBench()
    let cache = try bench.open()
    sample.put(cache)
    // Only a sum, so that the file with the bytes stays in the state it was in.
    let map = path(cache, map: true)
    try Damage.flip(map, at: Int(try #require(try CacheDisk().status(map)).length) - 2)
    let other = try bench.open()
    #expect(!sample.isWhole(other) && other.statistics.damaged == 1)
    cache.seal()
    for mount in [other, try bench.open()] { #expect(!isGivenOut(mount)) }
  }

  /// One that has found damage does not believe a seal that comes later.
  @Test func whoHasFoundDamageBelievesNoSeal() throws {
    let bench = try CacheBench()
    let cache = try bench.open()
    sample.put(cache)
    let object = CachedObject(sample.identity(cache), cache.core)
    let files = try #require(try object.load(0..<sample.granules))
    object.drop([3], files)
    #expect(try files.seal(files.state()))
    #expect(object.wholeFile() == nil)
  }

  @Test func whatWasFoundRightOnceMoreIsSealedOnceMore() throws {
    let bench = try CacheBench()
    let cache = try bench.open()
    sample.put(cache)
    cache.seal()
    for _ in 0..<2 { try Damage.flip(path(cache), at: 17) }
    #expect(!isGivenOut(cache))
    #expect(sample.isWhole(cache) && isGivenOut(cache))
    cache.seal()
    let next = try bench.open()
    #expect(isGivenOut(next) && next.statistics.bytesRead == 0)
  }

  @Test func whatWasChangedBeforeItCouldBeSealedIsNotSyncedAgainAndAgain() throws {
    let (bench, syncs) = (try CacheBench(), Syncs())
    let cache = try bench.open(syncs.disk)
    sample.put(cache)
    try Damage.flip(path(cache), at: 17)
    for _ in 0..<3 { cache.seal() }
    #expect(syncs.count == 0)
    #expect(!isGivenOut(try bench.open()))
  }

  // MARK: The thread

  @Test func whoWaitsForRoomDoesNotWaitForSeals() throws {
    let (bench, syncs) = (try CacheBench(), Syncs())
    let asking = Mutex<DiskCache?>(nil)
    let cache = try bench.open(syncs.disk)
    let samples = (0..<3).map { Sample("key \($0)", mib + 1) }
    for sample in samples { sample.put(cache) }
    asking.withLock { $0 = cache }
    syncs.set { asking.withLock { $0 }?.core.askForEviction() }
    cache.sealInPassing()
    #expect(syncs.count == 1)
    // Until it was looked for room.
    cache.sealInPassing()
    #expect(syncs.count == 1)
    cache.makeRoom()
    cache.sealInPassing()
    #expect(syncs.count == 2)
    asking.withLock { $0 = nil }
  }

  @Test func whatManyOthersPushOutIsSealed() throws {
    let bench = try CacheBench()
    let cache = try bench.open(openLimit: 2)
    let samples = (0..<5).map { Sample("key \($0)", mib + 1) }
    for sample in samples { sample.put(cache) }
    cache.sealInPassing()
    let next = try bench.open()
    for sample in samples { #expect(next.wholeFile(of: sample.identity(next)) != nil, "\(sample.key)") }
  }
}
