import Testing

@testable import waysfs

@Suite struct FlushTests {
  private func failure(_ path: String) -> Failure? {
    do throws(Failure) {
      try Flush().run(path, MountSettingsTests.context)
      return nil
    } catch {
      return error
    }
  }

  @Test func onlyMountsOfThisProgramAreFlushed() throws {
    let directory = try TemporaryDirectory()
    let file = try directory.file("file", "text")
    for path in [directory.path, file, "/dev/null", "/"] {
      #expect(failure(path)?.reason == "it is not on a waysfs mount")
    }
  }

  @Test func whatIsNotThereIsSaid() throws {
    #expect(failure("/nonexistent/path")?.reason == "No such file or directory")
    #expect(failure("")?.reason == "No such file or directory")
  }
}
