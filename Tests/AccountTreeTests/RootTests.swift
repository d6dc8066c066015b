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

  @Test func aBucketIsOpenedWhenItIsFirstUsed() throws {
    let bench = try Bench(FakeAccount("aaa", "bbb"))
    try bench.write("bbb/file", "x")
    #expect(bench.opened.names == ["bbb"])
    _ = try bench.names("aaa")
    _ = try bench.names("bbb")
    #expect(bench.opened.names == ["bbb", "aaa"])
  }

  @Test func aBucketIsOpenedOnceByManyThreads() throws {
    let bench = try Bench(FakeAccount("aaa"))
    let threads = (0..<8).compactMap { _ in
      Thread.start(name: "test") { _ = try? bench.names("aaa") }
    }
    #expect(threads.count == 8)
    for thread in threads { thread.join() }
    #expect(bench.opened.names == ["aaa"])
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
    bench.account.change { $0.buckets["bbb"] = FakeAccount.bucket("bbb") }
    #expect(failure { _ = try bench.tree.makeDirectory(.root, FileName("bbb"), mode: 0, bench.context) } == .fileExists)
    #expect(try bench.names("").map(\.name.string) == ["aaa", "bbb"])
    bench.account.change { $0.buckets["aaa"] = nil }
    #expect(failure { try bench.tree.removeDirectory(.root, FileName("aaa"), bench.context) } == .noSuchFileOrDirectory)
    #expect(failure { _ = try bench.inode("aaa") } == .noSuchFileOrDirectory)
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

/// Two buckets at once.
@Suite struct TwoBucketTests {
  @Test func theSameNamesDoNotMix() throws {
    let bench = try Bench(FakeAccount("aaa", "bbb"))
    for bucket in ["aaa", "bbb"] {
      try bench.write("\(bucket)/file", "of \(bucket)")
      _ = try bench.tree.makeDirectory(try bench.inode(bucket), FileName("folder"), mode: 0o755, bench.context)
      try bench.write("\(bucket)/folder/file", "below \(bucket)")
    }
    for bucket in ["aaa", "bbb"] {
      #expect(try bench.read("\(bucket)/file") == "of \(bucket)")
      #expect(try bench.read("\(bucket)/folder/file") == "below \(bucket)")
      #expect(try bench.names(bucket).map(\.name.string).sorted() == ["file", "folder"])
      let open = try #require(bench.bucket(bucket))
      #expect(try open.memory.get(GetRequest(ObjectKey("file"))).bytes == Array("of \(bucket)".utf8))
    }
    let numbers = try ["aaa", "bbb"].flatMap { bucket in
      try ["", "/file", "/folder", "/folder/file"].map { try bench.stat(bucket + $0).fileNumber }
    }
    #expect(Set(numbers).count == numbers.count)
    for plus in [false, true] {
      let shown = try bench.names("bbb/folder", plus: plus)
      #expect(try shown.map(\.fileNumber) == [bench.stat("bbb/folder/file").fileNumber])
      if plus { #expect(try shown.first?.entry?.inode == bench.inode("bbb/folder/file")) }
    }
  }

  @Test func handlesLeadToTheirBucket() throws {
    let bench = try Bench(FakeAccount("aaa", "bbb"))
    try bench.write("aaa/file", "a")
    try bench.write("bbb/file", "b")
    let mode = OpenMode(reads: true, writes: true)
    let first = try bench.tree.open(try bench.inode("aaa/file"), mode, bench.context).handle
    let second = try bench.tree.open(try bench.inode("bbb/file"), mode, bench.context).handle
    #expect(first != second)
    try Array("B".utf8).withUnsafeBytes { try bench.tree.write(second, offset: 0, $0, bench.context) }
    // A handle of one bucket says nothing of another's inode.
    #expect(
      failure { _ = try bench.tree.getAttributes(try bench.inode("aaa/file"), second, bench.context) }
        == .badFileDescriptor)
    for handle in [first, second] {
      try bench.tree.sync(handle, bench.context)
      try bench.tree.flush(handle, bench.context)
      bench.tree.release(handle)
    }
    #expect(try bench.read("aaa/file") == "a" && bench.read("bbb/file") == "B")
    #expect(failure { try bench.tree.flush(first, bench.context) } == .badFileDescriptor)
    #expect(failure { try bench.tree.flush(HandleID(9 << 48), bench.context) } == .staleNFSFileHandle)
  }

  @Test func lookupsAreGivenBackWhereTheyBelong() throws {
    let bench = try Bench(FakeAccount("aaa", "bbb"))
    try bench.write("aaa/file", "a")
    let inode = try bench.inode("aaa/file")
    bench.tree.forget(try bench.inode("aaa"), count: 5)
    bench.tree.forget(.root, count: 5)
    #expect(try bench.tree.getAttributes(inode, nil, bench.context).attributes.size == 1)
    bench.tree.forget(inode, count: 1000)
    #expect(failure { _ = try bench.tree.getAttributes(inode, nil, bench.context) } == .staleNFSFileHandle)
  }

  @Test func fsyncOfTheRootTakesInEveryOpenBucket() throws {
    let bench = try Bench(FakeAccount("aaa", "bbb", "ccc"))
    var handles: [HandleID] = []
    for bucket in ["aaa", "bbb"] {
      let made = try bench.tree.create(
        try bench.inode(bucket), FileName("file"), permissions: 0o644, OpenMode(reads: true, writes: true),
        bench.context)
      try [1, 2].withUnsafeBytes { try bench.tree.write(made.open.handle, offset: 0, $0, bench.context) }
      handles.append(made.open.handle)
    }
    let root = try bench.tree.openDirectory(.root, bench.context)
    try bench.tree.syncDirectory(root, bench.context)
    bench.tree.releaseDirectory(root)
    #expect(bench.opened.names.sorted() == ["aaa", "bbb"])
    for handle in handles {
      try bench.tree.flush(handle, bench.context)
      bench.tree.release(handle)
    }
  }

  @Test func fsyncOfTheRootTakesInWhatAnEarlierMountLeft() throws {
    let bench = try Bench(FakeAccount("aaa", "bbb"), unsent: ["bbb"])
    let root = try bench.tree.openDirectory(.root, bench.context)
    defer { bench.tree.releaseDirectory(root) }
    try bench.tree.syncDirectory(root, bench.context)
    #expect(bench.opened.names == ["bbb"])
    // What cannot be opened cannot be sent.
    let other = try Bench(FakeAccount("aaa"), unsent: ["no/bucket"])
    let handle = try other.tree.openDirectory(.root, other.context)
    #expect(failure { try other.tree.syncDirectory(handle, other.context) } == .ioError)
    other.tree.releaseDirectory(handle)
  }

  @Test func theKernelIsToldInItsOwnNumbers() {
    let kernel = FakeKernel()
    let cache = BranchKernelCache(slot: Slot(number: 3), kernel: kernel)
    cache.invalidate(InodeID(7))
    cache.invalidateAttributes(InodeID(8))
    cache.invalidate(FileName("x"), in: .root)
    #expect(kernel.inodes == [InodeID(3 << 48 | 7)] && kernel.attributes == [InodeID(3 << 48 | 8)])
    #expect(kernel.names == ["\(3 << 48 | 1)/x"])
    cache.invalidate(InodeID(1 << 50))
    #expect(kernel.inodes.count == 1)
  }
}
