import Glibc
import Testing

@testable import waysfs

struct RuntimeRecordTests {
  @Test func names() {
    #expect(RuntimeDirectory.recordName(forMountPoint: "/mnt/photos") == "%2Fmnt%2Fphotos")
    #expect(RuntimeDirectory.recordName(forMountPoint: "/a%2Fb c\n") == "%2Fa%252Fb%20c%0A")
    #expect(RuntimeDirectory.recordName(forMountPoint: "/é") == "%2F%C3%A9")
    let long = "/" + String(repeating: "x", count: 3000)
    let name = RuntimeDirectory.recordName(forMountPoint: long)
    #expect(name.utf8.count <= 255)
    #expect(name != RuntimeDirectory.recordName(forMountPoint: long + "y"))
  }

  @Test func places() {
    #expect(RuntimeDirectory.candidates(uid: 0, environment: ["XDG_RUNTIME_DIR": "/run/user/0"]) == ["/run/waysfs"])
    #expect(
      RuntimeDirectory.candidates(uid: 5, environment: ["XDG_RUNTIME_DIR": "/r"])
        == ["/r/waysfs", "/run/user/5/waysfs", "/tmp/waysfs-5"])
    #expect(
      RuntimeDirectory.candidates(uid: 5, environment: ["XDG_RUNTIME_DIR": "/run/user/5"])
        == ["/run/user/5/waysfs", "/tmp/waysfs-5"])
    #expect(RuntimeDirectory.candidates(uid: 5, environment: ["XDG_RUNTIME_DIR": "r"]).first == "/run/user/5/waysfs")
  }

  @Test func foreignDirectoriesAreRefused() throws {
    let directory = try TemporaryDirectory()
    #expect(RuntimeDirectory.problem(with: directory.path, uid: geteuid()) == nil)
    #expect(RuntimeDirectory.problem(with: directory.path, uid: geteuid() + 1) != nil)
    chmod(directory.path, 0o770)
    #expect(RuntimeDirectory.problem(with: directory.path, uid: geteuid()) != nil)
    symlink("/tmp", "\(directory.path)/link")
    #expect(RuntimeDirectory.problem(with: "\(directory.path)/link", uid: geteuid()) == "it is not a directory")
    #expect(RuntimeDirectory.problem(with: "\(directory.path)/none", uid: geteuid()) != nil)
  }

  @Test func contentsRoundTrip() {
    var contents = RecordContents(
      pid: 12, source: "waysfs:a/100%\n", mountPoint: "/mnt/\r é%41", unfinished: "3 files=x; kept")
    #expect(RecordContents(parsing: contents.text) == contents)
    #expect(contents.text.split(separator: "\n").count == 6)
    contents.journal = "/var/cache/a b%"
    contents.pending = PendingUploads(files: 2, bytes: 1 << 40, failed: 1, lastError: "no\nanswer")
    #expect(RecordContents(parsing: contents.text) == contents)
    contents.pending = PendingUploads.none
    #expect(RecordContents(parsing: contents.text) == contents)
    for (pid, version) in [(0, 1), (1, 2)] {
      let lines = "waysfs-record=\(version)\npid=\(pid)\nsource=s\nmountpoint=m\n"
      let sum = String(RuntimeDirectory.fnv1a(lines), radix: 16)
      #expect(RecordContents(parsing: "\(lines)checksum=\(sum)\n") == nil)
    }
  }

  @Test func halfWrittenContentsAreNoContents() {
    var contents = RecordContents(pid: 12, source: "s", mountPoint: "/é")
    contents.pending = PendingUploads(files: 23, bytes: 123_456, lastError: "x")
    let text = contents.text
    for count in 0..<(text.unicodeScalars.count - 1) {
      #expect(RecordContents(parsing: String(String.UnicodeScalarView(text.unicodeScalars.prefix(count)))) == nil)
    }
    // What is left from a longer one is behind the end.
    #expect(RecordContents(parsing: text + "error=old\nchecksum=1\n") == contents)
    for (old, new) in [("23", "24"), ("pid=12", "pid=13"), ("checksum=", "checksum=0")] {
      let damaged = text.split(separator: old, maxSplits: 1).joined(separator: new)
      #expect(damaged != text)
      #expect(RecordContents(parsing: damaged) == nil)
    }
  }

  private func record(_ directory: TemporaryDirectory, _ mountPoint: String = "/mnt/x") throws -> RuntimeRecord {
    try RuntimeRecord(
      directory: directory.path, contents: RecordContents(pid: getpid(), source: "waysfs:b", mountPoint: mountPoint))
  }

  @Test func whoWaitsSeesTheEndAndTheLastWord() throws {
    let directory = try TemporaryDirectory()
    let record = try record(directory)
    let seen = try #require(ForeignRecord(mountPoint: "/mnt/x", directories: ["/nonexistent", directory.path]))
    #expect(seen.contents.pid == getpid())
    #expect(seen.isHeld)
    record.finish(unfinished: "1 file; kept in /c")
    #expect(!seen.isHeld)
    #expect(seen.lastWord()?.unfinished == "1 file; kept in /c")
    #expect(ForeignRecord(mountPoint: "/mnt/x", directories: [directory.path]) == nil)
  }

  @Test func progressIsSeenUntilTheEnd() throws {
    let directory = try TemporaryDirectory()
    let record = try record(directory)
    let seen = try #require(ForeignRecord(mountPoint: "/mnt/x", directories: [directory.path]))
    #expect(seen.pending == nil)
    record.update(pending: PendingUploads(files: 12, bytes: 99_999, examples: ["a"], lastError: "a long story"))
    #expect(seen.pending == PendingUploads(files: 12, bytes: 99_999, lastError: "a long story"))
    record.update(pending: PendingUploads.none)
    #expect(seen.pending == PendingUploads.none)
    #expect(seen.isHeld)
    record.finish(unfinished: "1 file")
    record.update(pending: PendingUploads(files: 1, bytes: 1))
    #expect(seen.pending == PendingUploads.none)
    #expect(seen.lastWord()?.unfinished == "1 file")
  }

  @Test func oneDaemonForAMountPoint() throws {
    let directory = try TemporaryDirectory()
    let first = try record(directory)
    let failure = try #require(throws: Failure.self) { try record(directory) }
    #expect(failure.reason.contains("process \(getpid())"))
    let other = try record(directory, "/mnt/y")
    other.finish()
    first.finish()
    try record(directory).finish()
  }

  @Test func oneThatIsAboutToEndCanBeWaitedFor() throws {
    let directory = try TemporaryDirectory()
    let first = try record(directory)
    let contents = RecordContents(pid: getpid(), source: "waysfs:b", mountPoint: "/mnt/x")
    var waits = 0
    let second = try RuntimeRecord(directory: directory.path, contents: contents) { failure throws(Failure) in
      #expect(failure.reason.contains("still at work"))
      waits += 1
      if waits == 3 { first.finish() }
    }
    #expect(waits == 3)
    #expect(ForeignRecord(mountPoint: "/mnt/x", directories: [directory.path])?.isHeld == true)
    #expect(throws: Failure("enough")) {
      try RuntimeRecord(directory: directory.path, contents: contents) { _ throws(Failure) in throw Failure("enough") }
    }
    second.finish()
  }

  @Test func whoUnmountsDoesNotWaitForEver() {
    var contents = RecordContents(pid: 1, source: "s", mountPoint: "/mnt")
    /// Seconds until it is over, which is nil when it is not within a day.
    func wait(_ patience: inout UmountPatience, _ record: RecordContents?) -> Int? {
      (1...86_400).first { _ in patience.isOver(record, after: 1) }
    }
    var patience = UmountPatience()
    #expect(wait(&patience, nil) == nil)
    contents.pending = PendingUploads(files: 1, bytes: 1)
    #expect(wait(&patience, contents) == nil && patience.isPendingKnown)
    contents.pending = PendingUploads.none
    #expect(wait(&patience, contents) == 21 && patience.isPendingKnown)
    // A process that had no thread to note it.
    patience = UmountPatience()
    contents.pending = nil
    #expect(wait(&patience, contents) == 21 && !patience.isPendingKnown)
  }

  @Test func abandonedRecordIsTakenOver() throws {
    let directory = try TemporaryDirectory()
    do { _ = try record(directory) }  // Its process "died": the lock is gone, the file is there.
    let seen = try #require(ForeignRecord(mountPoint: "/mnt/x", directories: [directory.path]))
    #expect(!seen.isHeld)
    let next = try record(directory)
    #expect(seen.isHeld)
    seen.removeIfAbandoned()
    #expect(ForeignRecord(mountPoint: "/mnt/x", directories: [directory.path]) != nil)
    next.finish()
  }

  @Test func abandonedRecordIsRemoved() throws {
    let directory = try TemporaryDirectory()
    do { _ = try record(directory) }
    ForeignRecord(mountPoint: "/mnt/x", directories: [directory.path])?.removeIfAbandoned()
    #expect(ForeignRecord(mountPoint: "/mnt/x", directories: [directory.path]) == nil)
  }

  @Test func hostileFiles() throws {
    let directory = try TemporaryDirectory()
    _ = try directory.file("%2Fmnt%2Fx", "waysfs-record=1\npid=1\nsource=s\nmountpoint=/other\n")
    #expect(ForeignRecord(mountPoint: "/mnt/x", directories: [directory.path]) == nil)
    mkfifo("\(directory.path)/%2Fmnt%2Fy", 0o600)
    #expect(ForeignRecord(mountPoint: "/mnt/y", directories: [directory.path]) == nil)
    symlink("/etc/passwd", "\(directory.path)/%2Fmnt%2Fz")
    #expect(throws: Failure.self) { try record(directory, "/mnt/z") }
  }
}
