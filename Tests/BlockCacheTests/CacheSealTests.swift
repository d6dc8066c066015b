import Basics
import Glibc
import SystemPackage
import Testing

@testable import BlockCache

/// Files of which an earlier mount has said that all of them is right.
struct CacheSealTests {
  private let sample = Sample("key", 2 * mib + 70_001)

  /// A directory with the sample, sealed.
  private func bench() throws -> CacheBench {
    let bench = try CacheBench()
    let cache = try bench.open()
    sample.put(cache)
    cache.seal()
    return bench
  }

  private func path(_ bench: CacheBench, map: Bool = false) throws -> FilePath {
    try #require(try bench.files().keys.first { $0.string.hasSuffix(".map") == map })
  }

  private func isGivenOut(_ cache: DiskCache) -> Bool { cache.wholeFile(of: sample.identity(cache)) != nil }

  private func content(_ held: HeldFile) throws -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: sample.bytes.count + 1)
    let count = try bytes.withUnsafeMutableBytes { try held.descriptor.read(fromAbsoluteOffset: 0, into: $0) }
    return Array(bytes.prefix(count))
  }

  @Test func theNextMountNeedNotLook() throws {
    let bench = try bench()
    let next = try bench.open()
    let held = try #require(next.wholeFile(of: sample.identity(next)))
    #expect(try content(held) == sample.bytes)
    #expect(next.statistics.bytesRead == 0)
    #expect(sample.isWhole(next))
  }

  @Test func withoutASealItHasTo() throws {
    let bench = try CacheBench()
    sample.put(try bench.open())
    let next = try bench.open()
    #expect(!isGivenOut(next))
    #expect(sample.isWhole(next))
    #expect(isGivenOut(next))
    // What it has found goes for those who come after it.
    next.seal()
    #expect(isGivenOut(try bench.open()))
  }

  @Test func aPartIsNotSealed() throws {
    let bench = try CacheBench()
    let cache = try bench.open()
    sample.put(cache, 0..<33)
    cache.seal()
    #expect(!isGivenOut(cache))
    #expect(!isGivenOut(try bench.open()))
    sample.put(cache, 33..<sample.granules)
    cache.seal()
    #expect(isGivenOut(try bench.open()))
  }

  @Test func anUploadedObjectIsSealedToo() throws {
    let bench = try CacheBench()
    let cache = try bench.open()
    cache.write(
      whole: sample.identity(cache),
      read: { room, offset in
        room.copyBytes(from: sample.bytes[Int(offset)..<Int(offset) + room.count])
        return true
      }, isUnchanged: { true })
    #expect(isGivenOut(cache))
    cache.seal()
    let next = try bench.open()
    #expect(try content(try #require(next.wholeFile(of: sample.identity(next)))) == sample.bytes)
  }

  @Test func whoeverWritesBreaksTheSeal() throws {
    let bench = try bench()
    let before = try bench.open()
    #expect(isGivenOut(before) && sample.isWhole(before))
    try Damage.flip(try path(bench), at: mib + 17)
    for cache in [before, try bench.open()] {
      #expect(!isGivenOut(cache))
      #expect(sample.isNeverWrong(cache) && !sample.isWhole(cache))
      #expect(!isGivenOut(cache))
      cache.seal()
    }
    #expect(!isGivenOut(try bench.open()))
  }

  @Test func aFileThatWasCopiedIsLookedAt() throws {
    let bench = try bench()
    let (path, copy) = (try path(bench), bench.root.appending("copy"))
    let (disk, file) = (CacheDisk(), try CacheDisk().make(copy))
    try sample.bytes.withUnsafeBytes { try disk.write($0, to: file, copy, at: 0) }
    try disk.rename(copy, to: path)
    let next = try bench.open()
    #expect(!isGivenOut(next))
    #expect(sample.isWhole(next))
    #expect(isGivenOut(next))
  }

  @Test func aDamagedSealIsNone() throws {
    let bench = try bench()
    let map = try path(bench, map: true)
    let length = Int(try #require(try CacheDisk().status(map)).length)
    for offset in length - CacheSeal.length..<length {
      try Damage.flip(map, at: offset)
      #expect(!isGivenOut(try bench.open()))
      try Damage.flip(map, at: offset)
    }
    #expect(isGivenOut(try bench.open()))
    // Torn at its end, the file is not what it should be; without it, it is what it was before.
    try Damage.cut(map, to: length - CacheSeal.length)
    let next = try bench.open()
    #expect(!isGivenOut(next) && sample.isWhole(next))
  }

  @Test func whatTurnsOutDamagedIsUnsealed() throws {
    let bench = try bench()
    // A sum, so that the file with the bytes stays in the state it was in.
    let map = try path(bench, map: true)
    let length = Int(try #require(try CacheDisk().status(map)).length)
    try Damage.flip(map, at: length - CacheSeal.length - 2)
    let cache = try bench.open()
    #expect(isGivenOut(cache))
    #expect(!sample.isWhole(cache) && sample.isNeverWrong(cache))
    #expect(!isGivenOut(cache))
    #expect(!isGivenOut(try bench.open()))
    // Put in once more, it is as good as before.
    sample.put(cache)
    #expect(sample.isWhole(cache) && isGivenOut(cache))
    cache.seal()
    #expect(isGivenOut(try bench.open()))
  }

  @Test func toUseItBreaksNoSeal() throws {
    let bench = try bench()
    for _ in 0..<3 {
      bench.clock.advance(seconds: 1000)
      let cache = try bench.open()
      #expect(isGivenOut(cache))
      #expect(sample.isWhole(cache))
      cache.seal()
    }
    let status = try #require(try CacheDisk().status(try path(bench, map: true)))
    #expect(status.modified.seconds == bench.clock.timeSource.wall.seconds)
  }

  @Test func nothingIsSealedThatIsNotOnTheDisk() throws {
    let bench = try CacheBench()
    var disk = CacheDisk()
    disk.onStep = { step throws(Errno) in
      if case .sync = step { throw .ioError }
    }
    let cache = try bench.open(disk)
    sample.put(cache)
    cache.seal()
    #expect(cache.isOff)
    #expect(!isGivenOut(try bench.open()))
  }
}
