import Basics
import ObjectStore
import SystemPackage
import Testing

@testable import Filesystem

@Suite struct RenameTests {
  @Test func aFileMoves() throws {
    let bench = try Bench()
    try bench.put("a", "bytes", metadata: ["mode": "33261", "custom": "kept"])
    try bench.rename("a", to: "b")
    #expect(bench.memory.files == [ObjectKey("b")])
    #expect(bench.text("b") == "bytes")
    #expect(try bench.metadata("b") == ["mode": "33261", "custom": "kept"])
    #expect(try bench.exists("a") == false)
    #expect(try bench.load("b") == Array("bytes".utf8))
  }

  @Test func savingAsEditorsDo() throws {
    let bench = try Bench()
    try bench.save("text", "old".utf8)
    try bench.save(".text.swp", "new".utf8)
    try bench.rename(".text.swp", to: "text")
    #expect(try bench.load("text") == Array("new".utf8))
    #expect(bench.memory.files == [ObjectKey("text")])
  }

  @Test func aBackupIsAnotherFileThanItsSuccessor() throws {
    let bench = try Bench()
    try bench.save("text", "old".utf8)
    let number = try bench.stat("text").fileNumber
    try bench.rename("text", to: "text~")
    try bench.save("text", "new".utf8)
    #expect(try bench.stat("text~").fileNumber == number)
    #expect(try bench.stat("text").fileNumber != number)
  }

  @Test func theReplacedFileStaysReadableForWhoHasItOpen() throws {
    let bench = try Bench()
    try bench.put("old", "old bytes")
    try bench.put("new", "new bytes")
    let handle = try bench.open("old")
    try bench.rename("new", to: "old")
    #expect(try bench.read(handle) == Array("old bytes".utf8))
    #expect(try bench.load("old") == Array("new bytes".utf8))
    try bench.close(handle)
    #expect(bench.text("old") == "new bytes")
  }

  @Test func anOpenFileIsReadAndWrittenUnderItsNewName() throws {
    let bench = try Bench()
    try bench.makeDirectory("d")
    let handle = try bench.create("a")
    try bench.write("one".utf8, to: handle)
    try bench.rename("a", to: "d/b")
    #expect(bench.text("d/b") == "one")
    try bench.write("two".utf8, to: handle, at: 3)
    try bench.close(handle)
    #expect(bench.text("d/b") == "onetwo")
    #expect(bench.object("a") == nil)
  }

  @Test func anOpenReaderFollowsARename() throws {
    let bench = try Bench()
    let bytes = pattern(4 << 20)
    try bench.memory.put(PutRequest(ObjectKey("a"), body: .bytes(bytes)))
    let handle = try bench.open("a")
    _ = try bench.read(handle, count: 10)
    try bench.rename("a", to: "b")
    #expect(try bench.read(handle, at: 3 << 20, count: 100) == Array(bytes[(3 << 20)..<(3 << 20) + 100]))
    bench.filesystem.release(handle)
  }

  @Test func aDirectoryMovesWithEverythingBelowIt() throws {
    let bench = try Bench()
    for name in ["x", "sub/y", "sub/deep/z"] { try bench.save("src/\(name)", name.utf8, makingDirectories: true) }
    try bench.makeDirectory("src/empty")
    let open = try bench.create("src/sub/open")
    try bench.write("open".utf8, to: open)
    try bench.rename("src", to: "dst")
    #expect(try bench.names("") == ["dst"])
    #expect(try bench.names("dst") == ["empty", "sub", "x"])
    #expect(try bench.load("dst/sub/deep/z") == Array("sub/deep/z".utf8))
    #expect(bench.memory.files.allSatisfy { $0.hasPrefix("dst/") })
    try bench.write("ed".utf8, to: open, at: 4)
    try bench.close(open)
    #expect(bench.text("dst/sub/open") == "opened")
    #expect(bench.object("src/sub/open") == nil)
  }

  @Test func anOpenDirectoryIsReadAgainUnderItsNewName() throws {
    let bench = try Bench()
    try bench.put("d/a", "x")
    let handle = try bench.filesystem.openDirectory(bench.inode("d"), bench.context)
    func names() throws -> [String] {
      var names: [String] = []
      try bench.filesystem.readDirectory(handle, offset: 0, plus: false, bench.context) { entry in
        names.append(entry.name.string)
        return true
      }
      return names
    }
    #expect(try names() == [".", "..", "a"])
    try bench.rename("d", to: "e")
    #expect(try names() == [".", "..", "a"])
    #expect(try bench.exists("e/a"))
    bench.filesystem.releaseDirectory(handle)
  }

  @Test func refusals() throws {
    let bench = try Bench()
    try bench.put("f", "x")
    try bench.put("g", "y")
    try bench.put("d/in", "z")
    try bench.makeDirectory("e")
    #expect(failure { try bench.rename("f", to: "g", .noReplace) } == .fileExists)
    #expect(failure { try bench.rename("f", to: "e") } == .isDirectory)
    #expect(failure { try bench.rename("e", to: "f") } == .notDirectory)
    #expect(failure { try bench.rename("e", to: "d") } == .directoryNotEmpty)
    #expect(failure { try bench.rename("d", to: "d/below") } == .invalidArgument)
    #expect(failure { try bench.rename("no", to: "x") } == .noSuchFileOrDirectory)
    try bench.rename("d", to: "e")
    #expect(bench.text("e/in") == "z")
  }

  @Test func aFailedCopyLeavesTheSourceWhole() throws {
    let bench = try Bench()
    for index in 0..<5 { try bench.put("src/\(index)", "x") }
    bench.store.setRule { $0.kind == .copy && $0.source == ObjectKey("src/3") ? .fail(.serverError) : nil }
    #expect(failure { try bench.rename("src", to: "dst") } == .ioError)
    bench.store.setRule { _ in nil }
    for index in 0..<5 { #expect(bench.text("src/\(index)") == "x") }
    #expect(try bench.names("src").count == 5)
  }

  @Test func aFailedDeletionKeepsBothNamesAndSaysSo() throws {
    let bench = try Bench()
    try bench.put("a", "x")
    bench.store.setRule { $0.kind == .delete ? .fail(.serverError) : nil }
    #expect(failure { try bench.rename("a", to: "b") } == .ioError)
    bench.store.setRule { _ in nil }
    #expect(try bench.load("a") == Array("x".utf8))
    #expect(try bench.load("b") == Array("x".utf8))
  }

  @Test func aSymbolicLinkMovesAsALink() throws {
    let bench = try Bench()
    _ = try bench.filesystem.makeLink(.root, FileName("l"), target: "../x", bench.context)
    try bench.rename("l", to: "m")
    #expect(try bench.filesystem.readLink(bench.inode("m"), bench.context) == "../x")
    #expect(bench.text("m") == "../x")
  }
}
