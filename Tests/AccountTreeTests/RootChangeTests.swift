import Basics
import Filesystem
import ObjectStore
import SystemPackage
import Testing

@testable import AccountTree

/// Making and removing buckets, and what the root refuses.
@Suite struct RootChangeTests {
  @Test func bucketsAreMadeAndRemoved() throws {
    let bench = try Bench(FakeAccount("aaa"))
    let made = try bench.tree.makeDirectory(.root, FileName("bbb"), mode: 0o755, bench.context)
    #expect(try made.inode == bench.inode("bbb"))
    try bench.write("bbb/file", "x")
    #expect(failure { try bench.tree.removeDirectory(.root, FileName("bbb"), bench.context) } == .directoryNotEmpty)
    try bench.tree.unlink(try bench.inode("bbb"), FileName("file"), bench.context)
    try bench.tree.removeDirectory(.root, FileName("bbb"), bench.context)
    #expect(failure { _ = try bench.inode("bbb") } == .noSuchFileOrDirectory)
    #expect(bench.account.state.withLock { Array($0.buckets.keys) } == ["aaa"])
    // What waysfs keeps there for itself is no reason to keep the bucket.
    let bucket = try #require(bench.bucket("bbb"))
    #expect(try bucket.memory.list(ListRequest(prefix: "", delimited: false)).entries.isEmpty)
    #expect(failure { try bench.tree.removeDirectory(.root, FileName("ccc"), bench.context) } == .noSuchFileOrDirectory)
  }

  @Test func aBucketMadeAgainIsAnother() throws {
    let bench = try Bench(FakeAccount("aaa"))
    try bench.write("aaa/file", "x")
    let old = try bench.inode("aaa")
    try bench.tree.unlink(old, FileName("file"), bench.context)
    try bench.tree.removeDirectory(.root, FileName("aaa"), bench.context)
    let made = try bench.tree.makeDirectory(.root, FileName("aaa"), mode: 0o755, bench.context)
    #expect(try made.inode == bench.inode("aaa") && made.inode != old)
    #expect(failure { _ = try bench.tree.getAttributes(old, nil, bench.context) } == .staleNFSFileHandle)
    try bench.write("aaa/file", "y")
    #expect(try bench.read("aaa/file") == "y")
    #expect(bench.opened.names == ["aaa", "aaa"])
  }

  @Test func aScratchObjectThatWasLeftIsNoReasonToKeepABucket() throws {
    let bench = try Bench(FakeAccount("aaa"))
    #expect(try bench.names("aaa").isEmpty)
    let memory = try #require(bench.bucket("aaa")).memory
    try memory.put(PutRequest(ObjectKey(".waysfs-probe-1"), body: .bytes(Array("x".utf8))))
    let stored = try memory.list(ListRequest(prefix: "", delimited: false)).entries[0].lastModified
    let now = bench.clock.timeSource.wall
    // Somebody may be at work with it.
    bench.clock.advance(seconds: Double(stored.seconds - now.seconds) + 200)
    #expect(failure { try bench.tree.removeDirectory(.root, FileName("aaa"), bench.context) } == .directoryNotEmpty)
    bench.clock.advance(seconds: 200)
    try bench.tree.removeDirectory(.root, FileName("aaa"), bench.context)
    #expect(try memory.list(ListRequest(prefix: "", delimited: false)).entries.isEmpty)
  }

  @Test func anAttemptThatFailedMakesTheMountAskAgain() throws {
    let bench = try Bench(FakeAccount("aaa"))
    // Somebody else was faster, and this mount does not know.
    bench.account.change { $0.buckets["aaa"] = nil }
    #expect(failure { try bench.tree.removeDirectory(.root, FileName("aaa"), bench.context) } == .noSuchFileOrDirectory)
    #expect(failure { _ = try bench.inode("aaa") } == .noSuchFileOrDirectory)
  }

