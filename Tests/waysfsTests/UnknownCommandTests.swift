import Testing

@testable import waysfs

struct UnknownCommandTests {
  @Test(arguments: [
    (["umont", "/mnt"], "waysfs: there is no command 'umont'; did you mean 'umount'? 'waysfs --help' shows all."),
    (["buckets", "lst"], "waysfs: there is no command 'lst'; did you mean 'list'? 'waysfs buckets --help' shows all."),
    (["\u{1B}[31m"], "waysfs: there is no command '\\u{1b}[31m'. 'waysfs --help' shows all."),
  ])
  func isSaidToBeNone(_ arguments: [String], _ line: String) {
    #expect(UnknownCommand.first(in: arguments, below: Waysfs.self)?.line == line)
  }

  @Test(arguments: [
    [], ["help"], ["--help"], ["mount", "photos", "/mnt"], ["buckets"], ["buckets", "list"], ["buckets", "--help"],
    ["--version"], ["help", "umont"], ["status", "/mnt"], ["docs", "waysfs.1"],
  ])
  func otherWordsAreForTheParser(_ arguments: [String]) {
    #expect(UnknownCommand.first(in: arguments, below: Waysfs.self) == nil)
  }
}
