import Basics
import ObjectStore
import SystemPackage
import Testing

@testable import Filesystem

/// Directories whose objects carry attributes are marked, and only there they are asked for.
@Suite struct MarkingTests {
  /// Attributes as s3fs stores them.
  private let stored = ["mode": "\(0o100640)", "uid": "5", "mtime": "77"]

  private func foreign(_ attributes: AttributesMode = .auto) throws -> Bench {
    let bench = try Bench(attributes: attributes, rootIsMarked: false)
    for index in 0..<20 { try bench.put("d/\(index)", "x", metadata: stored) }
    return bench
  }

  private func mode(_ path: String, _ bench: Bench) throws -> UInt32 { try bench.stat(path).mode & 0o7777 }

  private func isMarked(_ key: String, _ bench: Bench) throws -> Bool {
    DirectoryMark.isSet(on: try bench.memory.head(ObjectKey(key)))
  }

  @Test func aListingOfAnUnmarkedDirectoryIsTheTruth() throws {
    let bench = try foreign()
    let directory = try bench.inode("d")
    bench.store.forgetOperations()
    let entries = try bench.list("d", plus: true)
    #expect(entries.count == 22)
    #expect(entries.filter { $0.entry?.attributes.mode == 0o100644 }.count == 20)
    #expect(entries.filter { $0.type == FileType.file.rawValue }.count == 20)
    #expect(bench.store.count(.list) == 1)
    #expect(bench.store.count(.head) == 0)
    bench.store.forgetOperations()
    #expect(try bench.filesystem.lookup(directory, FileName("7"), bench.context).attributes.uid == 7)
    #expect(try bench.load("d/7") == Array("x".utf8))
    #expect(bench.store.operations.map(\.kind) == [.get], "opening and reading is one request")
  }

  @Test func theMarkerOfADirectoryIsAskedOnce() throws {
    let bench = try foreign()
    try bench.put("d/", "", metadata: ["mode": "\(0o040755)"])
    bench.store.forgetOperations()
    // As the kernel finds it: by listing the root, whose own mark is asked for.
    let root = try bench.list("", plus: true)
    let directory = try #require(root.first { $0.name.string == "d" }?.entry?.inode)
    #expect(bench.store.operations.filter { $0.kind == .head }.map(\.key) == [ObjectKey(DirectoryMark.rootName)])
    bench.store.forgetOperations()
    let handle = try bench.filesystem.openDirectory(directory, bench.context)
    var modes: [UInt32] = []
    try bench.filesystem.readDirectory(handle, offset: 0, plus: true, bench.context) { entry in
      if let attributes = entry.entry?.attributes { modes.append(attributes.mode) }
      return true
    }
    #expect(modes == Array(repeating: 0o100644, count: 20))
    #expect(bench.store.operations.filter { $0.kind == .head }.map(\.key) == [ObjectKey("d/")])
  }

  @Test func theFirstFileMarksItsDirectory() throws {
    let bench = try foreign()
    let handle = try bench.create("d/new")
    try bench.write("new".utf8, to: handle)
    bench.store.forgetOperations()
    try bench.close(handle)
    let puts = bench.store.operations.filter { $0.kind == .put && !($0.key?.string.contains("probe") ?? false) }
    #expect(puts.map(\.key) == [ObjectKey("d/"), ObjectKey("d/new")], "the mark comes first")
    #expect(try isMarked("d/", bench))
    bench.store.forgetOperations()
    try bench.save("d/another", "x".utf8)
    #expect(!bench.store.operations.contains { $0.key == ObjectKey("d/") }, "once")
    // Another mount sees what s3fs has stored, too.
    let other = try Bench(over: bench.memory, rootIsMarked: false)
    #expect(try other.list("d", plus: true).filter { $0.entry?.attributes.mode == 0o100640 }.count == 20)
    #expect(try mode("d/new", other) == 0o644)
    #expect(try other.stat("d/new").uid == 1000)
  }

