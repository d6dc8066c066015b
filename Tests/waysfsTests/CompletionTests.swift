import ArgumentParser
import FuseSession
import Testing

@testable import waysfs

struct CompletionTests {
  @Test(arguments: CompletionShell.allCases)
  func scriptsOfferWhatAnOptionTakes(shell: CompletionShell) {
    let script = Waysfs.completionScript(for: shell)
    for spelling in OptionSpelling.all { #expect(script.contains(spelling.name), "\(spelling.name)") }
    for value in ["writeback", "never", "warning"] { #expect(script.contains(value), "\(value)") }
    for command in Waysfs.configuration.subcommands where command.configuration.shouldDisplay {
      #expect(script.contains(command._commandName), "\(command._commandName)")
    }
  }

  @Test func mountPointsAreThoseOfWaysfsAndEachOnce() {
    let table = MountTable(
      parsing: """
        36 1 0:32 / /mnt/b rw - fuse.waysfs waysfs:b rw,user_id=0
        37 1 0:33 / /mnt/a\\040b rw - fuse.waysfs waysfs:a rw,user_id=0
        38 36 0:34 / /mnt/b rw - fuse.waysfs waysfs:c rw,user_id=0
        39 1 0:35 / /mnt/other rw - fuse.s3fs s3fs rw,user_id=0
        """)
    #expect(Completion.mountPoints(table) == ["/mnt/a b", "/mnt/b"])
  }

  @Test func profilesAreThoseOfTheFile() throws {
    let directory = try TemporaryDirectory()
    let path = try directory.file("config", "[default]\n[work]\nregion = x\n[archive]\n")
    #expect(Completion.profiles(context(["WAYSFS_CONFIG": path])) == ["archive", "work"])
    let broken = try directory.file("broken", "[work\n")
    #expect(Completion.profiles(context(["WAYSFS_CONFIG": broken])) == [])
  }

  private func context(_ environment: [String: String]) -> ProcessContext {
    ProcessContext(uid: 1000, gid: 1000, workingDirectory: "/", environment: environment)
  }
}
