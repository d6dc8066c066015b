import Filesystem
import Glibc
import SystemPackage
import Testing

@testable import FuseSession

@Suite(.serialized) struct KernelCacheTests {
  @Test func namesAndAttributesAreRememberedForTheirLifetime() throws {
    let filesystem = FakeFilesystem()
    filesystem.add("file")
    try withMount(filesystem) { (mount) throws in
      for _ in 0..<10 { _ = try status(mount.at("file")) }
      #expect(filesystem.counts.lookups == 1)
      // That of the root directory.
      #expect(filesystem.counts.getAttributes <= 1)
    }
  }

  @Test(arguments: [0.0, -1, .nan, -.infinity]) func aLifetimeOfNothingIsAskedEachTime(lifetime: Double) throws {
    let filesystem = FakeFilesystem(.init(lifetime: lifetime))
    filesystem.add("file")
    try withMount(filesystem) { (mount) throws in
      for _ in 0..<10 { _ = try status(mount.at("file")) }
      #expect(filesystem.counts.lookups == 10)
    }
  }

  @Test func anEndlessLifetimeIsALongOne() throws {
    let filesystem = FakeFilesystem(.init(lifetime: .infinity))
    filesystem.add("file")
    try withMount(filesystem) { (mount) throws in
      for _ in 0..<10 { _ = try status(mount.at("file")) }
      #expect(filesystem.counts.lookups == 1)
    }
  }

