import Filesystem
import Glibc
import SystemPackage
import Testing

@testable import FuseSession

@Suite(.serialized) struct NamesTests {
  static let examples = [
    String(repeating: "n", count: 255), String(repeating: "ä", count: 127), "line\nbreak", " ", "%2F+&?#", "\\", "*",
    "caf\u{e9}", "cafe\u{301}", "日本語", "\u{1F600}", "...", "\u{1}\u{7F}", "-rf",
  ]

  @Test func arriveByteForByte() throws {
    let filesystem = FakeFilesystem()
    try withMount(filesystem) { (mount) throws in
      for name in Self.examples { try writeText(mount.at(name), name) }
      for name in Self.examples { #expect(try readText(mount.at(name)) == name) }
      let listed = try names(mount.path)
      #expect(Set(listed.map { Array($0.utf8) }) == Set(Self.examples.map { Array($0.utf8) }))
      #expect(listed.count == Self.examples.count)
    }
  }

  @Test func thatAreNotUTF8AreRefused() throws {
    let filesystem = FakeFilesystem()
    filesystem.add("file")
    try withMount(filesystem) { (mount) throws in
      let bad: [[UInt8]] = [[0xFF], [0x61, 0xC3], [0xC0, 0xAF], [0xED, 0xA0, 0x80], [0xF5, 0x80, 0x80, 0x80]]
      for bytes in bad {
        let path = (Array(mount.at("").utf8) + bytes + [0]).map { CChar(bitPattern: $0) }
        var shown = stat()
        #expect(errorOf(stat(path, &shown)) == .illegalByteSequence)
        #expect(errorOf(Glibc.open(path, O_CREAT | O_WRONLY, 0o644)) == .illegalByteSequence)
        #expect(errorOf(mkdir(path, 0o755)) == .illegalByteSequence)
        #expect(errorOf(rename(mount.at("file"), path)) == .illegalByteSequence)
        #expect(errorOf(symlink("x", path)) == .illegalByteSequence)
      }
      let target = [0xFF, 0].map { CChar(bitPattern: $0) }
      #expect(errorOf(symlink(target, mount.at("link"))) == .illegalByteSequence)
    }
  }

  @Test func thatAreTooLongAreRefused() throws {
    let filesystem = FakeFilesystem()
    try withMount(filesystem) { (mount) throws in
      for count in [256, 1000] {
        let path = mount.at(String(repeating: "n", count: count))
        #expect(errorOf { try writeText(path, "") } == .fileNameTooLong)
        #expect(errorOf(mkdir(path, 0o755)) == .fileNameTooLong)
      }
    }
  }

  @Test func decodingChecksLengthAndEncoding() {
    #expect(throws: Errno.fileNameTooLong) {
      try FileName(kernel: [CChar](repeating: 65, count: 256) + [0])
    }
    #expect(throws: Errno.illegalByteSequence) {
      try FileName(kernel: [CChar](repeating: -1, count: 255) + [0])
    }
    #expect((try? FileName(kernel: [CChar](repeating: 65, count: 255) + [0]))?.string.utf8.count == 255)
  }

  @Test func thatTheFilesystemMadeUpDoNotBreakAListing() throws {
    let filesystem = FakeFilesystem()
    for name in ["good", "a/b", "", "nul\0", String(repeating: "x", count: 256), "zebra"] { filesystem.add(name) }
    let refused = try #require(filesystem.inode("a/b"))
    try withMount(filesystem) { (mount) throws in
      #expect(try names(mount.path) == ["good", "zebra"])
      // What was left out was counted by the filesystem, and must be given back.
      #expect(filesystem.lookups(refused) == 0)
    }
  }

  @Test func linkTargetsThatCannotBeShownAreErrors() throws {
    let filesystem = FakeFilesystem()
    for (name, target) in [("nul", "a\0b"), ("long", String(repeating: "t", count: 5000))] {
      let inode = filesystem.add(name, mode: S_IFLNK | 0o777)
      filesystem.state.withLock { $0.nodes[inode]?.target = target }
    }
    try withMount(filesystem) { (mount) throws in
      var buffer = [CChar](repeating: 0, count: 8192)
      #expect(errorOf(readlink(mount.at("nul"), &buffer, buffer.count)) == .ioError)
      #expect(errorOf(readlink(mount.at("long"), &buffer, buffer.count)) == .fileNameTooLong)
    }
  }
}
