import Basics
import BlockCache
import Glibc
import Logging
import ObjectStore
import Synchronization
import SystemPackage
import Testing

@testable import ReadPath

/// A cache directory that is removed with the test, and read paths of several mounts over it.
private final class DiskBench: Sendable {
  let root: FilePath

  init() throws {
    var template = Array("/tmp/waysfs-disk-XXXXXX".utf8CString)
    guard mkdtemp(&template) != nil else { throw Errno(rawValue: errno) }
    root = FilePath(String(decoding: template.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self))
  }

  deinit {
    for path in files() { _ = path.withPlatformString { unlink($0) } }
    for name in Self.names(root) { _ = root.appending(name).withPlatformString { rmdir($0) } }
    _ = root.withPlatformString { rmdir($0) }
  }

  /// Runs `body` over the directory, and waits until what it has read is put in.
  func mount<Value>(
    size: UInt64, blocks: Int = 512, limit: UInt64 = 1 << 30,
    _ body: (Fixture, DiskCache) throws -> Value
  ) throws -> Value {
    let cache = try DiskCache(
      directory: root, endpoint: "test", bounds: DiskCacheBounds(limit: limit, freeFraction: 0),
      log: Logger(label: "test", factory: { _ in SwiftLogNoOpLogHandler() }))
    let fixture = try Fixture(.inline, size: size, blocks: blocks, cache: cache)
    defer {
      fixture.path.shutDown()
      cache.shutDown()
    }
    return try body(fixture, cache)
  }

  /// All files, the longest first.
  func files() -> [FilePath] {
    let folders = [root] + Self.names(root).map(root.appending)
    let files = folders.flatMap { folder in Self.names(folder).map(folder.appending) }
    return files.filter { Self.length($0) != nil }.sorted { Self.length($0) ?? 0 > Self.length($1) ?? 0 }
  }

  private static func length(_ path: FilePath) -> Int64? {
    var info = stat()
    guard path.withPlatformString({ lstat($0, &info) }) == 0, info.st_mode & S_IFMT == S_IFREG else { return nil }
    return Int64(info.st_size)
  }

  private static func names(_ path: FilePath) -> [String] {
    guard let directory = path.withPlatformString({ opendir($0) }) else { return [] }
    defer { closedir(directory) }
    var names: [String] = []
    while let entry = readdir(directory) {
      let name = withUnsafePointer(to: &entry.pointee.d_name) {
        $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
      }
      if name != "." && name != ".." { names.append(name) }
    }
    return names
  }