  @Test(arguments: [true, false]) func absentNamesAreRememberedOnlyWhereToldSo(negative: Bool) throws {
    let filesystem = FakeFilesystem(.init(negativeEntries: negative))
    try withMount(filesystem) { (mount) throws in
      for _ in 0..<10 { #expect(errorOf { _ = try status(mount.at("nothing")) } == .noSuchFileOrDirectory) }
      #expect(filesystem.counts.lookups == (negative ? 1 : 10))
    }
  }

  @Test func aNameIsForgottenOnDemand() throws {
    let filesystem = FakeFilesystem(.init(negativeEntries: true))
    try withMount(filesystem) { (mount) throws in
      #expect(errorOf { _ = try status(mount.at("file")) } == .noSuchFileOrDirectory)
      filesystem.add("file")
      #expect(errorOf { _ = try status(mount.at("file")) } == .noSuchFileOrDirectory)
      mount.session.kernelCache.invalidate(FileName("file"), in: .root)
      #expect(eventually { (try? status(mount.at("file"))) != nil })
    }
  }

  @Test func pagesAndAttributesAreForgottenOnDemand() throws {
    let filesystem = FakeFilesystem()
    let inode = filesystem.add("file", Array("old".utf8))
    try withMount(filesystem) { (mount) throws in
      let file = try openFile(mount.at("file"))
      defer { try? file.close() }
      func content() -> String? {
        var buffer = [UInt8](repeating: 0, count: 10)
        guard let count = try? buffer.withUnsafeMutableBytes({ try file.read(fromAbsoluteOffset: 0, into: $0) }) else {
          return nil
        }
        return String(decoding: buffer[..<count], as: UTF8.self)
      }
      #expect(content() == "old")
      filesystem.state.withLock {
        $0.nodes[inode]?.content = Array("newer".utf8)
        $0.nodes[inode]?.attributes.size = 5
      }
      #expect(content() == "old")
      mount.session.kernelCache.invalidate(inode)
      #expect(eventually { content() == "newer" })
    }
  }

  /// What a write changes in the mode counts for whoever comes right behind it: a write alone makes the kernel ask for
  /// length and times again, not for that.
  @Test func attributesAreForgottenBeforeTheRequestIsAnswered() throws {
    let box = CacheBox()
    let filesystem = FakeFilesystem(
      .init(written: { inode in
        box.change?(inode)
        box.cache?.invalidateAttributes(inode)
      }))
    box.change = { [unowned filesystem] inode in
      filesystem.state.withLock { $0.nodes[inode]?.attributes.mode = S_IFREG | 0o644 }
    }
    filesystem.add("program", mode: S_IFREG | 0o755)
    try withMount(filesystem) { (mount) throws in
      box.cache = mount.session.kernelCache
      let path = mount.at("program")
      #expect(access(path, X_OK) == 0)
      let file = try openFile(path, O_WRONLY)
      _ = try file.writeAll([1])
      #expect(access(path, X_OK) != 0)
      try file.close()
    }
  }

  @Test func invalidationsFromARequestDoNotDeadlock() throws {
    // The lookup tells the kernel to forget the very name it is asked for, while the directory is busy with it.
    let box = CacheBox()
    var hooks = FakeFilesystem.Hooks(lifetime: 0)
    hooks.lookup = { (name, _) throws(Errno) in
      for _ in 0..<50 {
        box.cache?.invalidate(name, in: .root)
        box.cache?.invalidate(.root)
      }
    }
    let filesystem = FakeFilesystem(hooks)
    filesystem.add("file")
    try withMount(filesystem) { (mount) throws in
      box.cache = mount.session.kernelCache
      for _ in 0..<20 { _ = try status(mount.at("file")) }
    }
  }

  @Test func unknownInodesAndNamesAreNoError() throws {
    let filesystem = FakeFilesystem()
    try withMount(filesystem) { (mount) throws in
      let cache = mount.session.kernelCache
      cache.invalidate(InodeID(999))
      cache.invalidate(FileName("nothing"), in: InodeID(999))
      cache.invalidate(FileName(""), in: .root)
      cache.invalidate(FileName(String(repeating: "x", count: 5000)), in: .root)
      #expect(errorOf { _ = try status(mount.at("nothing")) } == .noSuchFileOrDirectory)
    }
  }

  @Test func everyLookupIsGivenBack() throws {
    let filesystem = FakeFilesystem(.init(lifetime: 0))
    let inode = filesystem.add("file", Array("x".utf8))
    try withMount(filesystem) { (mount) throws in
      for _ in 0..<10 { _ = try status(mount.at("file")) }
      for _ in 0..<3 { _ = try names(mount.path) }
      #expect((filesystem.lookups(inode) ?? 0) >= 10)
      // With its last name gone the kernel lets go of it.
      try check(unlink(mount.at("file")))
      #expect(eventually { filesystem.lookups(inode) == 0 })
    }
  }

  @Test func aLookupNobodyWaitsForIsGivenBack() throws {
    let inside = Signal()
    var hooks = FakeFilesystem.Hooks()
    let gate = Signal()
    hooks.lookup = { (_, _) throws(Errno) in
      inside.set()
      _ = gate.wait(seconds: 3 * patience)
    }
    let filesystem = FakeFilesystem(hooks)
    let inode = filesystem.add("file")
    try withMount(filesystem) { (mount) throws in
      let path = mount.at("file")
      let client = try startThread { _ = try? status(path) }
      #expect(inside.wait())
      // Breaks the connection: the call fails, and the reply finds nobody.
      umount2(mount.path, Int32(MNT_FORCE | MNT_DETACH))
      pthread_join(client, nil)
      gate.set()
      #expect(mount.ended.wait())
      #expect(filesystem.counts.lookups == 1)
      #expect(filesystem.lookups(inode) == 0)
    }
  }

  @Test func anOpenAndACreateNobodyWaitsForAreTakenBack() throws {
    let inside = Meeting(of: 3)
    let gate = Signal()
    let wait: @Sendable (CallContext) throws(Errno) -> Void = { (_) throws(Errno) in
      guard inside.join(), gate.wait(seconds: 3 * patience) else { throw .timedOut }
    }
    let filesystem = FakeFilesystem(.init(open: wait, create: wait))
    filesystem.add("old")
    try withMount(filesystem) { (mount) throws in
      let (old, new) = (mount.at("old"), mount.at("new"))
      // Known, so that the open does not wait for the directory, which the create holds.
      _ = try status(old)
      let clients = [
        try startThread { _ = try? openFile(old) },
        try startThread { _ = try? openFile(new, O_CREAT | O_WRONLY) },
      ]
      #expect(inside.join())
      umount2(mount.path, Int32(MNT_FORCE | MNT_DETACH))
      for client in clients { pthread_join(client, nil) }
      gate.set()
      #expect(mount.ended.wait())
      #expect(filesystem.counts.openModes.count == 2)
      #expect(filesystem.counts.releases == 2)
      #expect(filesystem.inode("new").flatMap { filesystem.lookups($0) } == 0)
    }
  }
}

final class CacheBox: @unchecked Sendable {
  // Written once, before the calls that read it.
  var cache: (any KernelCache)?
  var change: (@Sendable (InodeID) -> Void)?
}

/// Whether something that another thread brings about comes true before a deadline.
func eventually(_ condition: () -> Bool) -> Bool {
  var deadline = timespec()
  clock_gettime(CLOCK_MONOTONIC, &deadline)
  let end = deadline.tv_sec + patience
  while !condition() {
    clock_gettime(CLOCK_MONOTONIC, &deadline)
    if deadline.tv_sec > end { return false }
    sched_yield()
  }
  return true
}
