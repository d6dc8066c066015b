import Basics
import Filesystem
import Glibc
import Synchronization
import SystemPackage
import Testing

@testable import FuseSession

@Suite(.serialized) struct ReadTests {
  private func filesystem(
    size: Int = 1 << 20,
    _ read: @escaping @Sendable (UInt64, Int, CallContext, @escaping Completion<ReadBuffers, Errno>) -> Void
  ) -> FakeFilesystem {
    var hooks = FakeFilesystem.Hooks()
    hooks.read = read
    let filesystem = FakeFilesystem(hooks)
    let inode = filesystem.add("file")
    filesystem.state.withLock { $0.nodes[inode]?.attributes.size = UInt64(size) }
    return filesystem
  }

  @Test func isAnsweredFromAnotherThread() throws {
    let filesystem = filesystem(size: 10) { _, count, _, completion in
      try? onThread {
        let bytes = Array("0123456789".utf8)
        bytes.withUnsafeBytes {
          completion(.success(ReadBuffers([UnsafeRawBufferPointer(rebasing: $0.prefix(count))])))
        }
      }
    }
    try withMount(filesystem) { (mount) throws in
      #expect(try readText(mount.at("file")) == "0123456789")
    }
  }

  @Test(arguments: [1, 2, 5, 1023, 1024, 4096]) func joinsBuffers(pieces: Int) throws {
    let pattern = (0..<4096).map { UInt8(truncatingIfNeeded: $0 &* 31 >> 3) }
    let filesystem = filesystem(size: 4096) { offset, count, _, completion in
      pattern.withUnsafeBytes { bytes in
        let wanted = UnsafeRawBufferPointer(rebasing: bytes.dropFirst(Int(offset)).prefix(count))
        let size = 4096 / pieces
        let buffers = (0..<pieces).map { index in
          let end = index == pieces - 1 ? wanted.count : (index + 1) * size
          return UnsafeRawBufferPointer(rebasing: wanted[index * size..<end])
        }
        completion(.success(ReadBuffers(offset == 0 ? buffers : [])))
      }
    }
    try withMount(filesystem) { (mount) throws in
      #expect(try readBytes(mount.at("file")) == pattern)
    }
  }

  @Test func errorsAreTold() throws {
    let filesystem = filesystem { _, _, _, completion in completion(.failure(.timedOut)) }
    try withMount(filesystem) { (mount) throws in
      #expect(errorOf { _ = try readBytes(mount.at("file")) } == .timedOut)
    }
  }

  @Test(arguments: [0, -5, 1000, 100_000]) func impossibleErrorsAreEIO(code: CInt) throws {
    let filesystem = filesystem { _, _, _, completion in completion(.failure(Errno(rawValue: code))) }
    try withMount(filesystem) { (mount) throws in
      #expect(errorOf { _ = try readBytes(mount.at("file")) } == .ioError)
    }
  }

  @Test func aDroppedCompletionIsAnErrorAndNotAHang() throws {
    let filesystem = filesystem { _, _, _, _ in }
    try withMount(filesystem) { (mount) throws in
      #expect(errorOf { _ = try readBytes(mount.at("file")) } == .ioError)
    }
  }

  @Test func aSecondCompletionIsIgnored() throws {
    let filesystem = filesystem(size: 4) { _, count, _, completion in
      Array("good".utf8).withUnsafeBytes {
        completion(.success(ReadBuffers([UnsafeRawBufferPointer(rebasing: $0.prefix(count))])))
      }
      completion(.failure(.ioError))
      Array("evil".utf8).withUnsafeBytes { completion(.success(ReadBuffers([$0]))) }
    }
    try withMount(filesystem) { (mount) throws in
      #expect(try readText(mount.at("file")) == "good")
      #expect(try readText(mount.at("file")) == "good")
    }
  }

  @Test func tooManyBytesAreAnError() throws {
    let filesystem = filesystem(size: 4096) { _, count, _, completion in
      [UInt8](repeating: 1, count: count + 1).withUnsafeBytes { completion(.success(ReadBuffers([$0]))) }
    }
    try withMount(filesystem) { (mount) throws in
      #expect(errorOf { _ = try readBytes(mount.at("file")) } == .ioError)
    }
  }

  @Test func anAnswerAfterTheUnmountIsHarmless() throws {
    let late = Mutex<Completion<ReadBuffers, Errno>?>(nil)
    let asked = Signal()
    let filesystem = filesystem { _, _, _, completion in
      late.withLock { $0 = completion }
      asked.set()
    }
    try withMount(filesystem) { (mount) throws in
      let failed = Signal()
      try onThread {
        if errorOf({ _ = try readBytes(mount.at("file")) }) != nil { failed.set() }
      }
      #expect(asked.wait())
      mount.abort()
      #expect(mount.ended.wait())
      #expect(failed.wait())
    }
    let completion = try #require(late.withLock { $0.take() })
    [UInt8](repeating: 1, count: 100).withUnsafeBytes { completion(.success(ReadBuffers([$0]))) }
  }

  @Test func largeReadsAheadArriveWhole() throws {
    let size = 16 << 20
    let filesystem = filesystem(size: size) { offset, count, _, completion in
      let left = max(0, size - Int(offset))
      [UInt8](repeating: 9, count: min(count, left)).withUnsafeBytes { completion(.success(ReadBuffers([$0]))) }
    }
    try withMount(filesystem) { (mount) throws in
      let bytes = try readBytes(mount.at("file"))
      #expect(bytes.count == size)
      #expect(bytes.allSatisfy { $0 == 9 })
      let direct = try openFile(mount.at("file"), O_RDONLY | directIO)
      defer { try? direct.close() }
      let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 20, alignment: 4096)
      defer { memory.deallocate() }
      #expect(try direct.read(into: memory) == 1 << 20)
      // Read-ahead was raised (only root can), and a direct read comes in one piece.
      if geteuid() == 0 { #expect(filesystem.counts.reads.contains { $0 > 128 << 10 }) }
      #expect(filesystem.counts.reads.contains(1 << 20))
    }
  }
}
