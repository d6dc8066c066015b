import Basics
import Glibc
import ObjectStore
import Synchronization
import SystemPackage
import Testing
import WritePath

@testable import Filesystem

/// What `getfattr -n user.waysfs.*` shows, and the list of what the bucket lacks.
@Suite struct StateAttributeTests {
  private func value(_ attribute: StateAttribute, of path: String, _ bench: Bench) throws -> String {
    try bench.filesystem.extendedAttribute(try bench.inode(path), attribute.rawValue, bench.context)
  }

  private func isMissing(_ attribute: StateAttribute, of path: String, _ bench: Bench) -> Bool {
    failure { _ = try value(attribute, of: path, bench) } == Errno(rawValue: Glibc.ENODATA)
  }

  @Test func aFileGoesFromDirtyOverUploadingToClean() throws {
    let bench = try Bench()
    let handle = try bench.create("a")
    try bench.write("x".utf8, to: handle)
    #expect(try value(.state, of: "a", bench) == "dirty")
    #expect(isMissing(.etag, of: "a", bench) && isMissing(.error, of: "a", bench))
    #expect(isMissing(.version, of: "a", bench) && isMissing(.storageClass, of: "a", bench))
    #expect(try value(.cached, of: "a", bench) == "1")
    let inode = try bench.inode("a")
    let meanwhile = Mutex<(String?, FileState?)>((nil, nil))
    bench.store.setRule { operation in
      guard operation.kind == .put else { return nil }
      let state = try? bench.filesystem.extendedAttribute(inode, StateAttribute.state.rawValue, bench.context)
      let listed = bench.filesystem.unsentFiles().first?.state
      meanwhile.withLock { $0 = (state, listed) }
      return nil
    }
    try bench.close(handle)
    #expect(meanwhile.withLock { $0 } == ("uploading", .uploading))
    #expect(try value(.state, of: "a", bench) == "clean")
    #expect(try value(.etag, of: "a", bench) == bench.memory.head(ObjectKey("a")).etag.value)
    #expect(bench.filesystem.unsentFiles().isEmpty)
  }

