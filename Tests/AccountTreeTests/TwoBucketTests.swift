import Basics
import Filesystem
import ObjectStore
import SystemPackage
import Testing

@testable import AccountTree

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
