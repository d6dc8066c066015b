import ObjectStore
import SystemPackage
import Testing
import WritePath

@testable import Filesystem

/// Renames that happen on this machine alone, because the bucket does not have the file yet, and what comes after them.
@Suite struct LocalRenameTests {
  private func bench(_ memory: InMemoryObjectStore? = nil, _ directory: TemporaryDirectory? = nil) throws -> Bench {
    try Bench(over: memory, directory: directory, writeMode: .writeback)
  }

  /// A bucket with `final`, over which a file was renamed that is not uploaded yet.
  private func replacing() throws -> Bench {
    let bench = try bench()
    try bench.put("final", "old")
    try bench.save("new", "content".utf8)
    try bench.rename("new", to: "final")
    return bench
  }

  @Test func whatARenamedFileReplacedDoesNotComeBackWhenItIsRemoved() throws {
    let bench = try replacing()
    try bench.unlink("final")
    #expect(bench.memory.files.isEmpty)
    #expect(try bench.exists("final") == false)
    #expect(bench.filesystem.drain() == [])
    #expect(bench.memory.files.isEmpty)
  }

  @Test func whatARenamedFileReplacedDoesNotComeBackWhenItMovesOn() throws {
    let bench = try replacing()
    try bench.rename("final", to: "further")
    #expect(try bench.exists("final") == false)
    #expect(bench.filesystem.drain() == [])
    #expect(bench.memory.files == [ObjectKey("further")])
    #expect(bench.text("further") == "content")
  }

  @Test func severalSavesBeforeTheFirstUploadAreNoConflict() throws {
    let bench = try replacing()
    for text in ["second", "third"] {
      try bench.save("new", text.utf8)
      try bench.rename("new", to: "final")
    }
    bench.runUploads()
    #expect(bench.filesystem.drain() == [])
    #expect(bench.text("final") == "third")
    #expect(bench.memory.files == [ObjectKey("final")])
  }

  @Test func severalSavesSurviveACrashWithoutConflict() throws {
    let (memory, directory) = (InMemoryObjectStore(), try TemporaryDirectory())
    do {
      let bench = try bench(memory, directory)
      try bench.put("final", "old")
      for text in ["first", "second"] {
        try bench.save("new", text.utf8)
        try bench.rename("new", to: "final")
      }
    }
    let next = try bench(memory, directory)
    next.filesystem.takeUpUnsent()
    #expect(next.text("final") == "second")
    #expect(next.memory.files == [ObjectKey("final")])
  }

  @Test func anUploadedFileRenamedOverOneThatWaitsLeavesNothingOfIt() throws {
    let bench = try replacing()
    try bench.put("other", "from elsewhere")
    try bench.rename("other", to: "final")
    #expect(bench.filesystem.drain() == [])
    #expect(bench.text("final") == "from elsewhere")
    #expect(bench.memory.files == [ObjectKey("final")])
  }

  @Test func aFileRenamedOverOneWhoseUploadWasNotHeardOfIsNoConflict() throws {
    let bench = try bench()
    bench.store.setRule { $0.kind == .put && $0.key == ObjectKey("final") ? .loseAnswer(.timedOut) : nil }
    try bench.save("final", "first".utf8)
    bench.runUploads()
    #expect(bench.text("final") == "first")
    bench.store.setRule { _ in nil }
    try bench.save("new", "second".utf8)
    try bench.rename("new", to: "final")
    #expect(bench.filesystem.drain() == [])
    #expect(bench.text("final") == "second")
    #expect(bench.memory.files == [ObjectKey("final")])
  }

  @Test func aRenameDoesNotRemoveWhatSomebodyElseStoredUnderTheOldName() throws {
    let bench = try bench()
    try bench.save("a", "ours".utf8)
    try bench.put("a", "theirs")
    bench.store.setRule { $0.kind == .put ? .fail(.timedOut) : nil }
    bench.runUploads()
    try bench.rename("a", to: "b")
    bench.store.setRule { _ in nil }
    #expect(bench.filesystem.drain() == [])
    #expect(bench.text("a") == "theirs")
    #expect(bench.text("b") == "ours")
  }

  @Test func aRenameRemovesWhatItsOwnUploadLeftUnderTheOldName() throws {
    let bench = try bench()
    bench.store.setRule { $0.kind == .put && $0.key == ObjectKey("a") ? .loseAnswer(.timedOut) : nil }
    try bench.save("a", "ours".utf8)
    bench.runUploads()
    try bench.rename("a", to: "b")
    #expect(bench.filesystem.drain() == [])
    #expect(bench.memory.files == [ObjectKey("b")])
    #expect(bench.text("b") == "ours")
  }

  @Test func somebodyElsesChangeOfWhatWasReplacedIsKept() throws {
    let bench = try replacing()
    try bench.put("final", "theirs")
    _ = bench.filesystem.drain()
    #expect(bench.text("final") == "theirs")
    let kept = try #require(bench.memory.files.first { $0.string.contains("conflict bench") })
    #expect(bench.memory.bytes(of: kept) == Array("content".utf8))
  }

  @Test func aDirectoryWithFilesThatWaitMovesWhole() throws {
    let bench = try bench()
    try bench.put("d/final", "old")
    try bench.save("d/new", "content".utf8)
    try bench.rename("d/new", to: "d/final")
    try bench.save("d/other", "x".utf8)
    let open = try bench.create("d/open")
    try bench.write("half".utf8, to: open)
    try bench.rename("d", to: "e")
    try bench.write(" and half".utf8, to: open, at: 4)
    try bench.close(open)
    #expect(bench.filesystem.drain() == [])
    #expect(bench.memory.files.map(\.string) == ["e/", "e/final", "e/open", "e/other"])
    #expect(bench.text("e/final") == "content")
    #expect(bench.text("e/open") == "half and half")
  }

  @Test func anOpenFileReplacedByOneThatWaitsStaysReadable() throws {
    let bench = try bench()
    try bench.put("final", "old bytes")
    let handle = try bench.open("final", writes: true)
    try bench.save("new", "content".utf8)
    try bench.rename("new", to: "final")
    #expect(try bench.read(handle) == Array("old bytes".utf8))
    try bench.write("OLD".utf8, to: handle)
    try bench.close(handle)
    #expect(bench.filesystem.drain() == [])
    #expect(bench.text("final") == "content")
    #expect(bench.memory.files == [ObjectKey("final")])
  }
}
