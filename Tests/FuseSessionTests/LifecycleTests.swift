import CFuse
import Filesystem
import Glibc
import Synchronization
import SystemPackage
import Testing

@testable import FuseSession

@Suite(.serialized) struct LifecycleTests {
  @Test func theMountTableShowsWhatIsMounted() throws {
    try withMount(
      FakeFilesystem(),
      adjusting: {
        $0.source = "waysfs:bucket/a,b\\c d\n"
        $0.fuseOptions = ["noatime", "noexec"]
      }
    ) { (mount) throws in
      let entry = try #require(try MountTable.current().top(at: mount.path))
      #expect(entry.source == "waysfs:bucket/a,b\\c d\n")
      #expect(entry.type == "fuse.waysfs")
      let line = try #require(
        String(decoding: readWholeFile("/proc/self/mountinfo"), as: UTF8.self).split(separator: "\n")
          .last { $0.contains(" \(mount.path) ") })
      for option in ["noatime", "noexec", "nosuid", "nodev", "default_permissions"] { #expect(line.contains(option)) }
      #expect(!line.contains("max_read="))
    }
  }

  @Test func readAheadIsRaised() throws {
    try withMount(FakeFilesystem(), adjusting: { $0.maxReadAheadKiB = 768 }) { (mount) throws in
      let entry = try #require(try MountTable.current().top(at: mount.path))
      let size = String(decoding: try readWholeFile("/sys/class/bdi/\(entry.device)/read_ahead_kb"), as: UTF8.self)
      // Only root may raise it; others have the kernel's default.
      #expect(size == (geteuid() == 0 ? "768\n" : "128\n"))
    }
  }

  @Test func aReadOnlyMountRefusesChanges() throws {
    let filesystem = FakeFilesystem()
    filesystem.add("file")
    try withMount(filesystem, adjusting: { $0.readOnly = true }) { (mount) throws in
      #expect(errorOf { try writeText(mount.at("file"), "x") } == .readOnlyFileSystem)
      #expect(errorOf(mkdir(mount.at("directory"), 0o755)) == .readOnlyFileSystem)
      #expect(try readText(mount.at("file")) == "")
    }
  }

  @Test func unmountingFromOutsideEndsTheSession() throws {
    try withMount(FakeFilesystem()) { (mount) throws in
      let result = try runProgram(["umount", mount.path])
      #expect(result.status == 0)
      #expect(mount.ended.wait())
      #expect(mount.result.withLock { $0 } == nil)
      #expect(throws: FuseSessionError.self) { try mount.session.unmount() }
    }
  }

  @Test func aBusyMountIsUnmountedOnlyLazily() throws {
    let filesystem = FakeFilesystem()
    filesystem.add("file", Array("content".utf8))
    try withMount(filesystem) { (mount) throws in
      let file = try openFile(mount.at("file"))
      let busy = #expect(throws: FuseSessionError.self) { try mount.session.unmount() }
      #expect(busy?.code == .busy)
      try mount.session.unmount(lazy: true)
      #expect(!mount.ended.isSet)
      var buffer = [UInt8](repeating: 0, count: 7)
      #expect(try buffer.withUnsafeMutableBytes { try file.read(into: $0) } == 7)
      try file.close()
      #expect(mount.ended.wait())
    }
    // The flush is certain; the release is sent in the background, and the kernel may drop it when it unmounts.
    // (One more for each process that other tests have forked meanwhile: it has the file open for a moment.)
    #expect(filesystem.counts.flushes >= 1)
  }

  @Test func stopEndsABusySession() throws {
    let filesystem = FakeFilesystem()
    filesystem.add("file")
    try withMount(filesystem) { (mount) throws in
      let file = try openFile(mount.at("file"))
      mount.session.stop()
      #expect(mount.ended.wait())
      // Nobody answers any more; a caller must not wait for it.
      #expect(errorOf { _ = try file.writeAll("x".utf8) } != nil)
      _ = errorOf { try file.close() }
      #expect(mount.result.withLock { $0 } == nil)
      #expect(try MountTable.current().top(at: mount.path) == nil)
      mount.session.stop()
    }
  }

