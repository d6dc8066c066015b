import Filesystem
import Glibc
import SystemPackage
import Testing

@testable import FuseSession

@Suite(.serialized) struct OperationsTests {
  @Test func filesAreWrittenAndReadBack() throws {
    let filesystem = FakeFilesystem()
    try withMount(filesystem) { mount in
      try writeText(mount.at("file"), "hello")
      #expect(try readText(mount.at("file")) == "hello")
      try writeText(mount.at("file"), " world", flags: O_APPEND)
      #expect(try readText(mount.at("file")) == "hello world")
    }
  }
}
