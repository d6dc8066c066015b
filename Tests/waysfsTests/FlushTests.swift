import SystemPackage
import Testing
import WritePath

@testable import waysfs

@Suite struct FlushTests {
  private func failure(_ path: String) -> Failure? {
    do throws(Failure) {
      try Flush().run(path, MountSettingsTests.context)
      return nil
    } catch {
      return error
    }
  }

  @Test func onlyMountsOfThisProgramAreFlushed() throws {
    let directory = try TemporaryDirectory()
    let file = try directory.file("file", "text")
    for path in [directory.path, file, "/dev/null", "/"] {
      #expect(failure(path)?.reason == "it is not on a waysfs mount")
    }
  }

  @Test func theJournalTellsOfOneFile() throws {
    let directory = try TemporaryDirectory()
    var contents = RecordContents(pid: 1, source: "waysfs:photos/2024/a", mountPoint: "/mnt")
    #expect(FlushedFile(path: "/mnt/x", in: contents) == nil)
    let journal = try Journal(
      root: FilePath(directory.path), name: "photos", identity: "i", bounds: JournalBounds(freeFraction: 0))
    contents.journal = journal.directory.string
    #expect(FlushedFile(path: "/mntx/y", in: contents) == nil)
    let file = try #require(FlushedFile(path: "/mnt/dir/x", in: contents))
    #expect(file.key == "2024/a/dir/x")
    #expect(file.isStored == true)
    try RecoverBench.record([("2024/a/dir/y", "text")], in: journal)
    #expect(file.isStored == true)
    #expect(FlushedFile(path: "/mnt/dir/y", in: contents)?.isStored == false)
    contents.journal = "\(directory.path)/none"
    #expect(FlushedFile(path: "/mnt/dir/x", in: contents)?.isStored == nil)
    var top = RecordContents(pid: 1, source: "waysfs:photos", mountPoint: "/")
    top.journal = "/c"
    #expect(FlushedFile(path: "/x", in: top)?.key == "x")
  }

  @Test func ofAnAccountTheJournalOfTheBucketTells() throws {
    let directory = try TemporaryDirectory()
    var contents = RecordContents(pid: 1, source: MountTarget.account.source, mountPoint: "/mnt")
    contents.journal = directory.path
    let journals = try ["photos", "music"].map { name in
      try Journal(
        root: FilePath(directory.path), name: name, identity: "http://host:1/\(name)",
        bounds: JournalBounds(freeFraction: 0))
    }
    try RecoverBench.record([("dir/x", "text")], in: journals[1])
    #expect(FlushedFile(path: "/mnt/photos/dir/x", in: contents)?.isStored == true)
    #expect(FlushedFile(path: "/mnt/music/dir/x", in: contents)?.isStored == false)
    #expect(FlushedFile(path: "/mnt/music/dir/y", in: contents)?.isStored == true)
    #expect(FlushedFile(path: "/mnt/music", in: contents) == nil)
    contents.journal = "\(directory.path)/none"
    #expect(FlushedFile(path: "/mnt/music/dir/x", in: contents)?.isStored == nil)
    withExtendedLifetime(journals) {}
  }

  @Test func whatIsNotThereIsSaid() throws {
    #expect(failure("/nonexistent/path")?.reason == "No such file or directory")
    #expect(failure("")?.reason == "No such file or directory")
  }
}