  @Test func aWalkAsksForAttributesOnce() throws {
    let bench = try foreign()
    try bench.save("d/new", "x".utf8)
    bench.clock.advance(seconds: 60)
    _ = try bench.list("d", plus: true)
    bench.store.forgetOperations()
    _ = try bench.list("d", plus: true)
    #expect(bench.store.operations.isEmpty)
    bench.clock.advance(seconds: 60)
    bench.store.forgetOperations()
    let entries = try bench.list("d", plus: true)
    #expect(entries.filter { $0.entry?.attributes.mode == 0o100640 }.count == 20)
    let asked = bench.store.operations.compactMap { $0.kind == .head ? $0.key?.string : nil }
    #expect(
      asked.filter { $0 != "d" && $0 != "d/" }.isEmpty, "the same versions are listed: nothing is asked for again")
  }

  @Test func makingADirectoryMarksItAndTheOneItIsIn() throws {
    let bench = try foreign()
    let made = try bench.makeDirectory("d/sub")
    #expect(made != nil)
    #expect(try isMarked("d/", bench))
    #expect(try isMarked("d/sub/", bench))
    bench.store.forgetOperations()
    try bench.save("d/sub/file", "x".utf8)
    let markers = bench.store.operations.filter { $0.key?.string.hasSuffix("/") ?? false }
    #expect(markers.isEmpty)
  }

  @Test func whatTheMarkerHadIsKept() throws {
    let bench = try foreign()
    try bench.put("d/", "kept", metadata: ["mode": "\(0o040700)", "custom": "1"])
    try bench.save("d/new", "x".utf8)
    #expect(try isMarked("d/", bench))
    #expect(try bench.metadata("d/")["custom"] == "1")
    #expect(bench.text("d/") == "kept")
    #expect(try mode("d", bench) == 0o700)
  }

  @Test func theRootOfABucketIsMarkedByAHiddenObject() throws {
    let bench = try Bench(rootIsMarked: false)
    try bench.put("a", "x", metadata: stored)
    #expect(try bench.list("", plus: true).compactMap(\.entry).map(\.attributes.mode) == [0o100644])
    try bench.save("new", "x".utf8)
    #expect(bench.object(DirectoryMark.rootName) == [])
    bench.clock.advance(seconds: 60)
    #expect(try bench.names("") == ["a", "new"])
    #expect(try bench.exists(DirectoryMark.rootName) == false)
    #expect(failure { _ = try bench.create(DirectoryMark.rootName) } == .notPermitted)
    #expect(failure { try bench.rename("a", to: DirectoryMark.rootName) } == .notPermitted)
    let other = try Bench(over: bench.memory, rootIsMarked: false)
    #expect(
      Set(try other.list("", plus: true).compactMap { $0.entry?.attributes.mode }) == [0o100640, 0o100644])
    #expect(try mode("a", other) == 0o640)
    // In a directory the name is anybody's.
    try bench.makeDirectory("d")
    try bench.save("d/\(DirectoryMark.rootName)", "x".utf8)
    #expect(try bench.names("d") == [DirectoryMark.rootName])
  }

  @Test func theRootOfAMountWithAPrefixIsMarkedOnItsMarker() throws {
    let bench = try Bench(prefix: "p/", rootIsMarked: false)
    try bench.put("p/a", "x", metadata: stored)
    try bench.save("new", "x".utf8)
    #expect(try isMarked("p/", bench))
    let other = try Bench(over: bench.memory, rootIsMarked: false)
    #expect(
      Set(try other.list("p", plus: true).compactMap { $0.entry?.attributes.mode }) == [0o100640, 0o100644])
  }

  @Test func linksAndChangedAttributesMark() throws {
    let bench = try foreign()
    try bench.put("e/a", "x")
    _ = try bench.filesystem.makeLink(bench.inode("d"), FileName("link"), target: "7", bench.context)
    #expect(try isMarked("d/", bench))
    var changes = AttributeChanges()
    changes.mode = 0o600
    _ = try bench.filesystem.setAttributes(bench.inode("e/a"), changes, nil, bench.context)
    #expect(try isMarked("e/", bench))
    let other = try Bench(over: bench.memory, rootIsMarked: false)
    let types = Dictionary(
      uniqueKeysWithValues: try other.list("d", plus: true).map { ($0.name.string, $0.type) })
    #expect(types["link"] == FileType.link.rawValue)
    #expect(try mode("e/a", other) == 0o600)
  }

  @Test func aRenameMarksWhereItLeads() throws {
    let bench = try foreign()
    try bench.put("e/a", "x")
    try bench.put("f/g/a", "x", metadata: stored)
    try bench.save("h/new", "x".utf8, makingDirectories: true)
    try bench.rename("d/3", to: "e/3")
    #expect(try isMarked("e/", bench))
    #expect(try isMarked("d/", bench) == false, "kept, but nothing was written there")
    // A directory takes its mark along.
    try bench.rename("h", to: "f/h")
    #expect(try isMarked("f/", bench))
    #expect(try isMarked("f/h/", bench))
    let other = try Bench(over: bench.memory, rootIsMarked: false)
    #expect(try mode("e/3", other) == 0o640)
    #expect(try other.stat("f/h/new").uid == 1000)
  }

  @Test func aDirectoryThatIsKeptIsNotMarked() throws {
    let bench = try Bench(rootIsMarked: false)
    try bench.put("d/only", "x")
    _ = try bench.list("", plus: true)
    try bench.unlink("d/only")
    #expect(try isMarked("d/", bench) == false)
    try bench.save("d/new", "x".utf8)
    #expect(try isMarked("d/", bench))
    try bench.unlink("d/new")
    #expect(try isMarked("d/", bench))
  }

  @Test func anotherMountSeesTheMarkWithItsNextListing() throws {
    let bench = try foreign()
    let other = try Bench(over: bench.memory, rootIsMarked: false)
    #expect(try other.list("d", plus: true).filter { $0.entry?.attributes.mode == 0o100644 }.count == 20)
    var changes = AttributeChanges()
    changes.mode = 0o604
    _ = try bench.filesystem.setAttributes(bench.inode("d/3"), changes, nil, bench.context)
    #expect(try mode("d/3", other) == 0o644, "believed for the lifetime")
    other.clock.advance(seconds: 60)
    let entries = try other.list("d", plus: true)
    #expect(entries.first { $0.name.string == "3" }?.entry?.attributes.mode == 0o100604)
    #expect(entries.first { $0.name.string == "4" }?.entry?.attributes.mode == 0o100640)
  }

  @Test func listingTheDirectoryAboveDoesNotHideAMark() throws {
    let bench = try foreign()
    _ = try bench.inode("d")
    try Bench(over: bench.memory, rootIsMarked: false).save("d/new", "x".utf8)
    for _ in 0..<2 {
      bench.clock.advance(seconds: 6)
      _ = try bench.list("", plus: true)
    }
    #expect(try bench.list("d", plus: true).filter { $0.entry?.attributes.mode == 0o100640 }.count == 20)
  }

  @Test func touchingADirectoryDoesNotHideItsMark() throws {
    let earlier = try foreign()
    try earlier.save("d/new", "x".utf8)
    let bench = try Bench(over: earlier.memory, rootIsMarked: false)
    _ = try bench.list("", plus: true)
    var changes = AttributeChanges()
    changes.modified = .at(Timestamp(seconds: 5))
    _ = try bench.filesystem.setAttributes(bench.inode("d"), changes, nil, bench.context)
    #expect(try bench.list("d", plus: true).filter { $0.entry?.attributes.mode == 0o100640 }.count == 20)
  }

  @Test func aMountThatDiesInBetweenLeavesAMarkTooMany() throws {
    let bench = try foreign()
    let handle = try bench.create("d/new")
    try bench.write("x".utf8, to: handle)
    bench.store.setRule { $0.key == ObjectKey("d/new") && $0.kind == .put ? .fail(.connectionFailed) : nil }
    #expect(failure { try bench.close(handle) } == .ioError)
    #expect(try isMarked("d/", bench))
    #expect(bench.object("d/new") == nil)
    // Without the mark, nothing gets there.
    let second = try foreign()
    let refused = try second.create("d/new")
    try second.write("x".utf8, to: refused)
    second.store.setRule { $0.key == ObjectKey("d/") && $0.kind == .put ? .fail(.connectionFailed) : nil }
    #expect(failure { try second.close(refused) } == .ioError)
    #expect(second.object("d/new") == nil)
    second.store.setRule { _ in nil }
    #expect(second.filesystem.drain() == [])
    #expect(try isMarked("d/", second))
    #expect(second.text("d/new") == "x")
  }

  @Test func whatAnEarlierMountLeftIsMarkedToo() throws {
    let (memory, directory) = (InMemoryObjectStore(), try TemporaryDirectory())
    try memory.put(PutRequest(ObjectKey("d/foreign"), body: .bytes([1])))
    do {
      let bench = try Bench(over: memory, directory: directory, writeMode: .writeback, rootIsMarked: false)
      try bench.save("d/new", "x".utf8)
    }
    let next = try Bench(over: memory, directory: directory, writeMode: .writeback, rootIsMarked: false)
    next.filesystem.takeUpUnsent()
    #expect(next.text("d/new") == "x")
    #expect(try isMarked("d/", next))
  }

  @Test(arguments: [
    ("application/x-directory; mode=16877; waysfs-attributes=1", [:], true),
    ("application/x-directory; charset=UTF-8", [:], false),
    ("application/x-directory", ["waysfs-attributes": "1"], true),
    ("httpd/unix-directory", [:], false),
    ("binary/octet-stream", ["mode": "16877"], false),
    // A server that keeps neither may have lost it.
    ("binary/octet-stream", [:], true),
    (nil, [:], true),
  ])
  func marks(_ type: String?, _ metadata: [String: String], _ isSet: Bool) {
    let marker = ObjectMetadata(
      size: 0, etag: ETag("x"), lastModified: Timestamp(seconds: 0), contentType: type, userMetadata: metadata)
    #expect(DirectoryMark.isSet(on: marker) == isSet)
  }

  @Test func aServerThatLosesMarksIsAskedForEveryName() throws {
    let bench = try foreign()
    try bench.save("d/new", "x".utf8)
    // As if it had kept a plain type, and nothing else.
    try bench.memory.put(
      PutRequest(
        ObjectKey("d/"), body: .bytes([]), attributes: ObjectAttributes(contentType: "application/x-directory")))
    bench.clock.advance(seconds: 60)
    #expect(try bench.stat("d/3").mode == 0o100640)
    try bench.put("e/a", "x", metadata: stored)
    #expect(try bench.list("e", plus: true).compactMap(\.entry).map(\.attributes.mode) == [0o100640])
  }

  @Test func alwaysAsksForEveryName() throws {
    let bench = try foreign(.always)
    #expect(try bench.list("d", plus: true).filter { $0.entry?.attributes.mode == 0o100640 }.count == 20)
    try bench.save("d/new", "x".utf8)
    #expect(try isMarked("d/", bench), "others may not")
  }

  @Test func whatNeverCannotShowIsRefused() throws {
    let bench = try foreign(.never)
    #expect(try bench.list("d", plus: true).filter { $0.entry?.attributes.mode == 0o100644 }.count == 20)
    let inode = try bench.inode("d/3")
    for change in [\AttributeChanges.mode, \.uid, \.gid] {
      var changes = AttributeChanges()
      changes[keyPath: change] = 0o601
      #expect(failure { _ = try bench.filesystem.setAttributes(inode, changes, nil, bench.context) } == .notSupported)
    }
    var changes = AttributeChanges()
    changes.modified = .at(Timestamp(seconds: 5))
    #expect(failure { _ = try bench.filesystem.setAttributes(inode, changes, nil, bench.context) } == .notSupported)
    #expect(
      failure { _ = try bench.filesystem.makeLink(.root, FileName("l"), target: "x", bench.context) } == .notSupported)
    try bench.makeDirectory("sub")
    try bench.save("sub/new", "x".utf8)
    #expect(try bench.metadata("sub/new").isEmpty)
    #expect(try isMarked("sub/", bench) == false)
    #expect(bench.object(DirectoryMark.rootName) == nil)
    #expect(try mode("sub/new", bench) == 0o644)
    // Truncation by its path comes with a new time, which it gets.
    changes.modified = .now
    changes.size = 0
    _ = try bench.filesystem.setAttributes(try bench.inode("sub/new"), changes, nil, bench.context)
    #expect(bench.object("sub/new") == [])
  }

  @Test func whatAnObjectCarriesSurvivesAWriter() throws {
    for attributes in AttributesMode.allCases {
      let bench = try Bench(attributes: attributes, rootIsMarked: false)
      try bench.memory.put(
        PutRequest(
          ObjectKey("d/a"), body: .bytes([1]),
          attributes: ObjectAttributes(
            contentType: "text/x-test", userMetadata: ["mode": "\(0o100640)", "mtime": "5", "custom": "1"])))
      _ = try bench.list("d", plus: true)
      let handle = try bench.open("d/a", writes: true)
      try bench.write([2], to: handle)
      try bench.close(handle)
      let stored = try bench.memory.head(ObjectKey("d/a"))
      #expect(stored.contentType == "text/x-test", "\(attributes)")
      #expect(stored.userMetadata["custom"] == "1", "\(attributes)")
      #expect(stored.userMetadata["mode"] == "\(0o100640)", "\(attributes)")
      #expect(stored.userMetadata["mtime"] != "5", "\(attributes)")
    }
  }

  @Test func aLinkOfAnotherToolThatIsOpenedAsAFileIsFoundOut() throws {
    let bench = try Bench(rootIsMarked: false)
    try bench.put("d/link", "target", metadata: ["mode": "\(0o120777)"])
    let entries = try bench.list("d", plus: true)
    let entry = try #require(entries.first { $0.name.string == "link" })
    #expect(entry.type == FileType.file.rawValue)
    let inode = try #require(entry.entry?.inode)
    let mode = OpenMode(reads: true, writes: true)
    #expect(failure { _ = try bench.filesystem.open(inode, mode, bench.context) } == .staleNFSFileHandle)
    #expect(try bench.stat("d/link").mode == 0o120777)
    #expect(try bench.list("d", plus: true).first { $0.name.string == "link" }?.type == FileType.link.rawValue)
  }

  @Test func aLinkThatAnotherToolReplacesByAFileIsAFile() throws {
    let bench = try Bench(rootIsMarked: false)
    try bench.put("d/a", "target", metadata: ["mode": "\(0o120777)"])
    #expect(try bench.stat("d/a").mode == 0o120777)
    try bench.put("d/a", "text")
    bench.clock.advance(seconds: 60)
    _ = try bench.list("d", plus: true)
    #expect(try bench.stat("d/a").mode == 0o100644)
    #expect(try bench.load("d/a") == Array("text".utf8))
  }
}
