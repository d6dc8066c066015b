import Basics
import BlockCache
import Glibc
import ObjectStore
import SystemPackage
import Testing

@testable import ReadPath

@Suite struct RangeCopyTests {
  /// An unlinked temporary file.
  private func temporaryFile(readOnly: Bool = false) throws -> SharedDescriptor {
    let path = FilePath("/tmp/waysfs-copy-\(UInt64.random(in: 0 ... .max))")
    let descriptor = try FileDescriptor.open(
      path, readOnly ? .readOnly : .readWrite, options: [.create, .exclusiveCreate], permissions: .ownerReadWrite)
    unlink(path)
    return SharedDescriptor(owning: descriptor)
  }

  private func unlink(_ path: FilePath) {
    _ = path.withPlatformString { Glibc.unlink($0) }
  }

  private func bytes(_ file: SharedDescriptor, _ count: Int) throws -> [UInt8] {
    try [UInt8](unsafeUninitializedCapacity: count) { buffer, filled in
      while filled < count {
        let rest = UnsafeMutableRawBufferPointer(rebasing: UnsafeMutableRawBufferPointer(buffer)[filled...])
        let more = try file.descriptor.read(fromAbsoluteOffset: Int64(filled), into: rest)
        if more == 0 { break }
        filled += more
      }
    }
  }

  @Test(arguments: [2, 5, 64])
  func rangeArrivesWhereItBelongs(blocks: Int) throws {
    let fixture = try Fixture(.inline, size: 21 * mib + 77, blocks: blocks)
    let file = try temporaryFile()
    try fixture.open().copy(range: ByteRange(offset: 3 * mib + 5, length: 100 * mib), to: file, at: 11)
    let expected = ByteRange(offset: 3 * mib + 5, length: 18 * mib + 72)
    let found = try bytes(file, Int(expected.length) + 100)
    #expect(found.count == Int(expected.length) + 11)
    #expect(found[..<11].allSatisfy { $0 == 0 })
    found.withUnsafeBytes { found in
      let copied = UnsafeRawBufferPointer(rebasing: found.dropFirst(11))
      #expect(Contents(seed: 1).matches([copied], expected))
    }
    #expect(fixture.store.requests.allSatisfy { $0.ifMatch == Fixture.etag && ($0.range?.length ?? 0) <= 8 * mib })
    #expect(fixture.pool.statistics.inUse == 0 && fixture.pool.statistics.peakInUse <= max(1, blocks / 4))
  }

  @Test func nothingToCopyAsksNobody() throws {
    let fixture = try Fixture(.inline, size: mib)
    let file = try temporaryFile()
    try fixture.open().copy(range: ByteRange(offset: mib, length: 10), to: file, at: 0)
    try fixture.open().copy(range: ByteRange(offset: 0, length: 0), to: file, at: 0)
    #expect(fixture.store.requests.isEmpty)
  }

  @Test func failuresAreToldApart() throws {
    let fixture = try Fixture(.inline, size: 40 * mib)
    let file = try temporaryFile(readOnly: true)
    #expect(throws: RangeCopyError.write(errno: EBADF)) {
      try fixture.open().copy(range: ByteRange(offset: 0, length: 40 * mib), to: file, at: 0)
    }
    fixture.store.put("key", etag: "v2", size: 40 * mib)
    let writable = try temporaryFile()
    do throws(RangeCopyError) {
      try fixture.open().copy(range: ByteRange(offset: 0, length: mib), to: writable, at: 0)
      Issue.record("another version must not be copied")
    } catch {
      guard case .store(let error) = error else { throw error }
      #expect(error.code == .preconditionFailed)
    }
    #expect(fixture.pool.statistics.inUse == 0)
  }

  @Test func cancelledCopyReports() throws {
    let fixture = try Fixture(.inline, size: 40 * mib)
    let cancellation = Cancellation()
    cancellation.cancel()
    let file = try temporaryFile()
    #expect(throws: RangeCopyError.self) {
      try fixture.open().copy(range: ByteRange(offset: 0, length: 40 * mib), to: file, at: 0, cancellation)
    }
    #expect(fixture.pool.statistics.inUse == 0)
  }

  @Test func copyFollowsAMove() throws {
    let fixture = try Fixture(size: 40 * mib)
    let reader = fixture.open()
    let file = try temporaryFile()
    let isOver = Timers()
    onThreads(2) { number in
      if number == 0 {
        do throws(RangeCopyError) {
          try reader.copy(range: ByteRange(offset: 0, length: 40 * mib), to: file, at: 0)
        } catch {
          Issue.record(error)
        }
        isOver.add {}
        fixture.store.arrivals.signal()
      } else {
        fixture.store.arrivals.wait()
        fixture.store.put("new", etag: "n1", size: 40 * mib)
        fixture.store.remove("key")
        reader.relocate(to: ObjectKey("new"), etag: ETag("n1"))
        while isOver.count == 0 {
          fixture.store.finishAll()
          fixture.store.arrivals.wait()
        }
      }
    }
    try bytes(file, 40 << 20).withUnsafeBytes { copied in
      #expect(Contents(seed: 1).matches([copied], ByteRange(offset: 0, length: 40 * mib)))
    }
  }
}