  @Test func aFailedUploadSaysWhyUntilOneSucceeds() throws {
    let bench = try Bench()
    bench.store.setRule { $0.kind == .put ? .fail(.accessDenied) : nil }
    let handle = try bench.create("a")
    try bench.write("x".utf8, to: handle)
    for _ in 0..<2 { #expect(failure { try bench.filesystem.flush(handle, bench.context) } == .permissionDenied) }
    #expect(try value(.state, of: "a", bench) == "failed")
    let upload = try #require(bench.filesystem.unsentFiles().first)
    #expect(upload.path == "a" && upload.state == .failed && upload.size == 1 && upload.sent == 0)
    #expect(upload.trouble?.errno == .permissionDenied && upload.trouble?.failures == 2)
    #expect(try value(.error, of: "a", bench) == upload.trouble?.reason)
    #expect(bench.filesystem.pending().failed == 1 && bench.filesystem.pending().lastError == .permissionDenied)
    bench.store.setRule { _ in nil }
    try bench.close(handle)
    #expect(try value(.state, of: "a", bench) == "clean" && isMissing(.error, of: "a", bench))
  }

  @Test func partsThatTheServerHasCountAsSent() throws {
    let bench = try Bench()
    let sent = Mutex<[UInt64]>([])
    let part = UInt64(PartLayout.firstPartSize)
    bench.store.setRule { operation in
      if operation.kind == .completeUpload {
        let upload = bench.filesystem.unsentFiles().first
        sent.withLock { $0.append(upload?.sent ?? 0) }
      }
      return nil
    }
    let handle = try bench.create("a")
    try bench.write(pattern(Int(part) * 2 + 5), to: handle)
    try bench.close(handle)
    #expect(sent.withLock { $0 } == [part * 2 + 5])
  }

  @Test func bothSidesOfAConflictAreTold() throws {
    let bench = try Bench()
    try bench.put("a", "base")
    let handle = try bench.open("a", writes: true, truncates: true)
    try bench.write("ours".utf8, to: handle)
    try bench.put("a", "theirs")
    #expect(failure { try bench.filesystem.flush(handle, bench.context) } == .staleNFSFileHandle)
    // As long as the program that lost has it open.
    #expect(try value(.state, of: "a", bench) == "conflict")
    bench.filesystem.release(handle)
    #expect(try value(.state, of: "a", bench) == "clean")
    let copy = try #require(bench.memory.files.map(\.string).first { $0.contains("conflict") })
    #expect(ConflictName.isOne(copy))
    #expect(try value(.state, of: copy, bench) == "conflict")
    #expect(try value(.error, of: copy, bench).contains("both versions are kept"))
  }

  /// A change of a part of an object that somebody replaces is given up, and kept for a person.
  @Test(arguments: [false, true])
  func aChangeThatWasGivenUpIsAConflictUntilTheFileIsStoredAnew(byRenaming: Bool) throws {
    let bench = try Bench()
    try bench.put("a", String(repeating: "x", count: 100_000))
    for text in ["first", "second"] {
      let handle = try bench.open("a", writes: true)
      try bench.write("y".utf8, to: handle)
      try bench.put("a", text + String(repeating: "z", count: 100_000))
      #expect(failure { try bench.filesystem.flush(handle, bench.context) } == .staleNFSFileHandle)
      bench.filesystem.release(handle)
      bench.clock.advance(seconds: 100)
      #expect(try value(.state, of: "a", bench) == "conflict")
      #expect(try value(.error, of: "a", bench).contains("waysfs recover"))
    }
    if byRenaming {
      try bench.save("new", "whole".utf8)
      try bench.rename("new", to: "a")
    } else {
      let handle = try bench.open("a", writes: true, truncates: true)
      try bench.write("whole".utf8, to: handle)
      try bench.close(handle)
    }
    #expect(bench.text("a") == "whole")
    #expect(try value(.state, of: "a", bench) == "clean" && isMissing(.error, of: "a", bench))
    // What is kept is named at the end all the same, once.
    #expect(bench.filesystem.drain() == ["a"])
  }

  @Test func whatAnEarlierMountLeftIsListedWithItsError() throws {
    let (memory, directory) = (InMemoryObjectStore(), try TemporaryDirectory())
    do {
      let bench = try Bench(over: memory, directory: directory, writeMode: .writeback)
      try bench.save("a", "left".utf8)
    }
    let next = try Bench(over: memory, directory: directory, writeMode: .writeback)
    next.store.setRule { $0.kind == .put ? .fail(.connectionFailed) : nil }
    next.filesystem.takeUpUnsent()
    let upload = try #require(next.filesystem.unsentFiles().first)
    #expect(upload.path == "a" && upload.state == .failed && upload.size == 4 && upload.trouble?.errno == .ioError)
    next.store.setRule { _ in nil }
    #expect(next.filesystem.drain() == [] && next.filesystem.unsentFiles().isEmpty)
  }

  @Test func onlyVersionAndClassAskTheServer() throws {
    let bench = try Bench()
    try bench.save("a", "x".utf8)
    _ = try bench.inode("a")
    let before = bench.store.operations.count
    for attribute in [StateAttribute.state, .etag, .cached] { _ = try value(attribute, of: "a", bench) }
    #expect(isMissing(.error, of: "a", bench))
    #expect(bench.store.operations.count == before)
    #expect(try value(.storageClass, of: "a", bench) == "STANDARD")
    #expect(isMissing(.version, of: "a", bench))
    #expect(bench.store.operations.dropFirst(before).map(\.kind) == [.head, .head])
  }

  @Test func cachedGrowsWithWhatIsRead() throws {
    let bench = try Bench()
    try bench.put("a", String(repeating: "x", count: 300_000))
    #expect(try value(.cached, of: "a", bench) == "0")
    #expect(try bench.load("a").count == 300_000)
    #expect(try value(.cached, of: "a", bench) == "300000")
  }

  @Test func directoriesAndOtherNamesHaveNone() throws {
    let bench = try Bench()
    try bench.makeDirectory("d")
    try bench.save("a", "x".utf8)
    for attribute in StateAttribute.allCases { #expect(isMissing(attribute, of: "d", bench)) }
    let inode = try bench.inode("a")
    #expect(
      failure { _ = try bench.filesystem.extendedAttribute(inode, "user.waysfs.size", bench.context) }
        == Errno(rawValue: Glibc.ENODATA))
  }

  @Test(arguments: [
    ("a (conflict host 2026-11-22 16.49.37)", true), ("a (conflict host 2026-11-22 16.49.37 2)", true),
    ("a (conflict host 2026-11-22 16.49.37", false), ("(conflict) a", false),
    ("a (conflict h 2026-11-22 x.y.z)", false),
    ("a (conflict of interest)", false), ("a (conflict of 1-2-3 interest)", false), ("", false), ("a", false),
  ])
  func namesOfConflicts(_ name: String, _ isOne: Bool) {
    #expect(ConflictName.isOne(name) == isOne)
  }

  @Test func namesThatAreGivenAreKnown() {
    for attempt in 1...3 {
      for host in ["host", "", "a b"] {
        let key = ConflictName.key(
          for: ObjectKey("d/x y.txt"), host: host, at: Timestamp(seconds: 1_795_362_577), attempt: attempt)
        #expect(ConflictName.isOne(key.string), "\(key)")
      }
    }
  }
}

/// Bits that the kernel leaves to the filesystem to take away.
@Suite struct PrivilegeTests {
  @Test(arguments: [
    (0o4755, 0o755), (0o6755, 0o755), (0o2755, 0o755), (0o2745, 0o2745), (0o6644, 0o2644), (0o1777, 0o1777),
  ])
  func whatIsLeft(_ before: UInt32, _ after: UInt32) {
    #expect(PosixAttributes.withoutPrivileges(before) == after)
  }