  /// Changes a byte of the longest file: of the bytes of the largest object.
  func flip(at offset: Int64) throws {
    let file = try FileDescriptor.open(try #require(files().first), .readWrite)
    defer { try? file.close() }
    var byte: UInt8 = 0
    _ = try withUnsafeMutableBytes(of: &byte) { try file.read(fromAbsoluteOffset: offset, into: $0) }
    byte ^= 1
    _ = try withUnsafeBytes(of: byte) { try file.writeAll(toAbsoluteOffset: offset, $0) }
  }
}

extension Fixture {
  /// Reads the range in pieces, one after the other; whether all bytes were right.
  fileprivate func reads(_ range: Range<UInt64>, by step: UInt64 = 128 * kib, seed: UInt64 = 1) -> Bool {
    let reader = open()
    defer { reader.close() }
    return stride(from: range.lowerBound, to: range.upperBound, by: Int(step)).allSatisfy { offset in
      let count = min(step, range.upperBound - offset)
      let outcome = reader.check(offset, count, seed: seed)
      outcome.ended.wait()
      return outcome.report == .bytes(Int(count), areRight: true)
    }
  }
}

extension ObjectReader {
  /// What `warm` answers; nil also when it fails.
  fileprivate func warmed(_ range: Range<UInt64>) -> UInt64? {
    (try? warm(range: ByteRange(range))) ?? nil
  }
}

struct DiskTests {
  @Test(arguments: [1, 70_000, mib, 9 * mib + 12_345])
  func whatWasReadOnceIsReadAgainWithoutTheNetwork(size: UInt64) throws {
    let bench = try DiskBench()
    try bench.mount(size: size) { fixture, _ in #expect(fixture.reads(0..<size)) }
    try bench.mount(size: size) { fixture, cache in
      #expect(fixture.reads(0..<size))
      #expect(fixture.store.requests.isEmpty)
      #expect(cache.statistics.bytesRead == size)
      #expect(cache.statistics.misses == 0)
      // From memory, as ever.
      #expect(fixture.reads(0..<size))
      #expect(cache.statistics.bytesRead == size)
    }
  }

  @Test func onlyWhatIsMissingIsFetched() throws {
    let bench = try DiskBench()
    let size = 16 * mib
    let parts: [Range<UInt64>] = [2 * mib..<3 * mib + 128 * kib, 5 * mib..<5 * mib + 64 * kib, 9 * mib..<14 * mib]
    try bench.mount(size: size) { fixture, _ in
      for part in parts { #expect(fixture.open().warmed(part) == part.upperBound - part.lowerBound) }
      #expect(fixture.store.fetched == parts.reduce(0) { $0 + $1.upperBound - $1.lowerBound })
    }
    try bench.mount(size: size) { fixture, _ in
      #expect(fixture.reads(0..<size))
      #expect(fixture.store.fetched == size - parts.reduce(0) { $0 + $1.upperBound - $1.lowerBound })
      for range in fixture.store.ranges { #expect(!parts.contains { $0.overlaps(range.offset..<range.end) }) }
    }
    try bench.mount(size: size) { fixture, _ in
      #expect(fixture.reads(0..<size))
      #expect(fixture.store.requests.isEmpty)
    }
  }

  @Test func aRandomReadIsKeptToo() throws {
    let bench = try DiskBench()
    let size = 64 * mib
    try bench.mount(size: size) { fixture, _ in #expect(fixture.reads(30 * mib + 5..<30 * mib + 4101)) }
    try bench.mount(size: size) { fixture, cache in
      #expect(fixture.reads(30 * mib + 5..<30 * mib + 4101))
      #expect(fixture.store.requests.isEmpty)
      #expect(cache.statistics.bytesRead <= 256 * kib)
    }
  }

  @Test(arguments: [0, 3 * mib + 17, 5 * mib - 1]) func aFlippedByteIsFetchedAgain(offset: UInt64) throws {
    let bench = try DiskBench()
    let size = 5 * mib
    try bench.mount(size: size) { fixture, _ in #expect(fixture.reads(0..<size)) }
    try bench.flip(at: Int64(offset))
    try bench.mount(size: size) { fixture, cache in
      #expect(fixture.reads(0..<size))
      #expect(cache.statistics.damaged == 1)
      #expect(fixture.store.ranges.contains { ($0.offset..<$0.end).contains(offset) })
      #expect(fixture.store.fetched < size)
    }
    try bench.mount(size: size) { fixture, _ in
      #expect(fixture.reads(0..<size))
      #expect(fixture.store.requests.isEmpty)
    }
  }

  @Test func anotherVersionIsNotServedFromTheOldOne() throws {
    let bench = try DiskBench()
    let size = 2 * mib
    try bench.mount(size: size) { fixture, _ in #expect(fixture.reads(0..<size)) }
    try bench.mount(size: size) { fixture, _ in
      fixture.store.put("key", etag: "v2", size: size, seed: 9)
      let reader = fixture.path.open(key: ObjectKey("key"), etag: ETag("v2"), size: size)
      let outcome = reader.check(0, mib, seed: 9)
      outcome.ended.wait()
      #expect(outcome.report == .bytes(Int(mib), areRight: true))
      // What is here of the version of before may still be read by who has it open.
      #expect(fixture.reads(0..<size))
    }
  }

  @Test func anObjectThatMovesIsKeptUnderItsNewName() throws {
    let bench = try DiskBench()
    let size = 3 * mib
    try bench.mount(size: size) { fixture, _ in
      let reader = fixture.open()
      reader.prepareToRelocate()
      fixture.store.put("moved", etag: "v1", size: size)
      fixture.store.remove("key")
      reader.relocate(to: ObjectKey("moved"), etag: Fixture.etag)
      #expect(reader.warmed(0..<size) == size)
    }
    try bench.mount(size: size) { fixture, _ in
      let outcome = fixture.open("moved").check(0, mib)
      outcome.ended.wait()
      #expect(outcome.report == .bytes(Int(mib), areRight: true))
    }
  }

  // MARK: Warming

  @Test func warmingFetchesWhatIsMissingAndNothingElse() throws {
    let bench = try DiskBench()
    let size = 20 * mib + 1
    try bench.mount(size: size, blocks: 8) { fixture, cache in
      let reader = fixture.open()
      #expect(reader.warmed(0..<size) == size)
      #expect(fixture.store.fetched == size)
      #expect(reader.warmed(0..<UInt64.max / 2) == size)
      #expect(reader.warmed(size..<size + 5) == 0)
      #expect(fixture.store.fetched == size)
      #expect(fixture.reads(0..<size))
      #expect(fixture.store.fetched == size)
      #expect(fixture.path.pool.statistics.waiting == 0)
    }
  }

  @Test func warmingSaysWhatDoesNotFit() throws {
    let bench = try DiskBench()
    let size = 20 * mib
    try bench.mount(size: size, limit: 8 * mib) { fixture, _ in
      let there = try #require(fixture.open().warmed(0..<size))
      #expect((mib...4 * mib).contains(there))
      #expect(fixture.reads(0..<size))
    }
    let without = try Fixture(.inline, size: size)
    #expect(without.open().warmed(0..<size) == nil)
  }

  @Test func warmingMakesRoom() throws {
    let bench = try DiskBench()
    let size = 3 * mib
    try bench.mount(size: size, limit: 8 * mib) { fixture, cache in
      for number in 0..<6 {
        fixture.store.put("key \(number)", etag: "v1", size: size)
        #expect(fixture.open("key \(number)").warmed(0..<size) == size)
      }
      #expect(cache.statistics.evictions > 0)
    }
  }

  @Test func warmingThatFailsSaysSo() throws {
    let bench = try DiskBench()
    let size = 3 * mib
    try bench.mount(size: size) { fixture, _ in
      fixture.store.remove("key")
      #expect(throws: ObjectStoreError.self) { try fixture.open().warm(range: ByteRange(offset: 0, length: size)) }
    }
  }

  // MARK: Whole objects

  private struct Upload: WholeObjectSource {
    var contents = Contents(seed: 1)
    var isUsable = true

    func read(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) -> Bool {
      buffer.copyBytes(from: contents.bytes(ByteRange(offset: offset, length: UInt64(buffer.count))))
      return true
    }

    func isUnchanged() -> Bool { isUsable }
  }

  @Test(arguments: [5000, 3 * mib + 1]) func whatWasUploadedIsPutIn(size: UInt64) throws {
    let bench = try DiskBench()
    for isUsable in [false, true] {
      try bench.mount(size: size) { fixture, cache in
        fixture.path.keep(Upload(isUsable: isUsable), key: ObjectKey("key"), etag: Fixture.etag, size: size)
        // The end of a mount does not wait for it.
        while cache.statistics.bytesWritten + cache.statistics.bytesSkipped < size { sched_yield() }
      }
      try bench.mount(size: isUsable ? size : size + 1) { fixture, _ in
        guard isUsable else { return }
        #expect(fixture.reads(0..<size))
        #expect(fixture.store.requests.isEmpty)
      }
    }
  }

  // MARK: All at once

  @Test func manyReadersAlwaysGetRightBytes() throws {
    let bench = try DiskBench()
    let size = 24 * mib + 777
    for round in 0..<4 {
      // A cache that is too small by far, memory that is too small by far, and bytes that change on the disk.
      try bench.mount(size: size, blocks: 6, limit: round % 2 == 0 ? 64 * mib : 10 * mib) { fixture, _ in
        let wrong = Atomic(0)
        let threads = (0..<4).compactMap { number in
          Thread.start(name: "reader") {
            var random = SplitMix(UInt64(round * 10 + number))
            let reader = fixture.open()
            for _ in 0..<60 {
              let offset = UInt64.random(in: 0..<size, using: &random)
              let count = min(UInt64.random(in: 1...700_000, using: &random), size - offset)
              let outcome = reader.check(offset, count)
              outcome.ended.wait()
              if outcome.report != .bytes(Int(count), areRight: true) { wrong.add(1, ordering: .relaxed) }
            }
            reader.close()
          }
        }
        for _ in 0..<20 where !bench.files().isEmpty {
          var random = SystemRandomNumberGenerator()
          try? bench.flip(at: .random(in: 0..<Int64(size), using: &random))
        }
        for thread in threads { thread.join() }
        #expect(wrong.load(ordering: .relaxed) == 0)
      }
    }
  }
}

extension ByteRange {
  fileprivate init(_ range: Range<UInt64>) {
    self.init(offset: range.lowerBound, length: range.upperBound - range.lowerBound)
  }
}
