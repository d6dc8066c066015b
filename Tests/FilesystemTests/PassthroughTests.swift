import Basics
import BlockCache
import Glibc
import ObjectStore
import Synchronization
import SystemPackage
import Testing

@testable import Filesystem

/// Which opens are passed through to the kernel, and what becomes of those that cannot be.
@Suite struct PassthroughTests {
  private static let content = pattern(1100 << 10)

  /// A bench with `a` in the bucket, whose versions are all whole on this machine.
  private func bench() throws -> (Bench, FakeKernel, FakeCache) {
    let bench = try Bench()
    let (kernel, cache) = (FakeKernel(), FakeCache())
    bench.filesystem.attach(kernel, cache)
    try put(bench, Self.content)
    return (bench, kernel, cache)
  }

  private func put(_ bench: Bench, _ bytes: [UInt8]) throws {
    try bench.memory.put(PutRequest(ObjectKey("a"), body: .bytes(bytes)))
  }

  private func open(_ bench: Bench, _ inode: InodeID, writes: Bool = false, truncates: Bool = false) throws -> OpenReply
  {
    try bench.filesystem.open(inode, OpenMode(reads: true, writes: writes, truncates: truncates), bench.context)
  }

  @Test func readersShareOneBackingUntilTheLastIsGone() throws {
    let (bench, kernel, cache) = try bench()
    let inode = try bench.inode("a")
    let first = try open(bench, inode)
    let second = try open(bench, inode)
    let id = try #require(first.backing)
    #expect(second.backing == id && kernel.open == [id] && cache.held == 1)
    bench.filesystem.release(first.handle)
    #expect(kernel.open == [id] && cache.held == 1)
    bench.filesystem.release(second.handle)
    #expect(kernel.open.isEmpty && cache.held == 0)
  }

  @Test func aWriterGetsAnInodeOfItsOwn() throws {
    let (bench, kernel, cache) = try bench()
    let old = try bench.inode("a")
    let reader = try open(bench, old)
    #expect(reader.backing != nil)
    #expect(failure { _ = try open(bench, old, writes: true) } == .staleNFSFileHandle)
    let new = try bench.inode("a")
    #expect(new != old)
    let writer = try open(bench, new, writes: true)
    #expect(writer.backing == nil)
    // Who reads beside the writer is asked for, as the kernel demands, and sees what is written.
    try bench.write("new".utf8, to: writer.handle)
    let beside = try open(bench, new)
    #expect(beside.backing == nil)
    #expect(try bench.read(beside.handle, count: 3) == Array("new".utf8))
    try bench.close(writer.handle)
    bench.filesystem.release(beside.handle)
    bench.filesystem.release(reader.handle)
    #expect(bench.object("a")?.prefix(3).elementsEqual("new".utf8) == true)
    #expect(kernel.open.isEmpty && cache.held == 0)
  }

