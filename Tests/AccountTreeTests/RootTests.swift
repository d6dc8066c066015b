import Basics
import Filesystem
import ObjectStore
import Synchronization
import SystemPackage
import Testing

@testable import AccountTree

/// What is at the root, and the rules there.
@Suite struct RootTests {
  @Test func theRootListsTheBuckets() throws {
    let bench = try Bench(FakeAccount("bbb", "aaaa", "cc-c"))
    for plus in [false, true] {
      let entries = try bench.names("", plus: plus)
      #expect(entries.map(\.name.string) == ["aaaa", "bbb", "cc-c"])
      #expect(entries.allSatisfy { ($0.entry != nil) == plus && $0.type == 0o040000 })
      #expect(try entries.map(\.fileNumber) == ["aaaa", "bbb", "cc-c"].map { try bench.stat($0).fileNumber })
    }
    let attributes = try bench.stat("aaaa")
    #expect(attributes.modified == Timestamp(seconds: 1_700_000_004) && attributes.mode == 0o040755)
    #expect(attributes.uid == 7 && attributes.gid == 8)
    // Nobody has gone there.
    #expect(bench.opened.names.isEmpty && bench.account.questions == 1)
  }

  @Test func namesThatNoBucketHasCostNoQuestion() throws {
    let bench = try Bench(FakeAccount("aaa"), lifetime: 0)
    let before = bench.account.questions
    #expect(try bench.tree.lookup(.root, FileName(".Trash"), bench.context).inode == nil)
    #expect(bench.account.questions == before)
    #expect(try bench.tree.lookup(.root, FileName("bbb"), bench.context).inode == nil)
    #expect(bench.account.questions == before + 1)
  }

  @Test func bucketsAppearAndVanishWithinTheLifetime() throws {
    let bench = try Bench(FakeAccount("aaa"))
    let old = try bench.inode("aaa")
    bench.account.change { state in
      state.buckets["aaa"] = nil
      state.buckets["bbb"] = FakeAccount.bucket("bbb")
    }
    #expect(try bench.inode("aaa") == old)
    #expect(failure { _ = try bench.inode("bbb") } == .noSuchFileOrDirectory)
    bench.clock.advance(seconds: 10)
    #expect(failure { _ = try bench.inode("aaa") } == .noSuchFileOrDirectory)
    #expect(failure { _ = try bench.tree.getAttributes(old, nil, bench.context) } == .staleNFSFileHandle)
    #expect(try bench.names("").map(\.name.string) == ["bbb"])
    #expect(bench.kernel.names.sorted() == ["1/aaa", "1/bbb"])
    // It keeps its place for when it is back.
    bench.account.change { $0.buckets["aaa"] = FakeAccount.bucket("aaa") }
    bench.clock.advance(seconds: 10)
    #expect(try bench.inode("aaa") == old)
  }

  @Test func whatAppearsIsMadeKnown() throws {
    let appeared = Mutex<[String]>([])
    let bench = try Bench(FakeAccount("aaa")) { names in appeared.withLock { $0 += names } }
    bench.account.change { $0.buckets["bbb"] = FakeAccount.bucket("bbb") }
    for _ in 0..<2 {
      bench.clock.advance(seconds: 10)
      #expect(try bench.names("").count == 2 && appeared.withLock { $0 } == ["bbb"])
    }
  }

  @Test func whatIsOpenOutlivesABucketsPlaceInTheList() throws {
    let bench = try Bench(FakeAccount("aaa"))
    try bench.write("aaa/file", "text")
    let file = try bench.inode("aaa/file")
    let handle = try bench.tree.open(file, OpenMode(reads: true, writes: true), bench.context).handle
    bench.account.change { $0.buckets["aaa"] = nil }
    bench.clock.advance(seconds: 10)
    #expect(try bench.names("").isEmpty)
    try [UInt8](repeating: 1, count: 3).withUnsafeBytes {
      try bench.tree.write(handle, offset: 0, $0, bench.context)
    }
    try bench.tree.flush(handle, bench.context)
    bench.tree.release(handle)
    let bucket = try #require(bench.bucket("aaa"))
    let stored = try bucket.memory.get(GetRequest(ObjectKey("file"))).bytes
    #expect(stored == [1, 1, 1, UInt8(ascii: "t")])
  }

  @Test func knownBucketsGoOnWhileTheListCannotBeHad() throws {
    let bench = try Bench(FakeAccount("aaa"))
    try bench.write("aaa/file", "text")
    bench.account.change { $0.failure = .ioError }
    for _ in 0..<5 {
      bench.clock.advance(seconds: 60)
      #expect(try bench.read("aaa/file") == "text")
      #expect(try bench.names("").map(\.name.string) == ["aaa"])
    }
    // Nobody knows whether there is another: that is not the same as that there is none.
    #expect(failure { _ = try bench.inode("bbb") } == .ioError)
    #expect(failure { _ = try bench.tree.makeDirectory(.root, FileName("bbb"), mode: 0, bench.context) } == .ioError)
  }