  private func bench() throws -> (Bench, InodeID) {
    let bench = try Bench()
    try bench.save("a", "x".utf8)
    let inode = try bench.inode("a")
    var changes = AttributeChanges()
    changes.mode = 0o4755
    _ = try bench.filesystem.setAttributes(inode, changes, nil, bench.context)
    #expect(try bench.stat("a").mode == 0o104755)
    return (bench, inode)
  }

  @Test func aWriteTakesThemAway() throws {
    let (bench, _) = try bench()
    let handle = try bench.open("a", writes: true)
    #expect(try bench.stat("a").mode == 0o104755)
    try bench.write("y".utf8, to: handle, at: 1)
    #expect(try bench.stat("a").mode == 0o100755)
    try bench.close(handle)
    #expect(try bench.metadata("a")["mode"] == "\(0o100755)")
  }

  /// Set while it is open: the next write is noticed as well.
  @Test func bitsThatAreSetDuringWritesAreTakenByTheNext() throws {
    let bench = try Bench()
    let handle = try bench.create("a")
    try bench.write("x".utf8, to: handle)
    let inode = try bench.inode("a")
    var changes = AttributeChanges()
    for _ in 0..<2 {
      changes.mode = 0o6755
      _ = try bench.filesystem.setAttributes(inode, changes, handle, bench.context)
      #expect(try bench.stat("a").mode == 0o106755)
      try bench.write("y".utf8, to: handle, at: 1)
      #expect(try bench.stat("a").mode == 0o100755)
    }
    try bench.close(handle)
  }

  /// mmap(2), a change, fchmod(2): the pages come when the kernel sees fit, and nobody writes then.
  @Test func pagesThatTheKernelWritesBackLeaveThem() throws {
    let (bench, _) = try bench()
    let handle = try bench.open("a", writes: true)
    var context = bench.context
    context.isWriteback = true
    try Array("y".utf8).withUnsafeBytes { try bench.filesystem.write(handle, offset: 0, $0, context) }
    #expect(try bench.stat("a").mode == 0o104755)
    try bench.close(handle)
    #expect(bench.text("a") == "y")
    #expect(try bench.metadata("a")["mode"] == "\(0o104755)")
  }

  /// Who runs it right behind the write runs it without them.
  @Test func theKernelHearsOfItBeforeTheWriteIsAnswered() throws {
    let (bench, inode) = try bench()
    let kernel = NotedKernel()
    bench.filesystem.attach(kernel)
    let handle = try bench.open("a", writes: true)
    try bench.write("y".utf8, to: handle)
    #expect(kernel.attributes == [inode])
    try bench.write("z".utf8, to: handle)
    #expect(kernel.attributes == [inode])
    try bench.close(handle)
  }

  @Test func aTruncationTakesThemAway() throws {
    let (bench, inode) = try bench()
    var changes = AttributeChanges()
    changes.size = 0
    #expect(try bench.filesystem.setAttributes(inode, changes, nil, bench.context).attributes.mode == 0o100755)
    #expect(try bench.metadata("a")["mode"] == "\(0o100755)")
  }

  @Test func anotherOwnerTakesThemAwayUnlessAModeIsGiven() throws {
    let (bench, inode) = try bench()
    var changes = AttributeChanges()
    changes.uid = 5
    #expect(try bench.filesystem.setAttributes(inode, changes, nil, bench.context).attributes.mode == 0o100755)
    changes.uid = 6
    changes.mode = 0o4700
    #expect(try bench.filesystem.setAttributes(inode, changes, nil, bench.context).attributes.mode == 0o104700)
  }
}

/// Notes whose attributes the kernel is told to forget. Thread-safe.
private final class NotedKernel: KernelCache {
  private let noted = Mutex<[InodeID]>([])

  var attributes: [InodeID] { noted.withLock { $0 } }

  func invalidate(_ inode: InodeID) {}
  func invalidateAttributes(_ inode: InodeID) { noted.withLock { $0.append(inode) } }
  func invalidate(_ name: FileName, in parent: InodeID) {}
}
