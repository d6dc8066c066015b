import Filesystem
import Glibc
import SystemPackage
import Synchronization
import Testing

@testable import FuseSession

@Suite(.serialized) struct DirectoryTests {
  @Test func tenThousandEntriesComeWithTheirAttributes() throws {
    let filesystem = FakeFilesystem()
    let wanted = (0..<10_000).map { "entry-\($0)" }
    for (size, name) in wanted.enumerated() { filesystem.add(name, Array(repeating: 0, count: size % 10)) }
    try withMount(filesystem) { (mount) throws in
      let found = try names(mount.path)
      #expect(found == wanted.sorted())
      for name in ["entry-0", "entry-9999", "entry-1234"] {
        #expect(try Int(status(mount.at(name)).st_size) == wanted.firstIndex(of: name).map { $0 % 10 })
      }
      // The first page came with attributes, so that those names are known; the counts are the kernel's.
      #expect(filesystem.counts.readDirectoryPlus > 0)
      let counted = wanted.compactMap { filesystem.inode($0).flatMap { filesystem.lookups($0) } }.reduce(0, +)
      #expect(counted > 0)
      #expect(eventually { filesystem.counts.directoryReleases == 1 })
    }
  }

  @Test func aListingCanBeTakenUpAgain() throws {
    let filesystem = FakeFilesystem()
    for index in 0..<500 { filesystem.add("entry-\(index)") }
    try withMount(filesystem) { (mount) throws in
      let directory = try #require(opendir(mount.path))
      defer { closedir(directory) }
      for _ in 0..<100 { _ = readdir(directory) }
      let place = telldir(directory)
      let next = try #require(readdir(directory)).pointee.d_ino
      rewinddir(directory)
      #expect(try #require(readdir(directory)).pointee.d_ino == 1001)
      seekdir(directory, place)
      #expect(try #require(readdir(directory)).pointee.d_ino == next)
    }
  }

  @Test func anErrorAfterSomeNamesComesAfterThem() throws {
    var hooks = FakeFilesystem.Hooks()
    hooks.readDirectory = { (offset) throws(Errno) in if offset > 5 { throw .timedOut } }
    let filesystem = FakeFilesystem(hooks)
    for index in 0..<10 { filesystem.add("entry-\(index)") }
    try withMount(filesystem) { (mount) throws in
      let directory = try #require(opendir(mount.path))
      defer { closedir(directory) }
      var count = 0
      errno = 0
      while readdir(directory) != nil { count += 1 }
      #expect(Errno(rawValue: errno) == .timedOut)
      #expect(count == 5)
    }
  }

  @Test func anErrorAtTheStartIsToldAndNothingStaysCounted() throws {
    var hooks = FakeFilesystem.Hooks()
    hooks.readDirectory = { (_) throws(Errno) in throw .ioError }
    let filesystem = FakeFilesystem(hooks)
    let inode = filesystem.add("entry")
    try withMount(filesystem) { (mount) throws in
      #expect(errorOf { _ = try names(mount.path) } == .ioError)
      #expect(filesystem.lookups(inode) == 0)
    }
  }

  @Test func theEmptyDirectoryHasTwoEntries() throws {
    let filesystem = FakeFilesystem()
    try withMount(filesystem) { (mount) throws in
      #expect(try names(mount.path).isEmpty)
      let directory = try #require(opendir(mount.path))
      defer { closedir(directory) }
      let first = try #require(readdir(directory)).pointee
      #expect(first.d_ino == 1001)
      #expect(Int32(first.d_type) == 4)
    }
  }
}