  @Test func whileTheServiceIsSilentKnownBucketsGoOn() throws {
    let bench = try Bench(FakeAccount("aaa"))
    try bench.write("aaa/file", "text")
    let (isAsked, mayAnswer) = (Semaphore(), Semaphore())
    bench.account.change { state in
      state.meanwhile = {
        isAsked.signal()
        mayAnswer.wait()
      }
    }
    bench.clock.advance(seconds: 10)
    let silent = Thread.start(name: "test") { _ = try? bench.inode("bbb") }
    isAsked.wait()
    for _ in 0..<50 { #expect(try bench.read("aaa/file") == "text") }
    #expect(try bench.tree.statistics(.root, bench.context).files > 0)
    // They have not waited until the service was given up.
    #expect(bench.tree.list.view.problem == nil && bench.account.questions == 2)
    mayAnswer.signal()
    silent?.join()
    #expect(try bench.inode("aaa") == Slot(number: 1).directory)
  }

  @Test func whoReadsTheRootSlowlyIsNotToldWhatIsGone() throws {
    let bench = try Bench(FakeAccount("aaa", "bbb"))
    let handle = try bench.tree.openDirectory(.root, bench.context)
    defer { bench.tree.releaseDirectory(handle) }
    bench.clock.advance(seconds: 4)
    bench.tree.list.removed(FileName("aaa"))
    var entries: [String: EntryReply?] = [:]
    try bench.tree.readDirectory(handle, offset: 2, plus: true, bench.context) { entry in
      entries[entry.name.string] = .some(entry.entry)
      return true
    }
    #expect(entries.keys.sorted() == ["aaa", "bbb"] && entries["aaa"] == .some(nil))
    let lifetime = try #require(entries["bbb"]??.lifetime)
    #expect(lifetime > 5 && lifetime <= 6)
  }

  @Test func whoGivesUpIsToldNothing() throws {
    let bench = try Bench(FakeAccount("aaa"))
    let cancellation = Cancellation()
    let mayAnswer = Semaphore()
    bench.account.change { state in
      state.meanwhile = {
        cancellation.cancel()
        mayAnswer.wait()
      }
    }
    bench.clock.advance(seconds: 10)
    let context = CallContext(uid: 0, gid: 0, cancellation: cancellation)
    #expect(failure { _ = try bench.tree.lookup(.root, FileName("bbb"), context) } == .interrupted)
    mayAnswer.signal()
  }

  @Test func statisticsAreTheSumAndEachBucketsOwn() throws {
    let bench = try Bench(FakeAccount("aaa", "bbb"))
    let root = try bench.tree.statistics(.root, bench.context)
    #expect((root.blocks - root.freeBlocks) * root.blockSize == 20_480 && root.files - root.freeFiles == 6)
    let one = try bench.tree.statistics(try bench.inode("aaa"), bench.context)
    #expect(one.blocks - one.freeBlocks == 3 && one.files - one.freeFiles == 3)
    try bench.write("bbb/file", "x")
    let below = try bench.tree.statistics(try bench.inode("bbb/file"), bench.context)
    #expect(below == one)
    bench.account.change { $0.buckets["aaa"]?.sizeBytes = .max }
    bench.account.change { $0.buckets["aaa"]?.objectCount = .max }
    bench.clock.advance(seconds: 10)
    #expect(try bench.tree.statistics(.root, bench.context).freeBlocks == root.freeBlocks)
  }

  @Test func whoLooksWhetherTheMountAnswersAsksNobodyElse() throws {
    let bench = try Bench(FakeAccount("aaa"), lifetime: 0)
    var context = bench.context
    context.isOwn = true
    let before = bench.account.questions
    #expect(try bench.tree.statistics(.root, context).files > 0)
    #expect(bench.account.questions == before)
    _ = try bench.tree.statistics(.root, bench.context)
    #expect(bench.account.questions == before + 1)
  }

  @Test func extendedAttributesSayWhatTheListSays() throws {
    let bench = try Bench(FakeAccount("aaa"))
    let inode = try bench.inode("aaa")
    let expected = [
      "user.waysfs.region": "no-oslo-1", "user.waysfs.created_at": "2023-11-14T22:13:20Z",
      "user.waysfs.object_count": "3", "user.waysfs.size_bytes": "10000", "user.waysfs.is_public": "false",
    ]
    #expect(try Set(bench.tree.extendedAttributes(inode, bench.context)) == Set(expected.keys))
    for (name, value) in expected {
      #expect(try bench.tree.extendedAttribute(inode, name, bench.context) == value)
    }
    #expect(failure { _ = try bench.tree.extendedAttribute(inode, "user.waysfs.tier", bench.context) } == .noData)
    let made = try bench.tree.makeDirectory(.root, FileName("bbb"), mode: 0o755, bench.context)
    let tier = try bench.tree.extendedAttribute(try #require(made.inode), "user.waysfs.tier", bench.context)
    #expect(tier == "enterprise")
    try bench.write("aaa/file", "x")
    // Those of a file are its bucket's business.
    let state = try bench.tree.extendedAttribute(try bench.inode("aaa/file"), "user.waysfs.state", bench.context)
    #expect(state == "clean")
    for path in ["", "aaa/file"] {
      #expect(try bench.tree.extendedAttributes(try bench.inode(path), bench.context).isEmpty)
    }
  }

  @Test func whatTheListLeavesOutIsAskedForOnceInALifetime() throws {
    let account = FakeAccount("aaa")
    account.change { state in
      var bare = AccountBucket(name: "aaa")
      bare.objectCount = 7
      state.buckets["aaa"] = bare
      state.details["aaa"] = FakeAccount.bucket("aaa")
    }
    let bench = try Bench(account)
    let inode = try bench.inode("aaa")
    for _ in 0..<3 {
      #expect(try bench.tree.extendedAttribute(inode, "user.waysfs.region", bench.context) == "no-oslo-1")
      // The list is newer.
      #expect(try bench.tree.extendedAttribute(inode, "user.waysfs.object_count", bench.context) == "7")
    }
    #expect(account.state.withLock { $0.detailQuestions } == 1)
    bench.clock.advance(seconds: 10)
    // Nobody answers: what was said stays.
    account.change { $0.failure = .ioError }
    #expect(try bench.tree.extendedAttribute(inode, "user.waysfs.is_public", bench.context) == "false")
    #expect(account.state.withLock { $0.detailQuestions } == 2)
  }
}
