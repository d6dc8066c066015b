import SystemPackage
import Testing

@testable import BlockCache

struct DiskCacheFaultTests {
  static let sizes = [5000, 200_000, mib + 140_001]

  private func paths(_ sample: Sample, _ cache: DiskCache) -> (data: FilePath, map: FilePath) {
    let path = cache.core.path(of: sample.identity(cache).name)
    return (path, sample.identity(cache).isSmall ? path : CachedFiles.mapPath(path))
  }

  // MARK: Damage

  @Test(arguments: sizes) func aFlippedBitIsNoticedWhereverItIs(size: Int) throws {
    let bench = try CacheBench()
    let sample = Sample("key", size)
    let cache = try bench.open()
    sample.put(cache)
    let (data, map) = paths(sample, cache)
    let identity = sample.identity(cache)
    let inSums = Int(identity.sumOffset(sample.granules - 1))
    let inHeader = Int(identity.headerOffset)
    for (path, offset) in [(data, 0), (data, size - 1), (data, size / 2), (map, inSums), (map, inHeader + 30)] {
      try Damage.flip(path, at: offset)
      let next = try bench.open()
      #expect(sample.isNeverWrong(next))
      #expect(!sample.isWhole(next))
      #expect(next.statistics.damaged > 0)
      // It is fetched again, and then all is well.
      sample.put(next)
      #expect(sample.isWhole(next))
      #expect(sample.isWhole(try bench.open()))
    }
  }

