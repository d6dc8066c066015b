import Basics
import ObjectStore
import SystemPackage
import Testing

@testable import Filesystem

@Suite struct DirectoryTests {
  @Test func aDirectoryWithAnOldScratchObjectIsEmpty() throws {
    let bench = try Bench()
    for name in ["d", "e"] { try bench.makeDirectory(name) }
    for key in ["d/.waysfs-probe-1", "e/.waysfs-probe-2"] { try bench.put(key, "") }
    #expect(try bench.names("d") == [])
    // Somebody may be at work with it.
    #expect(failure { try bench.removeDirectory("d") } == .directoryNotEmpty)
    bench.clock.advance(seconds: 600)
    try bench.removeDirectory("d")
    try bench.put("src/a", "x")
    try bench.rename("src", to: "e")
    #expect(bench.memory.files.map(\.string) == ["e/", "e/a"])
    // This one is in a directory, which is seen.
    try bench.put("f/.waysfs-probe-3/x", "")
    try bench.makeDirectory("g")
    try bench.put("g/sub/.waysfs-probe-4", "")
    bench.clock.advance(seconds: 600)
    for name in ["f", "g"] { #expect(failure { try bench.removeDirectory(name) } == .directoryNotEmpty) }
    #expect(bench.object("g/sub/.waysfs-probe-4") != nil)
  }

  @Test func pagesWithoutAnythingOnThemAreNotTheEnd() throws {
    let clock = ManualClock()
    var options = InMemoryObjectStore.Options()
    options.emptyPages = 2
    let bench = try Bench(over: InMemoryObjectStore(options: options, time: clock.timeSource))
    try bench.put("d/a", "x")
    #expect(try bench.stat("d").mode & 0o170000 == 0o040000)
    #expect(failure { try bench.removeDirectory("d") } == .directoryNotEmpty)
    #expect(try bench.names("d") == ["a"])
    #expect(try bench.exists("none") == false)
    try bench.rename("d", to: "e")
    #expect(bench.memory.files.map(\.string) == ["e/", "e/a"])
  }

  @Test func commonPrefixesAreDirectories() throws {
    let bench = try Bench()
    try bench.put("a/b/c.txt", "x")
    try bench.put("top.txt", "yy")
    #expect(try bench.names("") == ["a", "top.txt"])
    #expect(try bench.names("a") == ["b"])
    #expect(try bench.stat("a").mode == 0o040755)
    #expect(try bench.stat("a").uid == 7)
    #expect(try bench.stat("a/b/c.txt").size == 1)
    #expect(try bench.stat("top.txt").mode == 0o100644)
  }

  @Test func aDirectoryEntryCarriesAttributesWithPlus() throws {
    let bench = try Bench()
    try bench.put("link", "target", metadata: ["mode": "\(0o120777)"])
    try bench.put("tool", "x", metadata: ["mode": "\(0o100750)", "uid": "5", "mtime": "77.25"])
    try bench.put("d/x", "x")
    let entries = try bench.list("", plus: true)
    let byName = Dictionary(uniqueKeysWithValues: entries.map { ($0.name.string, $0) })
    #expect(Set(byName.keys) == [".", "..", "link", "tool", "d"])
    #expect(byName["."]?.entry == nil)
    #expect(byName["link"]?.type == 0o120000)
    #expect(byName["tool"]?.entry?.attributes.mode == 0o100750)
    #expect(byName["tool"]?.entry?.attributes.uid == 5)
    #expect(byName["tool"]?.entry?.attributes.modified == Timestamp(seconds: 77, nanoseconds: 250_000_000))
    #expect(byName["d"]?.entry?.attributes.mode == 0o040755)
    #expect(try bench.filesystem.readLink(bench.inode("link"), bench.context) == "target")
  }

  @Test func aLongListingIsReadInPagesAndInOrder() throws {
    let bench = try Bench()
    let count = 2_500
    for index in 0..<count { try bench.put("many/\(index)", "x") }
    let entries = try bench.list("many", plus: true, capacity: 100)
    #expect(entries.count == count + 2)
    #expect(Set(entries.map(\.name)).count == count + 2)
    #expect(entries.map(\.nextOffset) == Array(1...UInt64(count + 2)))
    #expect(bench.store.count(.list) < 10)
    bench.store.forgetOperations()
    // Everything is known now: nobody is asked.
    #expect(try bench.exists("many/17"))
    #expect(try bench.exists("many/no") == false)
    #expect(bench.store.operations.isEmpty)
  }

  @Test func anotherClientsChangesAppearWithinTheLifetime() throws {
    let bench = try Bench(lifetime: 5)
    try bench.put("a", "1")
    #expect(try bench.names("") == ["a"])
    #expect(try bench.exists("b") == false)
    try bench.put("b", "22")
    try bench.put("a", "333")
    #expect(try bench.exists("b") == false, "believed for the lifetime")
    bench.clock.advance(seconds: 6)
    #expect(try bench.names("") == ["a", "b"])
    #expect(try bench.stat("a").size == 3)
    #expect(try bench.load("b") == Array("22".utf8))
    try bench.memory.delete(ObjectKey("a"))
    bench.clock.advance(seconds: 6)
    #expect(try bench.exists("a") == false)
    #expect(try bench.names("") == ["b"])
  }

  @Test func aLifetimeOfZeroAsksEveryTime() throws {
    let bench = try Bench(lifetime: 0)
    #expect(try bench.exists("a") == false)
    try bench.put("a", "1")
    #expect(try bench.stat("a").size == 1)
    try bench.put("a", "22")
    #expect(try bench.load("a") == Array("22".utf8))
  }

  @Test func ownChangesAreVisibleAtOnceWhateverTheLifetime() throws {
    let bench = try Bench(lifetime: 3600)
    #expect(try bench.names("") == [])
    try bench.save("a", "x".utf8)
    #expect(try bench.names("") == ["a"])
    try bench.makeDirectory("d")
    try bench.rename("a", to: "d/b")
    #expect(try bench.names("") == ["d"])
    #expect(try bench.names("d") == ["b"])
    try bench.unlink("d/b")
    #expect(try bench.names("d") == [])
    try bench.removeDirectory("d")
    #expect(try bench.names("") == [])
  }

  @Test func aFileThatIsBeingWrittenIsListed() throws {
    let bench = try Bench()
    try bench.put("a", "x")
    let handle = try bench.create("new")
    #expect(try bench.names("") == ["a", "new"])
    try bench.close(handle)
    #expect(try bench.names("") == ["a", "new"])
  }

  @Test func makingAndRemovingDirectories() throws {
    let bench = try Bench()
    try bench.makeDirectory("d")
    #expect(bench.object("d/") == [])
    #expect(failure { try bench.makeDirectory("d") } == .fileExists)
    try bench.save("d/x", "x".utf8)
    #expect(failure { try bench.removeDirectory("d") } == .directoryNotEmpty)
    #expect(failure { try bench.unlink("d") } == .isDirectory)
    #expect(failure { try bench.removeDirectory("d/x") } == .notDirectory)
    try bench.unlink("d/x")
    #expect(try bench.names("d") == [])
    try bench.removeDirectory("d")
    #expect(bench.memory.files == [])
    #expect(failure { try bench.removeDirectory("d") } == .noSuchFileOrDirectory)
  }

  @Test func removingTheLastFileKeepsTheDirectory() throws {
    let bench = try Bench()
    try bench.put("implicit/only", "x")
    try bench.unlink("implicit/only")
    #expect(bench.object("implicit/") == [])
    #expect(try bench.names("implicit") == [])
  }

  @Test func aDirectoryWithAFileThatIsNotUploadedYetIsNotEmpty() throws {
    let bench = try Bench()
    try bench.makeDirectory("d")
    let handle = try bench.create("d/new")
    #expect(failure { try bench.removeDirectory("d") } == .directoryNotEmpty)
    try bench.close(handle)
  }

  @Test func keysThatCannotBeNamesAreLeftOutAndHarmNobody() throws {
    let bench = try Bench()
    for key in ["ok", "a//b", "../up", "./here", "x/..", "\(String(repeating: "n", count: 256))", "both", "both/in"] {
      try bench.put(key, "x")
    }
    #expect(try bench.names("") == ["a", "both", "ok", "x"])
    #expect(try bench.stat("both").mode & 0o170000 == 0o040000)
    #expect(try bench.names("both") == ["in"])
    #expect(try bench.names("a") == [])
    #expect(try bench.names("x") == [])
    #expect(bench.text("both") == "x", "the hidden object stays")
  }

  @Test func namesAreComparedByteByByte() throws {
    let bench = try Bench()
    try bench.put("caf\u{e9}", "composed")
    try bench.put("cafe\u{301}", "decomposed")
    #expect(try bench.names("").count == 2)
    #expect(try bench.load("caf\u{e9}") == Array("composed".utf8))
    #expect(try bench.load("cafe\u{301}") == Array("decomposed".utf8))
    try bench.rename("caf\u{e9}", to: "cafe\u{301}")
    #expect(try bench.names("").count == 1)
    #expect(bench.text("cafe\u{301}") == "composed")
  }

  @Test func aPrefixIsAllThatIsSeen() throws {
    let memory = InMemoryObjectStore()
    let bench = try Bench(over: memory, prefix: "team/data/")
    try bench.put("team/data/x", "1")
    try bench.put("team/other", "2")
    #expect(try bench.names("") == ["x"])
    try bench.save("y", "3".utf8)
    #expect(bench.text("team/data/y") == "3")
    try bench.makeDirectory("d")
    #expect(bench.object("team/data/d/") == [])
  }

  @Test func lookupsAreCountedAndGivenBack() throws {
    let bench = try Bench()
    try bench.put("a/b", "x")
    let entry = try bench.filesystem.lookup(.root, FileName("a"), bench.context)
    let inode = try #require(entry.inode)
    let child = try #require(try bench.filesystem.lookup(inode, FileName("b"), bench.context).inode)
    bench.filesystem.forget(inode, count: 1)
    #expect(bench.filesystem.tree.view(inode) != nil, "its child still needs it")
    bench.filesystem.forget(child, count: 1)
    #expect(bench.filesystem.tree.view(child) == nil)
    #expect(bench.filesystem.tree.view(inode) == nil)
    let again = try bench.filesystem.lookup(.root, FileName("a"), bench.context)
    #expect(again.inode != inode, "numbers are not used twice")
    #expect(again.attributes.fileNumber == entry.attributes.fileNumber, "what stat shows is the same")
  }

  @Test func unreachableIsNotAbsent() throws {
    let bench = try Bench()
    bench.store.setRule { _ in .fail(.connectionFailed) }
    #expect(failure { _ = try bench.inode("a") } == .ioError)
    bench.store.setRule { _ in .fail(.timedOut) }
    #expect(failure { _ = try bench.inode("a") } == .timedOut)
    #expect(failure { _ = try bench.names("") } == .timedOut)
    bench.store.setRule { _ in nil }
    try bench.put("a", "x")
    #expect(try bench.stat("a").size == 1)
  }

  @Test func oneEntryWhoseAttributesFailDoesNotHideTheRest() throws {
    let bench = try Bench()
    for name in ["a", "b", "c"] { try bench.put(name, "x") }
    bench.store.setRule { operation in
      operation.kind == .head && operation.key == ObjectKey("b")
        ? .fail(.accessDenied) : nil
    }
    let entries = try bench.list("", plus: true)
    #expect(entries.count == 5)
    #expect(entries.filter { $0.entry == nil }.map(\.name.string).sorted() == [".", "..", "b"])
  }
}
