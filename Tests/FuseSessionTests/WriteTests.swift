import CFuse
import Filesystem
import Glibc
import SystemPackage
import Testing

@testable import FuseSession

@Suite(.serialized) struct WriteTests {
  @Test func aMebibyteArrivesInOnePiece() throws {
    let filesystem = FakeFilesystem()
    let bytes = (0..<(3 << 20)).map { UInt8(truncatingIfNeeded: $0 &* 7 >> 5) }
    try withMount(filesystem) { (mount) throws in
      let file = try openFile(mount.at("file"), O_CREAT | O_WRONLY)
      try file.closeAfter {
        for start in stride(from: 0, to: bytes.count, by: 1 << 20) {
          _ = try file.writeAll(bytes[start..<start + (1 << 20)])
        }
      }
      #expect(filesystem.counts.writes == [1 << 20, 1 << 20, 1 << 20])
      #expect(try readBytes(mount.at("file")) == bytes)
    }
  }

  @Test func unevenPiecesArriveWhereTheyBelong() throws {
    let filesystem = FakeFilesystem()
    try withMount(filesystem) { (mount) throws in
      let file = try openFile(mount.at("file"), O_CREAT | O_RDWR)
      var expected = [UInt8](repeating: 0, count: 300_000)
      for (index, offset) in [299_999, 0, 4095, 4097, 131_071, 100].enumerated() {
        let piece = [UInt8](repeating: UInt8(index + 1), count: min(70_001, 300_000 - offset))
        _ = try file.writeAll(toAbsoluteOffset: Int64(offset), piece)
        expected.replaceSubrange(offset..<offset + piece.count, with: piece)
      }
      try file.close()
      #expect(try readBytes(mount.at("file")) == expected)
    }
  }

  @Test func whatTheKernelWritesBackIsToldApart() throws {
    let filesystem = FakeFilesystem()
    filesystem.add("file", [UInt8](repeating: 1, count: 4096))
    try withMount(filesystem) { (mount) throws in
      let file = try openFile(mount.at("file"), O_RDWR)
      _ = try file.writeAll(toAbsoluteOffset: 0, [2])
      #expect(filesystem.counts.writebacks == 0)
      let pages = try #require(mmap(nil, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file.rawValue, 0))
      try #require(pages != MAP_FAILED)
      pages.storeBytes(of: 3, as: UInt8.self)
      #expect(msync(pages, 4096, MS_SYNC) == 0)
      munmap(pages, 4096)
      try file.close()
      #expect(filesystem.counts.writes.count == 2 && filesystem.counts.writebacks == 1)
      #expect(try readBytes(mount.at("file")).first == 3)
    }
  }

  /// With extended attributes the kernel would ask for one before each write, but for HANDLE_KILLPRIV_V2.
  @Test func writesAreNotSlowedDownByExtendedAttributes() throws {
    let filesystem = FakeFilesystem()
    filesystem.add("file")
    let metrics = OperationMetrics()
    try withMount(filesystem, metrics: metrics) { (mount) throws in
      let file = try openFile(mount.at("file"), O_WRONLY)
      for offset in 0..<100 { _ = try file.writeAll(toAbsoluteOffset: Int64(offset), [1]) }
      try file.close()
      #expect(metrics.histograms[.write]?.count == 100)
      #expect(waysfs_session_init_flags(mount.session.connection.raw) & WAYSFS_INIT_HANDLE_KILLPRIV_V2 != 0)
    }
  }

  /// The kernel leaves set-user-ID bits to the filesystem then: it asks for no change of the mode.
  @Test(.enabled(if: geteuid() == 0, "only root can write as somebody else"))
  func setUserIDBitsAreTheFilesystemsToClear() throws {
    let filesystem = FakeFilesystem()
    filesystem.add("file", mode: S_IFREG | 0o4777)
    try withMount(filesystem, adjusting: { $0.allowOther = true }) { (mount) throws in
      let result = try runProgram([
        "setpriv", "--reuid=65534", "--clear-groups", "sh", "-c", "echo x >> '\(mount.at("file"))'",
      ])
      #expect(result.status == 0, "\(result.message)")
      #expect(!filesystem.counts.changes.contains { $0.mode != nil })
    }
  }
}
