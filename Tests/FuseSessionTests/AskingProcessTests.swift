import CFuse
import FuseSession
import Glibc
import SystemPackage
import Testing

/// Who asks a mount whether it answers.
@Suite struct AskingProcessTests {
  /// Those of this thread; others of the test program may have their own.
  private static func children() throws -> Set<Int32> {
    let text = try readText("/proc/thread-self/children")
    return Set(text.split(separator: " ").compactMap { Int32($0) })
  }

  @Test func itLeavesNothingBehind() throws {
    try withMount(FakeFilesystem()) { (mount) throws in
      let before = try Self.children()
      do {
        let asker = AskingProcess(mountpoint: mount.path)
        #expect(asker.ask() == .answered)
        #expect(try Self.children().subtracting(before).count == 1)
      }
      // Not even one that nobody has waited for.
      #expect(try Self.children().subtracting(before).isEmpty)
    }
  }

  @Test func oneThatWasKilledIsReplaced() throws {
    try withMount(FakeFilesystem()) { (mount) throws in
      let before = try Self.children()
      let asker = AskingProcess(mountpoint: mount.path)
      for _ in 0..<3 {
        #expect(asker.ask() == .answered)
        for child in try Self.children().subtracting(before) { kill(child, SIGKILL) }
      }
    }
  }

  @Test func anAnswerThatDoesNotComeIsGivenUp() throws {
    let (inside, gate) = (Signal(), Signal())
    var hooks = FakeFilesystem.Hooks(lifetime: 0)
    hooks.lookup = { (_, _) throws(Errno) in
      inside.set()
      _ = gate.wait(seconds: 3 * patience)
    }
    let filesystem = FakeFilesystem(hooks)
    try withMount(filesystem, adjusting: { $0.workerThreads = 1 }) { (mount) throws in
      let path = mount.path
      let client = try startThread { _ = try? status("\(path)/absent") }
      #expect(inside.wait())
      let asker = AskingProcess(mountpoint: path)
      #expect(asker.ask(within: 0.05) == .silent)
      #expect(asker.ask(within: 0.05) == .notAsked)
      gate.set()
      pthread_join(client, nil)
    }
  }

  @Test func whereThereIsNothingAnErrorComesBack() {
    let asker = AskingProcess(mountpoint: "/nowhere/at/all")
    #expect(asker.ask() == .failed(.noSuchFileOrDirectory))
  }
}
