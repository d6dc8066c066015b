import Glibc
import SystemPackage
import Testing

@testable import BlockCache

struct DiskCacheSpaceTests {
  @Test func whatWasNotUsedForLongestGoesFirst() throws {
    let bench = try CacheBench()
    let cache = try bench.open(limit: 8 * mib)
    let samples = (0..<8).map { Sample("key \($0)", mib + 60_000) }
    for sample in samples.prefix(6) {
      sample.put(cache)
      // The times are those of the files: kept across mounts.
      #expect(sample.isWhole(cache))
      bench.clock.advance(seconds: 100)
    }
    // Used again, by another mount.
    #expect(samples[0].isWhole(try bench.open(limit: 8 * mib)))
    try stamp(bench, cache, samples.prefix(6), order: [1, 2, 3, 4, 5, 0])
    samples[6].put(cache)
    #expect(samples[7].put(cache) < 2)
    cache.makeRoom()
    let next = try bench.open(limit: 8 * mib)
    #expect(samples[1].isAbsent(next))
    #expect(samples[0].isWhole(next))
    #expect(samples[5].isWhole(next))
    #expect(samples[6].isWhole(next))
    #expect(cache.statistics.evictions > 0)
    #expect(try bench.used() <= UInt64(7 * mib))
  }

  /// Gives the files of samples times of use in that order, long ago.
  private func stamp(
    _ bench: CacheBench, _ cache: DiskCache, _ samples: some Collection<Sample>, order: [Int]
  ) throws {
    let samples = Array(samples)
    for (time, index) in order.enumerated() {
      let path = cache.core.path(of: samples[index].identity(cache).name)
      let file = try CacheDisk().open(path)
      try CacheDisk().touch(file, path, at: Int64(1000 + time))
      if !samples[index].identity(cache).isSmall {
        let map = CachedFiles.mapPath(path)
        try CacheDisk().touch(try CacheDisk().open(map), map, at: Int64(1000 + time))
      }
    }
  }

  @Test func aUseIsNotedNowAndThen() throws {
    let bench = try CacheBench()
    let cache = try bench.open()
    let sample = Sample("key", 3 * mib)
    sample.put(cache)
    // The file of the bytes is left alone: its times tell whether somebody has written to it.
    let path = CachedFiles.mapPath(cache.core.path(of: sample.identity(cache).name))
    try stamp(bench, cache, [sample], order: [0])
    func time() throws -> Int64? { try CacheDisk().status(path)?.modified.seconds }
    #expect(sample.isWhole(cache))
    let first = try time()
    #expect(first == bench.clock.timeSource.wall.seconds)
    bench.clock.advance(seconds: 59)
    #expect(sample.isWhole(cache))
    #expect(try time() == first)
    bench.clock.advance(seconds: 2)
    #expect(sample.isWhole(cache))
    #expect(try time() == bench.clock.timeSource.wall.seconds)
  }