  @Test(arguments: sizes) func oneBadGranuleCostsNoOther(size: Int) throws {
    let bench = try CacheBench()
    let sample = Sample("key", size)
    let cache = try bench.open()
    sample.put(cache)
    #expect(sample.isWhole(cache))
    let bad = Int(sample.granules) / 2
    try Damage.flip(paths(sample, cache).data, at: bad * 65_536 + 11)
    for cache in [cache, try bench.open()] {
      // The first look ends at the bad one; then it is known.
      _ = sample.look(cache)
      let seen = sample.look(cache)
      for granule in seen.indices { #expect(seen[granule] == (granule == bad ? nil : true)) }
      #expect(cache.wholeFile(of: sample.identity(cache)) == nil)
    }
    #expect(cache.statistics.damaged == 1)
  }

  @Test(arguments: sizes) func aFileThatWasCutIsNotUsed(size: Int) throws {
    let bench = try CacheBench()
    let sample = Sample("key", size)
    let cache = try bench.open()
    for length in [0, 1, size / 2, size - 1] {
      for cutsMap in [false, true] {
        sample.put(cache)
        #expect(sample.isWhole(cache))
        let (data, map) = paths(sample, cache)
        try Damage.cut(cutsMap ? map : data, to: cutsMap ? min(length, 10) : length)
        #expect(sample.isNeverWrong(cache))
        let next = try bench.open()
        #expect(sample.isAbsent(next))
        sample.put(next)
        #expect(sample.isWhole(next))
      }
    }
  }

  @Test(arguments: sizes) func theFileOfAnotherObjectIsNotUsed(size: Int) throws {
    let bench = try CacheBench()
    let cache = try bench.open()
    let sample = Sample("key", size)
    let other = Sample("yek", size)
    sample.put(cache)
    other.put(cache)
    let (data, map) = paths(sample, cache)
    let (otherData, otherMap) = paths(other, cache)
    if map != data {
      // Only the bytes, which then do not agree with the sums.
      try CacheDisk().rename(otherData, to: data)
      #expect(sample.isAbsent(try bench.open()))
      other.put(try bench.open())
      try CacheDisk().rename(otherMap, to: map)
    }
    try CacheDisk().rename(otherData, to: data)
    let next = try bench.open()
    #expect(sample.isAbsent(next))
    #expect(next.statistics.damaged > 0)
  }

  @Test func blocksThatChangedPlacesAreNotUsed() throws {
    let bench = try CacheBench()
    let sample = Sample("key", 4 * mib)
    let cache = try bench.open()
    sample.put(cache)
    let (data, map) = paths(sample, cache)
    let disk = CacheDisk()
    // Bytes and sums of the first block in the place of the third.
    for (path, from, to, count) in [
      (data, 0, 2 * mib, mib),
      (map, Int(sample.identity(cache).sumOffset(0)), Int(sample.identity(cache).sumOffset(32)), 64),
    ] {
      let file = try disk.open(path)
      var bytes = [UInt8](repeating: 0, count: count)
      _ = try bytes.withUnsafeMutableBytes { try disk.read(file, path, into: $0, at: UInt64(from)) }
      try bytes.withUnsafeBytes { try disk.write($0, to: file, path, at: UInt64(to)) }
    }
    let next = try bench.open()
    let seen = sample.look(next)
    for granule in seen.indices where !(32..<48 ~= granule) { #expect(seen[granule] == true) }
    #expect(seen[32..<48].allSatisfy { $0 == nil })
  }

  // MARK: Errors of the disk

  @Test(arguments: sizes, [Errno.ioError, .readOnlyFileSystem, .noSpace])
  func everyStepMayFail(size: Int, error: Errno) throws {
    let sample = Sample("key", size)
    for andAllLater in [false, true] {
      var step = 0
      while true {
        let bench = try CacheBench()
        let faults = Faults()
        let cache = try bench.open(faults.disk)
        faults.fail(step, error, andAllLater: andAllLater)
        sample.put(cache)
        #expect(sample.isNeverWrong(cache))
        sample.put(cache)
        let seen = sample.look(cache)
        #expect(seen.allSatisfy { $0 != false })
        let hasFailed = faults.count > step
        // A full disk passes; others do not.
        if hasFailed, error == .noSpace { #expect(!cache.isOff) }
        if hasFailed, andAllLater, error != .noSpace {
          #expect(cache.isOff)
          #expect(sample.isAbsent(cache))
          let steps = faults.count
          sample.put(cache)
          #expect(sample.isAbsent(cache))
          #expect(cache.lacks(0..<1, of: sample.identity(cache)))
          #expect(faults.count == steps)
        }
        // What is left does not harm the next mount.
        faults.fail(.max - 1, error)
        let next = try bench.open()
        #expect(sample.isNeverWrong(next))
        sample.put(next)
        #expect(sample.isWhole(next))
        if !hasFailed { break }
        step += 1
      }
      #expect(step > 5)
    }
  }

  /// As when the machine goes down: nothing that would have come later is done.
  @Test(arguments: sizes) func aCrashLeavesGranulesThatAreRightOrNotThere(size: Int) throws {
    let sample = Sample("key", size)
    var step = 0
    while true {
      let bench = try CacheBench()
      let faults = Faults()
      let cache = try bench.open(faults.disk)
      faults.fail(step, .ioError, andAllLater: true)
      if step % 2 == 0 {
        sample.put(cache)
      } else {
        cache.write(
          whole: sample.identity(cache),
          read: { room, offset in
            room.copyBytes(from: sample.bytes[Int(offset)..<Int(offset) + room.count])
            return true
          }, isUnchanged: { true })
      }
      let isOver = faults.count <= step
      let next = try bench.open()
      #expect(sample.isNeverWrong(next))
      sample.put(next)
      #expect(sample.isWhole(next))
      if isOver { break }
      step += 1
    }
    #expect(step > 5)
  }

  @Test func aFullDiskIsLeftAloneForAWhile() throws {
    let bench = try CacheBench()
    let faults = Faults()
    let cache = try bench.open(faults.disk)
    let sample = Sample("key", 3 * mib)
    faults.fail(0, .noSpace)
    #expect(sample.put(cache, 0..<16) == 0)
    let steps = faults.count
    #expect(sample.put(cache, 0..<16) == 0)
    bench.clock.advance(seconds: 29)
    #expect(sample.put(cache, 0..<16) == 0)
    bench.clock.advance(seconds: 2)
    #expect(sample.put(cache) == 3)
    #expect(faults.count > steps)
    #expect(cache.statistics.bytesSkipped == UInt64(3 * mib))
  }

  @Test func aDirectoryThatCannotBeMadeIsAnError() throws {
    let bench = try CacheBench()
    let faults = Faults()
    faults.fail(0, .permissionDenied)
    #expect(throws: DiskCacheError.self) { try bench.open(faults.disk) }
  }
}
