import Foundation
import SystemPackage
import Testing

@testable import waysfs_sandbox

@Suite struct WeedPortsTests {
  @Test func choosesPortsWhoseGRPCPortsAreFreeToo() throws {
    // Of the ports, one in three is free; of those for gRPC, one in two.
    let ports = try #require(
      WeedPorts.choose { $0 < 21_000 ? $0.isMultiple(of: 3) : $0 > 22_000 && $0.isMultiple(of: 2) })
    #expect(Set(ports.all).count == 4)
    for port in ports.all {
      #expect(port.isMultiple(of: 3) && (port + WeedPorts.grpcOffset).isMultiple(of: 2))
    }
  }

  @Test func givesUpWhenNothingIsFree() {
    #expect(WeedPorts.choose { _ in false } == nil)
  }
}

@Suite struct EnvironmentTextTests {
  @Test(arguments: [
    ("abc/DEF-1.2_3:4", "abc/DEF-1.2_3:4"), ("", "''"), ("a b", "'a b'"), ("$(x)", "'$(x)'"), ("it's", #"'it'\''s'"#),
    ("é\n", "'é\n'"),
  ])
  func quotesForAShell(value: String, expected: String) {
    #expect(EnvironmentText.quoted(value) == expected)
  }

  @Test func writesOneLineAVariable() {
    let text = EnvironmentText(variables: [("A", "1"), ("B", "x y")]).text
    #expect(text == "export A=1\nexport B='x y'\n")
  }
}

@Suite struct LoopbackHTTPTests {
  @Test func parsesAnAnswer() throws {
    let answer = try LoopbackHTTP.parse(Data("HTTP/1.0 404 Not Found\r\nA: b\r\n\r\nbody\r\n\r\n".utf8))
    #expect(answer == LoopbackHTTP.Answer(status: 404, body: Data("body\r\n\r\n".utf8)))
  }

  @Test(arguments: ["", "garbage", "HTTP/1.0 200", "HTTP/1.0 abc\r\n\r\n", "SSH-2.0-x y\r\n\r\n", "\r\n\r\n"])
  func refusesGarbage(text: String) {
    #expect(throws: LoopbackHTTP.Failure.self) { try LoopbackHTTP.parse(Data(text.utf8)) }
  }
}

@Suite struct FilerBackendTests {
  @Test func encodesEveryByteThatMeansSomething() {
    #expect(FilerBackend.percentEncoded("/a-b_c.d~/e f+&?#%\n") == "/a-b_c.d~/e%20f%2B%26%3F%23%25%0A")
    #expect(FilerBackend.percentEncoded("é") == "%C3%A9")
  }

  @Test func tellsObjectsFromDirectories() throws {
    let json = """
      {"Entries":[{"FullPath":"/buckets/b/d","Mode":2147484153,"Mime":"","FileSize":0},
      {"FullPath":"/buckets/b/m","Mode":2147484159,"Mime":"httpd/unix-directory"},
      {"FullPath":"/buckets/b/f","Mode":432,"Mime":"","FileSize":7}],"ShouldDisplayLoadMore":false}
      """
    let entries = try #require(try JSONDecoder().decode(FilerListing.self, from: Data(json.utf8)).Entries)
    #expect(entries.map(\.isDirectory) == [true, true, false])
    #expect(entries.map(\.isObject) == [false, true, true])
    #expect(entries.map(\.name) == ["d", "m", "f"])
  }
}

@Suite struct SandboxDirectoryTests {
  private let folder: FilePath

  init() {
    folder = FilePath(NSTemporaryDirectory()).appending("sandbox-test-\(UUID().uuidString)")
  }

  private func remove() { try? FileManager.default.removeItem(atPath: folder.string) }

  @Test func keepsItsStateUntilAFreshStart() throws {
    defer { remove() }
    var state = SandboxState.new()
    state.usedBucketNames = ["gone"]
    do {
      let directory = try SandboxDirectory(opening: folder, fresh: false)
      #expect(try directory.loadState() == nil)
      try directory.save(state)
      directory.close()
    }
    let kept = try SandboxDirectory(opening: folder, fresh: false)
    #expect(try kept.loadState() == state)
    kept.close()
    let fresh = try SandboxDirectory(opening: folder, fresh: true)
    #expect(try fresh.loadState() == nil)
    fresh.close()
  }

  @Test func isUsedByOneSandboxAtATime() throws {
    defer { remove() }
    let directory = try SandboxDirectory(opening: folder, fresh: false)
    #expect(throws: SandboxDirectory.Failure.self) { try SandboxDirectory(opening: folder, fresh: true) }
    directory.close()
  }

  @Test func neverEmptiesAnotherDirectory() throws {
    defer { remove() }
    try FileManager.default.createDirectory(atPath: folder.string, withIntermediateDirectories: true)
    let precious = folder.appending("precious").string
    try Data("x".utf8).write(to: URL(filePath: precious))
    #expect(throws: SandboxDirectory.Failure.self) { try SandboxDirectory(opening: folder, fresh: true) }
    #expect(FileManager.default.fileExists(atPath: precious))
  }

  @Test func writesSecretsForTheirOwnerOnly() throws {
    defer { remove() }
    let directory = try SandboxDirectory(opening: folder, fresh: false)
    defer { directory.close() }
    try directory.save(.new())
    let attributes = try FileManager.default.attributesOfItem(atPath: directory.stateFile.string)
    #expect(attributes[.posixPermissions] as? Int == 0o600)
    #expect(try FileManager.default.contentsOfDirectory(atPath: folder.string).allSatisfy { !$0.hasSuffix(".tmp") })
  }
}