  @Test func stopFromARequestLetsItFinish() throws {
    let session = Mutex<FuseSession?>(nil)
    var hooks = FakeFilesystem.Hooks()
    hooks.unlink = { (_, _) throws(Errno) in session.withLock { $0 }?.stop() }
    let filesystem = FakeFilesystem(hooks)
    filesystem.add("file")
    try withMount(filesystem) { (mount) throws in
      session.withLock { $0 = mount.session }
      try check(unlink(mount.at("file")))
      #expect(mount.ended.wait())
      session.withLock { $0 = nil }
    }
  }

  @Test func aSessionThatNeverRanLeavesNothingMounted() throws {
    let path = try makeTemporaryDirectory()
    defer { rmdir(path) }
    do {
      let session = try FuseSession(
        options: MountOptions(mountpoint: path, source: "x"), operations: FakeFilesystem(), log: quietLog)
      #expect(throws: FuseSessionError.self) { try session.run() }
      try session.mount()
      #expect(try MountTable.current().top(at: path) != nil)
      #expect(throws: FuseSessionError.self) { try session.mount() }
    }
    #expect(try MountTable.current().top(at: path) == nil)
  }

  @Test func aSessionThatIsUnmountedBeforeItRunsEndsAtOnce() throws {
    let path = try makeTemporaryDirectory()
    defer { rmdir(path) }
    let session = try FuseSession(
      options: MountOptions(mountpoint: path, source: "x"), operations: FakeFilesystem(), log: quietLog)
    try session.mount()
    try session.unmount()
    try session.run { Issue.record("it must not become ready") }
  }

  @Test func aSessionThatIsStoppedBeforeItRunsEndsAtOnce() throws {
    let path = try makeTemporaryDirectory()
    defer { rmdir(path) }
    let session = try FuseSession(
      options: MountOptions(mountpoint: path, source: "x"), operations: FakeFilesystem(), log: quietLog)
    session.stop()
    try session.mount()
    try session.run { Issue.record("it must not become ready") }
    #expect(try MountTable.current().top(at: path) == nil)
  }

  @Test func theFilesystemIsLetGoOfThoughItKnowsTheKernelCache() throws {
    weak var gone: FakeFilesystem?
    do {
      let box = CacheBox()
      var hooks = FakeFilesystem.Hooks()
      hooks.lookup = { (name, _) throws(Errno) in box.cache?.invalidate(name, in: .root) }
      let filesystem = FakeFilesystem(hooks)
      gone = filesystem
      try withMount(filesystem) { (mount) throws in
        box.cache = mount.session.kernelCache
        _ = try? status(mount.at("nothing"))
      }
    }
    #expect(eventually { gone == nil })
  }

  @Test func descriptorsAreGivenBack() throws {
    func descriptors() throws -> Int { try names("/proc/self/fd").count }
    let filesystem = FakeFilesystem()
    try withMount(filesystem) { _ in }
    let before = try descriptors()
    // Tests that run beside this one open and close some, too, but not as many.
    let rounds = 50
    for _ in 0..<rounds { try withMount(filesystem) { (mount) throws in _ = try status(mount.path) } }
    #expect(eventually { (try? descriptors()).map { $0 < before + rounds } ?? false })
  }

  @Test func theKernelAgreedToWhatIsAskedFor() throws {
    try withMount(FakeFilesystem()) { (mount) throws in
      let flags = waysfs_session_init_flags(mount.session.connection.raw)
      let asyncRead: UInt64 = 1 << 0
      let atomicTruncate: UInt64 = 1 << 3
      let exportSupport: UInt64 = 1 << 4
      let autoInvalidate: UInt64 = 1 << 12
      let readDirectoryPlusAuto: UInt64 = 1 << 14
      let writebackCache: UInt64 = 1 << 16
      for wanted in [
        asyncRead, atomicTruncate, autoInvalidate, readDirectoryPlusAuto, WAYSFS_INIT_PARALLEL_DIROPS,
        WAYSFS_INIT_DIRECT_IO_ALLOW_MMAP, WAYSFS_INIT_HANDLE_KILLPRIV_V2,
      ] {
        #expect(flags & wanted != 0)
      }
      #expect(flags & (exportSupport | writebackCache) == 0)
    }
  }
}
