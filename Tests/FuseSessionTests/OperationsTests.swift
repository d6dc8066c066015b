import Basics
import Filesystem
import Glibc
import SystemPackage
import Testing

@testable import FuseSession

@Suite(.serialized) struct OperationsTests {
  @Test func filesAreWrittenAndReadBack() throws {
    let filesystem = FakeFilesystem()
    try withMount(filesystem) { (mount) throws in
      try writeText(mount.at("file"), "hello")
      #expect(try readText(mount.at("file")) == "hello")
      try writeText(mount.at("file"), " world", flags: O_APPEND)
      #expect(try readText(mount.at("file")) == "hello world")
      let modes = filesystem.counts.openModes
      #expect(
        modes == [
          OpenMode(reads: false, writes: true, truncates: true), OpenMode(reads: true, writes: false),
          OpenMode(reads: false, writes: true, appends: true), OpenMode(reads: true, writes: false),
        ])
      // One more for each process that other tests have forked meanwhile: it has the files open for a moment.
      #expect(filesystem.counts.flushes >= 4)
      #expect(eventually { filesystem.counts.releases == 4 })
    }
  }

  @Test func openTruncatesInOneStep() throws {
    let filesystem = FakeFilesystem()
    filesystem.add("file", Array("content".utf8))
    try withMount(filesystem) { (mount) throws in
      try writeText(mount.at("file"), "", flags: O_TRUNC)
      #expect(try status(mount.at("file")).st_size == 0)
      #expect(filesystem.counts.openModes.map(\.truncates) == [true])
      #expect(filesystem.counts.changes.isEmpty)
      #expect(errorOf { _ = try openFile(mount.at("file"), O_CREAT | O_EXCL | O_WRONLY) } == .fileExists)
    }
  }

  @Test func attributesAreShown() throws {
    let filesystem = FakeFilesystem()
    let inode = filesystem.add("file", Array(repeating: 1, count: 1025), mode: S_IFREG | 0o640)
    try withMount(filesystem) { (mount) throws in
      let shown = try status(mount.at("file"))
      #expect(shown.st_ino == inode.value + 1000)
      #expect(shown.st_mode == S_IFREG | 0o640)
      #expect(shown.st_size == 1025)
      #expect(shown.st_blocks == 3)
      #expect(shown.st_nlink == 1)
      #expect(shown.st_mtim.tv_sec == 1_700_000_000)
      #expect(shown.st_mtim.tv_nsec == 123_456_789)
      #expect(try status(mount.path).st_mode == S_IFDIR | 0o755)
      var statistics = statvfs()
      try check(statvfs(mount.path, &statistics))
      #expect(statistics.f_blocks == 1 << 40)
      #expect(statistics.f_bavail == 1 << 39)
      #expect(statistics.f_files == 1 << 30)
      #expect(statistics.f_namemax == 255)
    }
  }

  @Test func attributesAreChanged() throws {
    let filesystem = FakeFilesystem()
    filesystem.add("file", Array("0123456789".utf8))
    try withMount(filesystem) { (mount) throws in
      let path = mount.at("file")
      try check(chmod(path, 0o4751))
      try check(chown(path, 12, 34))
      try check(truncate(path, 4))
      var times = [timespec(tv_sec: 5, tv_nsec: 6), timespec(tv_sec: 7, tv_nsec: 8)]
      try check(utimensat(AT_FDCWD, path, &times, 0))
      times = [timespec(tv_sec: 0, tv_nsec: timeOmitted), timespec(tv_sec: 0, tv_nsec: timeNow)]
      try check(utimensat(AT_FDCWD, path, &times, 0))
      let file = try openFile(path, O_WRONLY)
      try check(ftruncate(file.rawValue, 6))
      try file.close()
      #expect(try readText(path) == "0123\0\0")
    }
    var expected = [AttributeChanges](repeating: AttributeChanges(), count: 6)
    expected[0].mode = 0o4751
    expected[1].uid = 12
    expected[1].gid = 34
    expected[2].size = 4
    expected[3].accessed = .at(Timestamp(seconds: 5, nanoseconds: 6))
    expected[3].modified = .at(Timestamp(seconds: 7, nanoseconds: 8))
    expected[4].modified = .now
    expected[5].size = 6
    #expect(filesystem.counts.changes.count == 6)
    for (seen, wanted) in zip(filesystem.counts.changes, expected) {
      // The kernel clears the set-user-ID bit along with some changes; that is its business.
      var seen = seen
      if wanted.mode == nil { seen.mode = nil }
      #expect(seen == wanted)
    }
  }

  @Test func linksDirectoriesAndNodes() throws {
    let filesystem = FakeFilesystem()
    filesystem.add("file")
    try withMount(filesystem) { (mount) throws in
      try check(symlink("où/../file\n", mount.at("link")))
      var buffer = [CChar](repeating: 0, count: 100)
      let length = try check(readlink(mount.at("link"), &buffer, buffer.count))
      #expect(buffer[..<length].map { UInt8(bitPattern: $0) } == Array("où/../file\n".utf8))
      #expect(errorOf(link(mount.at("file"), mount.at("hard"))) == .notPermitted)
      #expect(errorOf(mknod(mount.at("pipe"), S_IFIFO | 0o600, 0)) == .notPermitted)
      try check(mknod(mount.at("node"), S_IFREG | 0o600, 0))
      #expect(try status(mount.at("node")).st_mode == S_IFREG | 0o600)

      try check(mkdir(mount.at("directory"), 0o750))
      #expect(errorOf(mkdir(mount.at("directory"), 0o750)) == .fileExists)
      #expect(try status(mount.at("directory")).st_mode == S_IFDIR | 0o750)
      try writeText(mount.at("directory/file"), "")
      #expect(errorOf(rmdir(mount.at("directory"))) == .directoryNotEmpty)
      try check(unlink(mount.at("directory/file")))
      try check(rmdir(mount.at("directory")))
      #expect(errorOf(rmdir(mount.at("directory"))) == .noSuchFileOrDirectory)
    }
  }

  @Test func renames() throws {
    let filesystem = FakeFilesystem()
    filesystem.add("a", Array("a".utf8))
    filesystem.add("b", Array("b".utf8))
    try withMount(filesystem) { (mount) throws in
      let noReplace: UInt32 = 1
      let exchange: UInt32 = 2
      #expect(errorOf(renameat2(mount.at("a"), mount.at("b"), noReplace)) == .fileExists)
      #expect(errorOf(renameat2(mount.at("a"), mount.at("b"), exchange)) == .invalidArgument)
      try check(rename(mount.at("a"), mount.at("b")))
      #expect(try readText(mount.at("b")) == "a")
      try check(renameat2(mount.at("b"), mount.at("c"), noReplace))
      #expect(try names(mount.path) == ["c"])
      #expect(errorOf(rename(mount.at("b"), mount.at("c"))) == .noSuchFileOrDirectory)
    }
  }

  @Test func anUnlinkedFileStaysOpen() throws {
    let filesystem = FakeFilesystem()
    filesystem.add("file", Array("still here".utf8))
    try withMount(filesystem) { (mount) throws in
      let file = try openFile(mount.at("file"))
      try check(unlink(mount.at("file")))
      var buffer = [UInt8](repeating: 0, count: 20)
      let count = try buffer.withUnsafeMutableBytes { try file.read(into: $0) }
      #expect(String(decoding: buffer[..<count], as: UTF8.self) == "still here")
      try file.close()
    }
  }

  @Test func syncReachesFilesAndDirectories() throws {
    let filesystem = FakeFilesystem()
    filesystem.add("file")
    try withMount(filesystem) { (mount) throws in
      let file = try openFile(mount.at("file"), O_WRONLY)
      try check(fsync(file.rawValue))
      try check(fdatasync(file.rawValue))
      try file.close()
      let directory = try openFile(mount.path, O_RDONLY | O_DIRECTORY)
      try check(fsync(directory.rawValue))
      try directory.close()
      #expect(filesystem.counts.syncs == 2)
      #expect(filesystem.counts.directorySyncs == 1)
    }
  }

  @Test func closeTellsWhatFlushSays() throws {
    var hooks = FakeFilesystem.Hooks()
    hooks.flush = { (_) throws(Errno) in throw .noSpace }
    let filesystem = FakeFilesystem(hooks)
    filesystem.add("file")
    try withMount(filesystem) { (mount) throws in
      let file = try openFile(mount.at("file"), O_WRONLY)
      #expect(errorOf { try file.close() } == .noSpace)
      #expect(eventually { filesystem.counts.releases == 1 })
    }
  }

  @Test func whatIsNotThereIsRefusedAsTheManualsSay() throws {
    let filesystem = FakeFilesystem()
    filesystem.add("file", Array("content".utf8))
    try withMount(filesystem) { (mount) throws in
      let file = try openFile(mount.at("file"), O_RDWR)
      defer { try? file.close() }
      #expect(errorOf(fallocate(file.rawValue, 100)) == .notSupported)
      #expect(errorOf(getxattr(mount.at("file"), "user.a")) == .notSupported)
      #expect(errorOf(setxattr(mount.at("file"), "user.a", "b")) == .notSupported)
      #expect(lseek(file.rawValue, 2, seekData) == 2)
      #expect(lseek(file.rawValue, 0, seekHole) == 7)
      #expect(flock(file.rawValue, LOCK_EX | LOCK_NB) == 0)
    }
  }
}
