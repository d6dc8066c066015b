import Glibc
import ObjectStore
import SystemPackage
import Testing

@testable import BlockCache

struct DiskCacheTests {
  /// From nothing to several blocks, with and without a tail.
  static let sizes = [1, 4096, 65_536, 65_537, 300_000, mib, mib + 1, 3 * mib, 5 * mib + 70_001]

  @Test(arguments: sizes) func whatWasPutInIsThereForTheNextMount(size: Int) throws {
    let bench = try CacheBench()
    let sample = Sample("key", size)
    let cache = try bench.open()
    #expect(sample.isAbsent(cache))
    #expect(cache.lacks(0..<1, of: sample.identity(cache)))
    #expect(sample.put(cache) == sample.blocks().count)
    #expect(sample.isWhole(cache))
    let next = try bench.open()
    #expect(!next.lacks(0..<1, of: sample.identity(next)))
    #expect(sample.isWhole(next))
    #expect(next.cachedBytes(of: sample.identity(next)) == UInt64(size))
    #expect(next.statistics.bytesRead == UInt64(size))
    #expect(next.statistics.damaged == 0)
  }

  @Test func aPartIsThereWithoutTheRest() throws {
    let bench = try CacheBench()
    let sample = Sample("key", 4 * mib + 100)
    let cache = try bench.open()
    sample.put(cache, 3..<5)
    sample.put(cache, 20..<40)
    sample.put(cache, 64..<65)
    for cache in [cache, try bench.open()] {
      #expect(cache.present(0..<65, of: sample.identity(cache)) == [3..<5, 20..<40, 64..<65])
      let seen = sample.look(cache)
      for granule in 0..<65 {
        let isIn = [3..<5, 20..<40, 64..<65].contains { $0.contains(granule) }
        #expect(seen[granule] == (isIn ? true : nil))
      }
      #expect(cache.cachedBytes(of: sample.identity(cache)) == UInt64(22 * 65_536 + 100))
    }
  }

  @Test func versionsAreToldApart() throws {
    let bench = try CacheBench()
    let cache = try bench.open()
    let sample = Sample("key", 100_000)
    sample.put(cache)
    var others = [sample.identity(cache)]
    for (bucket, key, tag, size) in [
      ("other", "key", "tag", 100_000), ("bucket", "other", "tag", 100_000), ("bucket", "key", "other", 100_000),
      ("bucket", "key", "tag", 100_001), ("bucketkey", "", "tag", 100_000),
    ] {
      let version = ObjectVersion(bucket: bucket, key: ObjectKey(key), etag: ETag(tag))
      let identity = cache.identity(of: version, size: UInt64(size))
      #expect(cache.present(0..<2, of: identity).isEmpty)
      others.append(identity)
    }
    let elsewhere = CacheIdentity(
      endpoint: "https://other.example",
      version: ObjectVersion(bucket: "bucket", key: ObjectKey("key"), etag: ETag("tag")),
      size: 100_000)
    others.append(elsewhere)
    #expect(Set(others.map(\.name)).count == others.count)
    #expect(Set(others).count == others.count)
  }

  @Test func onlyTheUserMayLook() throws {
    let bench = try CacheBench()
    let sample = Sample("key", 3 * mib)
    sample.put(try bench.open())
    for path in [bench.directory] + Array(try bench.files().keys) {
      var info = stat()
      #expect(path.withPlatformString { lstat($0, &info) } == 0)
      #expect(info.st_mode & 0o077 == 0)
    }
  }