  @Test(arguments: [false, true]) func truncatingDoesNotTouchWhatIsRead(byPath: Bool) throws {
    let (bench, _, _) = try bench()
    let old = try bench.inode("a")
    let reader = try open(bench, old)
    var changes = AttributeChanges()
    changes.size = 0
    #expect(
      failure {
        if byPath {
          _ = try bench.filesystem.setAttributes(old, changes, nil, bench.context)
        } else {
          _ = try open(bench, old, writes: true, truncates: true)
        }
      } == .staleNFSFileHandle)
    #expect(bench.object("a") == Self.content)
    let new = try bench.inode("a")
    _ = try bench.filesystem.setAttributes(new, changes, nil, bench.context)
    #expect(bench.object("a") == [])
    // The old inode has the length it was opened with.
    #expect(try bench.filesystem.getAttributes(old, reader.handle, bench.context).attributes.size == 1100 << 10)
    bench.filesystem.release(reader.handle)
  }

  @Test func anotherVersionIsAnotherInode() throws {
    let (bench, kernel, _) = try bench()
    let old = try bench.inode("a")
    let reader = try open(bench, old)
    try put(bench, pattern(1200 << 10, seed: 2))
    bench.clock.advance(seconds: 60)
    #expect(failure { _ = try open(bench, old) } == .staleNFSFileHandle)
    let new = try bench.inode("a")
    #expect(new != old)
    let second = try open(bench, new)
    // Not at once: whoever needed another inode must find it free of backings.
    #expect(second.backing == nil)
    #expect(try bench.read(second.handle, count: 1200 << 10) == pattern(1200 << 10, seed: 2))
    bench.filesystem.release(second.handle)
    bench.clock.advance(seconds: 60)
    let third = try open(bench, try bench.inode("a"))
    #expect(third.backing != nil && third.backing != reader.backing && kernel.open.count == 2)
    bench.filesystem.release(third.handle)
    bench.filesystem.release(reader.handle)
    #expect(kernel.open.isEmpty)
  }

  @Test func aFileThatIsOpenAsUsualStaysSo() throws {
    let (bench, _, cache) = try bench()
    cache.isEmpty = true
    let inode = try bench.inode("a")
    let first = try open(bench, inode)
    cache.isEmpty = false
    let second = try open(bench, inode)
    #expect(first.backing == nil && second.backing == nil)
    bench.filesystem.release(first.handle)
    bench.filesystem.release(second.handle)
    let third = try open(bench, inode)
    #expect(third.backing != nil)
    bench.filesystem.release(third.handle)
  }

  @Test func renamedAndWithOtherAttributesItIsTheSameFile() throws {
    let (bench, kernel, _) = try bench()
    let inode = try bench.inode("a")
    let first = try open(bench, inode)
    try bench.rename("a", to: "b")
    var changes = AttributeChanges()
    changes.mode = 0o600
    _ = try bench.filesystem.setAttributes(inode, changes, nil, bench.context)
    #expect(try bench.inode("b") == inode)
    let second = try open(bench, inode)
    #expect(second.backing == first.backing && kernel.open.count == 1)
    bench.filesystem.release(first.handle)
    bench.filesystem.release(second.handle)
  }

  @Test(arguments: [Errno.notPermitted, .notSupported, .tooManySymbolicLinkLevels])
  func aKernelThatDoesNotWantToIsAskedOnce(error: Errno) throws {
    let (bench, kernel, cache) = try bench()
    kernel.fail(error)
    for _ in 0..<3 {
      let reply = try open(bench, try bench.inode("a"))
      #expect(reply.backing == nil)
      bench.filesystem.release(reply.handle)
    }
    #expect(kernel.asked == 1 && cache.held == 0)
  }

  @Test func smallFilesAreNotWorthIt() throws {
    let (bench, kernel, _) = try bench()
    try bench.put("small", "text")
    let reply = try open(bench, try bench.inode("small"))
    #expect(reply.backing == nil && kernel.asked == 0)
    bench.filesystem.release(reply.handle)
  }

  @Test func opensFromManyThreadsEndWithNothingHeld() throws {
    let (bench, kernel, cache) = try bench()
    let broken = Atomic(0)
    let inode = try bench.inode("a")
    let threads = (0..<8).compactMap { number in
      Thread.start(name: "opener") {
        for step in 0..<200 {
          guard let reply = try? bench.filesystem.open(inode, OpenMode(reads: true, writes: false), bench.context)
          else {
            broken.add(1, ordering: .relaxed)
            continue
          }
          if (number + step) % 3 == 0 { sched_yield() }
          bench.filesystem.release(reply.handle)
        }
      }
    }
    for thread in threads { thread.join() }
    #expect(broken.load(ordering: .relaxed) == 0)
    #expect(kernel.open.isEmpty && cache.held == 0 && kernel.mixed == 0)
  }
}

/// Takes every file, and notes which are known.
private final class FakeKernel: KernelPassthrough {
  private struct State {
    var next: Int32 = 1
    var open: Set<BackingID> = []
    var asked = 0
    var mixed = 0
    var error: Errno?
  }
  private let state = Mutex(State())

  var open: Set<BackingID> { state.withLock { $0.open } }
  var asked: Int { state.withLock { $0.asked } }
  /// Numbers that were given back without being known.
  var mixed: Int { state.withLock { $0.mixed } }
  func fail(_ error: Errno) { state.withLock { $0.error = error } }

  func openBacking(_ file: FileDescriptor) throws(Errno) -> BackingID {
    let result: Result<BackingID, Errno> = state.withLock { state in
      state.asked += 1
      if let error = state.error { return .failure(error) }
      defer { state.next += 1 }
      state.open.insert(BackingID(state.next))
      return .success(BackingID(state.next))
    }
    return try result.get()
  }

  func closeBacking(_ id: BackingID) {
    state.withLock { state in
      if state.open.remove(id) == nil { state.mixed += 1 }
    }
  }
}

/// Has every version, or none, and notes how many files are held.
private final class FakeCache: BackingFileSource {
  private let state = Mutex<(held: Int, isEmpty: Bool)>((0, false))

  var held: Int { state.withLock { $0.held } }
  var isEmpty: Bool {
    get { state.withLock { $0.isEmpty } }
    set { state.withLock { $0.isEmpty = newValue } }
  }

  private final class File: BackingFile {
    let descriptor = FileDescriptor(rawValue: -1)
    let cache: FakeCache
    init(_ cache: FakeCache) { self.cache = cache }
    deinit { cache.state.withLock { $0.held -= 1 } }
  }

  func wholeFile(_ version: ObjectVersion, size: UInt64) -> (any BackingFile)? {
    state.withLock { state in
      guard !state.isEmpty else { return nil }
      state.held += 1
      return File(self)
    }
  }
}
