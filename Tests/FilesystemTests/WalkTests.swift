import Basics
import ObjectStore
import SystemPackage
import Testing

@testable import Filesystem

/// Programs that go through a whole tree.
@Suite struct WalkTests {
  /// Directories `0` to `9`, each with `a` and `b`, each with two files; and files at the top.
  private func bench(lifetime: Double = 10, attributes: AttributesMode = .auto) throws -> Bench {
    let bench = try Bench(lifetime: lifetime, attributes: attributes, rootIsMarked: false)
    for outer in 0..<10 {
      try bench.put("t/file\(outer)", "x")
      for inner in ["a", "b"] { for name in ["x", "y"] { try bench.put("t/\(outer)/\(inner)/\(name)", "x") } }
    }
    return bench
  }

  /// All paths below a directory, parents first, as `find` reads them.
  private func walk(
    _ bench: Bench, _ inode: InodeID, _ path: String, wait: Bool = true, _ visit: (String) throws -> Void = { _ in }
  ) throws -> [String] {
    try visit(path)
    let handle = try bench.filesystem.openDirectory(inode, bench.context)
    defer { bench.filesystem.releaseDirectory(handle) }
    // What is listed in the background comes in time.
    if wait { bench.filesystem.listings.wait() }
    var entries: [DirectoryEntry] = []
    while true {
      let before = entries.count
      let offset = entries.last?.nextOffset ?? 0
      try bench.filesystem.readDirectory(handle, offset: offset, plus: true, bench.context) { entry in
        guard entries.count < before + 7 else { return false }
        entries.append(entry)
        return true
      }
      if entries.count == before { break }
    }
    var paths: [String] = []
    for entry in entries {
      guard let child = entry.entry?.inode else { continue }
      let below = "\(path)/\(entry.name.string)"
      paths.append(below)
      if entry.type == 0o040000 { paths += try walk(bench, child, below, wait: wait, visit) }
    }
    return paths
  }

  private func expected(_ bench: Bench) -> [String] {
    var paths: Set<String> = []
    for key in bench.memory.files where key.hasPrefix("t/") {
      let parts = key.string.split(separator: "/")
      for count in 2..<parts.count + 1 where parts.count > 1 { paths.insert(parts[..<count].joined(separator: "/")) }
    }
    return paths.sorted()
  }

  @Test func aWalkTakesOneListingWithoutADelimiter() throws {
    let bench = try bench()
    let top = try bench.inode("t")
    bench.store.forgetOperations()
    #expect(try walk(bench, top, "t").sorted() == expected(bench))
    #expect(bench.store.count(.head) == 0)
    // The top, perhaps the first directory in it, and everything.
    #expect(bench.store.count(.list) <= 3)
    bench.store.forgetOperations()
    #expect(try bench.load("t/7/b/y") == Array("x".utf8))
    #expect(try bench.exists("t/7/b/z") == false)
    #expect(bench.store.operations.map(\.kind) == [.get])
  }

  @Test func markersAreAskedForInOneGoAndAttributesAreExact() throws {
    let bench = try bench()
    try bench.put("t/3/", "", metadata: ["mode": "\(0o040700)"])
    try bench.save("t/4/a/new", "x".utf8)
    let other = try Bench(over: bench.memory, rootIsMarked: false)
    let top = try other.inode("t")
    other.store.forgetOperations()
    #expect(try walk(other, top, "t").sorted() == expected(bench))
    #expect(other.store.count(.list) <= 3)
    let asked = Set(other.store.operations.filter { $0.kind == .head }.compactMap { $0.key?.string })
    #expect(asked == ["t/3/", "t/4/a/", "t/4/a/new", "t/4/a/x", "t/4/a/y"])
    #expect(try other.stat("t/4/a/new").uid == 1000)
  }

  @Test func whatChangesMeanwhileIsRight() throws {
    let bench = try bench()
    let top = try bench.inode("t")
    bench.store.forgetOperations()
    var changed = false
    let found = try walk(bench, top, "t", wait: false) { path in
      guard path.hasSuffix("/b"), !changed else { return }
      changed = true
      try bench.unlink("t/8/a/x")
      try bench.save("t/9/b/new", "new".utf8)
      try bench.makeDirectory("t/9/c")
      try bench.rename("t/7", to: "t/9/seven")
    }
    #expect(changed)
    #expect(!found.contains("t/8/a/x"))
    #expect(found.contains("t/9/b/new"))
    bench.filesystem.listings.wait()
    #expect(try walk(bench, top, "t").sorted() == expected(bench))
    #expect(try bench.load("t/9/seven/b/y") == Array("x".utf8))
    #expect(try bench.exists("t/7") == false)
  }

  @Test func aDirectoryAloneIsNoWalk() throws {
    let bench = try bench()
    for path in ["t/3", "t/4/a"] { _ = try bench.inode(path) }
    bench.store.forgetOperations()
    for path in ["t/3", "t/4/a"] { _ = try bench.names(path) }
    bench.filesystem.listings.wait()
    let flat = bench.store.operations.filter { $0.kind == .list && $0.prefix == "t/" }
    #expect(flat.isEmpty)
    #expect(bench.filesystem.tree.withState { $0.foreseen.isEmpty })
  }

