import FuseSession
import Glibc
import Testing

@testable import waysfs

struct MountPathTests {
  private let nothing: MountTable

  init() throws {
    var table = try MountTable.current()
    table.entries = []
    nothing = table
  }

  private func table(_ mountpoints: String...) throws -> MountTable {
    var table = try MountTable.current()
    var entry = try #require(table.entries.first)
    table.entries = mountpoints.map {
      entry.mountpoint = $0
      return entry
    }
    return table
  }

  @Test func resolvesWhatIsThere() throws {
    let directory = try TemporaryDirectory()
    let path = directory.path
    mkdir("\(path)/real", 0o700)
    mkdir("\(path)/real/sub", 0o700)
    symlink("real", "\(path)/link")
    symlink("\(path)/link", "\(path)/link2")
    for (written, resolved) in [
      ("\(path)/real", "\(path)/real"), ("\(path)//real/", "\(path)/real"), ("\(path)/./real/.", "\(path)/real"),
      ("real", "\(path)/real"), ("./real", "\(path)/real"), (".", path), ("\(path)/link", "\(path)/real"),
      ("\(path)/link2", "\(path)/real"), ("\(path)/link/sub", "\(path)/real/sub"), ("real/sub/..", "\(path)/real"),
      ("real/..", path), ("\(path)/none", "\(path)/none"), ("/", "/"), ("//", "/"),
    ] {
      #expect(try MountPath.resolve(written, workingDirectory: path, mounts: nothing) == resolved, "\(written)")
    }
  }

  @Test func doesNotFollowWhatIsMounted() throws {
    let directory = try TemporaryDirectory()
    symlink("elsewhere", "\(directory.path)/point")
    let mounted = try table("\(directory.path)/point")
    #expect(
      try MountPath.resolve("point", workingDirectory: directory.path, mounts: mounted) == "\(directory.path)/point")
  }

  @Test func refuses() throws {
    let directory = try TemporaryDirectory()
    symlink("loop", "\(directory.path)/loop")
    for path in ["", "loop", "none/x", "loop/x"] {
      #expect(throws: Failure.self) {
        try MountPath.resolve(path, workingDirectory: directory.path, mounts: nothing)
      }
    }
  }
}