  @Test func aBucketThatSomebodyElseMadeInTheSameMomentIsThere() throws {
    let bench = try Bench(FakeAccount("aaa"))
    bench.account.change { $0.meanwhile = { bench.account.change { $0.buckets["bbb"] = FakeAccount.bucket("bbb") } } }
    #expect(failure { _ = try bench.tree.makeDirectory(.root, FileName("bbb"), mode: 0, bench.context) } == .fileExists)
    #expect(try bench.names("").map(\.name.string) == ["aaa", "bbb"])
  }

  @Test func whatIsOnItsWayToABucketKeepsIt() throws {
    let bench = try Bench(FakeAccount("aaa"))
    let made = try bench.tree.create(
      try bench.inode("aaa"), FileName("new"), permissions: 0o644, OpenMode(reads: true, writes: true), bench.context)
    try [1].withUnsafeBytes { try bench.tree.write(made.open.handle, offset: 0, $0, bench.context) }
    #expect(failure { try bench.tree.removeDirectory(.root, FileName("aaa"), bench.context) } == .directoryNotEmpty)
    try bench.tree.flush(made.open.handle, bench.context)
    bench.tree.release(made.open.handle)
  }

  @Test func namesAreCheckedBeforeAnythingIsSent() throws {
    let bench = try Bench(FakeAccount("aaa"), lifetime: 0)
    let before = bench.account.questions
    for (name, expected) in [("Ab", Errno.invalidArgument), (String(repeating: "a", count: 64), .fileNameTooLong)] {
      #expect(
        failure { _ = try bench.tree.makeDirectory(.root, FileName(name), mode: 0, bench.context) } == expected)
    }
    #expect(bench.account.questions == before)
    #expect(failure { _ = try bench.tree.makeDirectory(.root, FileName("aaa"), mode: 0, bench.context) } == .fileExists)
  }

  @Test func withoutLeaveNothingChanges() throws {
    for (readOnly, expected) in [(false, Errno.notPermitted), (true, .readOnlyFileSystem)] {
      let bench = try Bench(FakeAccount("aaa"), readOnly: readOnly, allowsChanges: readOnly)
      #expect(failure { _ = try bench.tree.makeDirectory(.root, FileName("bbb"), mode: 0, bench.context) } == expected)
      #expect(failure { try bench.tree.removeDirectory(.root, FileName("aaa"), bench.context) } == expected)
      #expect(bench.account.state.withLock { Array($0.buckets.keys) } == ["aaa"])
    }
  }

  @Test func theRootHasNothingButBuckets() throws {
    let bench = try Bench(FakeAccount("aaa", "bbb"))
    let (tree, context, name) = (bench.tree, bench.context, FileName("file"))
    try bench.write("aaa/file", "x")
    let (aaa, bbb) = (try bench.inode("aaa"), try bench.inode("bbb"))
    let mode = OpenMode(reads: true, writes: true)
    #expect(failure { _ = try tree.create(.root, name, permissions: 0, mode, context) } == .notPermitted)
    #expect(failure { _ = try tree.makeNode(.root, name, mode: 0o100644, context) } == .notPermitted)
    #expect(failure { _ = try tree.makeLink(.root, name, target: "x", context) } == .notPermitted)
    #expect(failure { try tree.unlink(.root, FileName("aaa"), context) } == .notPermitted)
    var changes = AttributeChanges()
    changes.mode = 0o700
    #expect(failure { _ = try tree.setAttributes(.root, changes, nil, context) } == .notPermitted)
    for (from, to, expected) in [
      ((InodeID.root, "aaa"), (InodeID.root, "ccc"), Errno.notPermitted), ((.root, "aaa"), (bbb, "aaa"), .notPermitted),
      ((aaa, "file"), (.root, "file"), .notPermitted), ((aaa, "file"), (bbb, "file"), .improperLink),
    ] {
      #expect(
        failure {
          try tree.rename(from.0, FileName(from.1), to: to.0, FileName(to.1), .replace, context)
        } == expected)
    }
    try tree.rename(aaa, name, to: aaa, FileName("other"), .replace, context)
    #expect(try bench.read("aaa/other") == "x")
  }
}