  @Test func theLimitHoldsForAllMountsTogether() throws {
    let bench = try CacheBench()
    let limit = 16 * mib
    let caches = [try bench.open(limit: limit), try bench.open(limit: limit)]
    for number in 0..<60 {
      let cache = caches[number % 2]
      let size = [10_000, 300_000, mib, 2 * mib + 5, 3 * mib][number % 5]
      Sample("key \(number)", size).put(cache)
      #expect(try bench.used() <= UInt64(limit))
      // As the thread does when it is asked to.
      if cache.core.space.isTight || number % 7 == 0 { cache.makeRoom() }
      #expect(try bench.used() <= UInt64(limit))
    }
    #expect(caches.allSatisfy { $0.statistics.bytesWritten > UInt64(limit) / 2 })
    #expect(caches.contains { $0.statistics.evictions > 0 })
    for cache in caches { #expect(cache.statistics.used <= UInt64(limit)) }
  }

  @Test func oneObjectTakesHalfAtMost() throws {
    let bench = try CacheBench()
    let cache = try bench.open(limit: 8 * mib)
    let sample = Sample("key", 20 * mib)
    #expect((1...4).contains(sample.put(cache)))
    #expect(try bench.used() <= UInt64(4 * mib + 8192))
    #expect(sample.isNeverWrong(cache))
    #expect(sample.look(cache)[0] == true)
  }

  @Test func theDiskKeepsAPartFree() throws {
    let bench = try CacheBench()
    var disk = CacheDisk()
    // The disk has 100 MiB of which 5 are to stay free.
    disk.room = { path in
      let used = (try? bench.used()) ?? 0
      return CacheDisk.Room(size: UInt64(100 * mib), free: UInt64(15 * mib) - used)
    }
    let cache = try bench.open(limit: 64 * mib, free: 0.05, disk)
    for number in 0..<20 { Sample("key \(number)", mib).put(cache) }
    #expect(try bench.used() <= UInt64(10 * mib))
    #expect(try bench.used() >= UInt64(4 * mib))
    // Somebody else fills it.
    disk.room = { _ in CacheDisk.Room(size: UInt64(100 * mib), free: UInt64(3 * mib)) }
    let next = try bench.open(limit: 64 * mib, free: 0.05, disk)
    #expect(next.statistics.bytesEvicted >= UInt64(2 * mib))
    #expect(Sample("more", 1000).put(next) == 0)
  }

  @Test func aTenthOfTheDiskIsTheDefault() throws {
    let bench = try CacheBench()
    var disk = CacheDisk()
    disk.room = { _ in CacheDisk.Room(size: UInt64(1000 * mib), free: UInt64(900 * mib)) }
    let space = CacheSpace(
      directory: bench.root, bounds: DiskCacheBounds(), disk: disk, clock: bench.clock.timeSource)
    #expect(space.limit == UInt64(100 * mib))
  }

  // MARK: Several mounts

  @Test func whatIsRemovedWhileAnotherMountReadsStaysRight() throws {
    let bench = try CacheBench()
    let reader = try bench.open()
    let sample = Sample("key", 3 * mib)
    sample.put(reader)
    #expect(sample.isWhole(reader))
    let other = try bench.open(limit: mib)
    #expect(other.statistics.evictions == 1)
    #expect(try bench.files().isEmpty)
    // The files that are open are as good as ever.
    #expect(sample.isNeverWrong(reader))
    // What is missing is written to files that have a name.
    sample.put(other, 0..<1)
    let fresh = try bench.open()
    #expect(sample.isNeverWrong(fresh))
  }

  @Test func whatIsPutInAfterARemovalIsThereForOthers() throws {
    let bench = try CacheBench()
    let cache = try bench.open()
    let sample = Sample("key", 3 * mib)
    sample.put(cache, 0..<16)
    #expect(try bench.open(limit: mib).statistics.evictions == 1)
    // The first block is gone with the file, whatever was known of it.
    sample.put(cache, 16..<48)
    let next = try bench.open()
    #expect(next.present(0..<48, of: sample.identity(next)) == [16..<48])
    #expect(sample.isNeverWrong(next))
    #expect(cache.present(0..<48, of: sample.identity(cache)) == [16..<48])
  }

  @Test func twoMountsFillOneFile() throws {
    let bench = try CacheBench()
    let caches = [try bench.open(), try bench.open()]
    let sample = Sample("key", 8 * mib + 1)
    for block in 0..<9 {
      let first = UInt64(block) * 16
      sample.put(caches[block % 2], first..<min(first + 16, sample.granules))
    }
    #expect(sample.isWhole(try bench.open()))
    // Each knows at least its own part.
    for cache in caches {
      #expect(sample.isNeverWrong(cache))
      #expect(sample.look(cache).contains(true))
    }
  }

  @Test func filesAreClosedAfterAWhile() throws {
    let bench = try CacheBench()
    let cache = try bench.open()
    let samples = (0..<300).map { Sample("key \($0)", 100) }
    for sample in samples { sample.put(cache) }
    for sample in samples { #expect(sample.isWhole(cache)) }
    let open = try CacheDisk().names(in: "/proc/self/fd").filter { name in
      var target = [CChar](repeating: 0, count: 4096)
      guard readlink("/proc/self/fd/\(name)", &target, 4095) > 0 else { return false }
      return String(decoding: target.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
        .hasPrefix(bench.root.string)
    }
    #expect(open.count <= 128)
  }
}
