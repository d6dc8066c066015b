import CFuse
import Filesystem
import Glibc
import Synchronization
import SystemPackage
import Testing

@testable import FuseSession

/// Files that the kernel reads by itself: from Linux 6.9 and for root; elsewhere opens must go on as usual.
@Suite(.serialized) struct PassthroughTests {
  /// What the filesystem answers to opens.
  private final class Answer: Sendable {
    private let backing = Mutex<BackingID?>(nil)
    var current: BackingID? { backing.withLock { $0 } }
    func set(_ id: BackingID?) { backing.withLock { $0 = id } }
  }

  private struct Stage {
    let mount: TestMount
    let filesystem: FakeFilesystem
    let answer: Answer
    /// A file that says something else than the filesystem, and as much of it.
    let local: FileDescriptor
    /// Whether this kernel and this user have passthrough.
    var isPossible: Bool {
      waysfs_session_init_flags(mount.session.connection.raw) & WAYSFS_INIT_PASSTHROUGH != 0 && geteuid() == 0
    }
    /// Registers `local`, or finds out that it cannot be.
    func register() throws -> BackingID? {
      do throws(Errno) {
        let id = try mount.session.passthrough.openBacking(local)
        #expect(isPossible)
        return id
      } catch {
        #expect(!isPossible, "\(error)")
        #expect([.notSupported, .notPermitted].contains(error), "\(error)")
        return nil
      }
    }
  }

  private func withStage(asking: Bool = true, _ body: (Stage) throws -> Void) throws {
    let answer = Answer()
    let filesystem = FakeFilesystem(.init(backing: { answer.current }))
    filesystem.add("file", Array("asked for".utf8))
    let directory = try makeTemporaryDirectory()
    let path = "\(directory)/backing"
    defer {
      unlink(path)
      rmdir(directory)
    }
    try writeText(path, "by itself")
    let local = try openFile(path)
    defer { try? local.close() }
    try withMount(filesystem, adjusting: { $0.passthrough = asking }) { (mount) throws in
      try body(Stage(mount: mount, filesystem: filesystem, answer: answer, local: local))
    }
  }

  @Test func theKernelReadsTheFileAndAsksNobody() throws {
    try withStage { (stage) throws in
      guard let id = try stage.register() else {
        #expect(try readText(stage.mount.at("file")) == "asked for")
        return
      }
      stage.answer.set(id)
      #expect(try readText(stage.mount.at("file")) == "by itself")
      #expect(stage.filesystem.counts.reads.isEmpty)
      #expect(eventually { stage.filesystem.counts.releases == 1 })
      stage.mount.session.passthrough.closeBacking(id)
      stage.answer.set(nil)
      #expect(try readText(stage.mount.at("file")) == "asked for")
    }
  }

  /// What `PassthroughTable` has to prevent; the rules are the kernel's.
  @Test func anInodeIsOpenInOneWayAtATime() throws {
    try withStage { (stage) throws in
      guard let id = try stage.register(), let second = try stage.register() else { return }
      let path = stage.mount.at("file")
      stage.answer.set(id)
      let passed = try openFile(path)
      try openFile(path).close()
      stage.answer.set(nil)
      #expect(errorOf { _ = try openFile(path) } == .ioError)
      stage.answer.set(second)
      #expect(errorOf { _ = try openFile(path) } == .ioError)
      // The number may go while the file is open.
      stage.mount.session.passthrough.closeBacking(id)
      var text = [UInt8](repeating: 0, count: 9)
      #expect(try text.withUnsafeMutableBytes { try passed.read(into: $0) } == 9)
      #expect(String(decoding: text, as: UTF8.self) == "by itself")
      try passed.close()
      #expect(eventually { stage.filesystem.counts.releases == 4 })

      stage.answer.set(nil)
      let asked = try openFile(path)
      stage.answer.set(second)
      #expect(errorOf { _ = try openFile(path) } == .ioError)
      try asked.close()
      #expect(eventually { stage.filesystem.counts.releases == 6 })
      #expect(try readText(path) == "by itself")
    }
  }

  @Test func nothingIsPassedThroughUnlessAskedFor() throws {
    try withStage(asking: false) { (stage) throws in
      #expect(errorOf { _ = try stage.mount.session.passthrough.openBacking(stage.local) } == .notSupported)
      #expect(try readText(stage.mount.at("file")) == "asked for")
    }
  }
}