  @Test func aWholeObjectIsPutInAtOnce() throws {
    let bench = try CacheBench()
    for size in Self.sizes {
      let cache = try bench.open()
      let sample = Sample("key \(size)", size)
      let copy = { (room: UnsafeMutableRawBufferPointer, offset: UInt64) in
        room.copyBytes(from: sample.bytes[Int(offset)..<Int(offset) + room.count])
        return true
      }
      cache.write(whole: sample.identity(cache), read: copy, isUnchanged: { false })
      #expect(sample.isAbsent(cache))
      cache.write(whole: sample.identity(cache), read: { _, _ in false }, isUnchanged: { true })
      #expect(sample.isAbsent(cache))
      cache.write(whole: sample.identity(cache), read: copy, isUnchanged: { true })
      #expect(sample.isWhole(cache))
      // What is there is not written again.
      cache.write(whole: sample.identity(cache), read: { _, _ in false }, isUnchanged: { false })
      #expect(sample.isWhole(try bench.open()))
    }
    // Nothing stays of the names under which they were made.
    let names = try bench.files().keys.compactMap(\.lastComponent?.string)
    #expect(names.allSatisfy { !$0.replacing(".map", with: "").contains(".") })
  }

  @Test func whoPutsAWholeObjectInDoesNotTouchTheFilesOfAnother() throws {
    let bench = try CacheBench()
    let (first, second) = (try bench.open(), try bench.open())
    let sample = Sample("key", 3 * mib)
    var isFirstPiece = true
    let torn = { (room: UnsafeMutableRawBufferPointer, offset: UInt64) in
      if isFirstPiece {
        isFirstPiece = false
        second.write(
          whole: sample.identity(second),
          read: { room, offset in
            room.copyBytes(from: sample.bytes[Int(offset)..<Int(offset) + room.count])
            return true
          }, isUnchanged: { true })
      }
      room.initializeMemory(as: UInt8.self, repeating: 7)
      return true
    }
    first.write(whole: sample.identity(first), read: torn, isUnchanged: { false })
    #expect(sample.isWhole(second))
    #expect(sample.isWhole(try bench.open()))
  }

  @Test func aDirectoryThatOthersMayReadIsRefused() throws {
    let bench = try CacheBench()
    #expect(bench.directory.withPlatformString { mkdir($0, 0o755) } == 0)
    #expect(throws: DiskCacheError.self) { try bench.open() }
  }

  // MARK: Whole files

  @Test func aWholeFileIsGivenOutWhenAllOfItWasFoundRight() throws {
    let bench = try CacheBench()
    let sample = Sample("key", 2 * mib + 5)
    let cache = try bench.open()
    sample.put(cache, 0..<32)
    #expect(sample.look(cache).last == .some(nil))
    #expect(cache.wholeFile(of: sample.identity(cache)) == nil)
    sample.put(cache, 32..<33)
    #expect(sample.isWhole(cache))
    let held = try #require(cache.wholeFile(of: sample.identity(cache)))
    var bytes = [UInt8](repeating: 0, count: sample.bytes.count + 100)
    let count = try bytes.withUnsafeMutableBytes { try held.descriptor.read(fromAbsoluteOffset: 0, into: $0) }
    #expect(count == sample.bytes.count)
    #expect(Array(bytes.prefix(count)) == sample.bytes)
    // Another process has to look for itself, as long as nobody has said that all of it is right (`CacheSeal`).
    let next = try bench.open()
    #expect(next.wholeFile(of: sample.identity(next)) == nil)
    // The sums of a small object are in the same file: it is not for anybody else to read.
    let small = Sample("small", mib)
    small.put(cache)
    #expect(small.isWhole(cache))
    #expect(cache.wholeFile(of: small.identity(cache)) == nil)
  }

  @Test func aHeldFileIsNotRemovedByAnyMount() throws {
    let bench = try CacheBench()
    let sample = Sample("key", 2 * mib)
    let cache = try bench.open()
    sample.put(cache)
    #expect(sample.isWhole(cache))
    var held = cache.wholeFile(of: sample.identity(cache))
    #expect(held != nil)
    #expect(cache.wholeFile(of: sample.identity(cache)) != nil)
    let small = try bench.open(limit: mib)
    #expect(small.statistics.evictions == 0)
    held = nil
    let next = try bench.open(limit: mib)
    #expect(next.statistics.evictions == 1)
    #expect(sample.isAbsent(next))
  }
}