  @Test func afterAWhileItIsNoWalk() throws {
    let bench = try bench(lifetime: 100)
    _ = try bench.names("t")
    bench.clock.advance(seconds: 5)
    bench.store.forgetOperations()
    _ = try bench.names("t/3")
    bench.filesystem.listings.wait()
    #expect(bench.store.operations.map(\.prefix) == ["t/3/"])
  }

  @Test func withoutALifetimeThereIsNone() throws {
    let bench = try bench(lifetime: 0)
    let top = try bench.inode("t")
    #expect(try walk(bench, top, "t").sorted() == expected(bench))
    #expect(bench.store.operations.filter { $0.kind == .list && $0.prefix == "t/" }.count <= 2)
  }

  @Test func aWalkThatFailsIsNobodysError() throws {
    let bench = try bench()
    let top = try bench.inode("t")
    bench.store.forgetOperations()
    let once = OneTime()
    bench.store.setRule { operation in
      guard operation.kind == .list, operation.prefix == "t/", !once.isFirst else { return nil }
      return .fail(.accessDenied)
    }
    #expect(try walk(bench, top, "t").sorted() == expected(bench))
  }

  @Test func whatIsFoundIsForgottenAfterTheLifetime() throws {
    let bench = try bench()
    let top = try bench.inode("t")
    #expect(try walk(bench, top, "t").sorted() == expected(bench))
    try bench.put("t/5/a/late", "x")
    try bench.put("t/new/late", "x")
    bench.clock.advance(seconds: 60)
    #expect(try walk(bench, top, "t").sorted() == expected(bench))
  }

  // MARK: The value

  private func page(_ keys: [String]) -> ListPage {
    ListPage(
      entries: keys.map {
        ListEntry(key: ObjectKey($0), size: 1, etag: ETag("x"), lastModified: Timestamp(seconds: 0))
      })
  }

  @Test(arguments: [
    ["p/a", "p/a/b", "p/a-/x"], ["p/a/b", "p/a-/x", "p/a"], ["p/a-/x", "p/a", "p/a/b"],
  ])
  func anObjectIsHiddenByADirectoryWhicheverComesFirst(_ keys: [String]) {
    var walked = WalkedTree(root: "q", prefix: "p/")
    for key in keys { #expect(walked.add(page([key])).isEmpty) }
    #expect(Set(walked.directories.keys.map(\.string)) == ["q", "q/a", "q/a-"])
    #expect(walked.directories[DirectoryPath("q")]?.entries[FileName("a")]?.isDirectory == true)
    #expect(walked.hidden == ["q/a"])
    #expect(walked.count == 4)
  }

  @Test func aDirectoryIsCompleteWhenAKeyBehindItHasCome() {
    var walked = WalkedTree(root: "", prefix: "")
    _ = walked.add(page(["a/b/1", "a/b/2", "a/c"]))
    #expect(walked.takeComplete().map(\.string) == ["a/b"])
    #expect(walked.take(DirectoryPath("a/b")).count == 2)
    _ = walked.add(page(["a/d/1", "b/1"]))
    #expect(walked.takeComplete().map(\.string) == ["a/d", "a"])
    #expect(walked.take(DirectoryPath("a")).count == 3)
    #expect(Set(walked.takeComplete(atEnd: true).map(\.string)) == ["b", "a/d", ""])
    #expect(!walked.isBroken)
    _ = walked.add(page(["a/b/3"]))
    #expect(walked.isBroken)
  }

  @Test func withoutAnOrderNothingIsCompleteBeforeTheEnd() {
    var walked = WalkedTree(root: "", prefix: "")
    _ = walked.add(page(["a/1", "a-/1", "b/1", "c/1"]))
    #expect(walked.takeComplete() == [])
    #expect(walked.takeComplete(atEnd: true).count == 5)
  }

  @Test func namesThatLookAlikeAreTwo() {
    var walked = WalkedTree(root: "", prefix: "")
    _ = walked.add(page(["e\u{301}/1", "\u{e9}/2"]))
    #expect(walked.directories[DirectoryPath("e\u{301}")]?.entries.keys.map(\.string) == ["1"])
    #expect(walked.directories[DirectoryPath("\u{e9}")]?.entries.keys.map(\.string) == ["2"])
  }

  @Test func keysThatAreNoNamesAreLeftOut() {
    var walked = WalkedTree(root: "", prefix: "")
    let markers = walked.add(
      page(["a//b", "a/../c", "./d", "/e", "a/b", "f/", "g/h/", "x/\u{0}y", DirectoryMark.rootName, ".waysfs-probe-1"]))
    #expect(markers == ["f", "g/h"])
    #expect(walked.unshowable.count == 5)
    #expect(Set(walked.directories[DirectoryPath("")]?.entries.keys.map(\.string) ?? []) == ["a", "f", "g", "x"])
    #expect(walked.directories[DirectoryPath("a")]?.entries.keys.map(\.string) == ["b"])
    #expect(walked.directories[DirectoryPath("g/h")]?.hasMarker == true)
  }
}
