import ObjectStore
import Synchronization
import SystemPackage
import Testing

@testable import Filesystem
@testable import WritePath

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

  @Test func aRenameThatTheJournalCannotTakeLeavesBothFiles() throws {
    let (memory, directory, disk) = (InMemoryObjectStore(), try TemporaryDirectory(), FullDisk())
    do {
      let bench = try Bench(over: memory, directory: directory, writeMode: .writeback, disk: disk.disk)
      try bench.save("final", "of before".utf8)
      try bench.save("new", "content".utf8)
      disk.isFull = true
      #expect(failure { try bench.rename("new", to: "final") } == .noSpace)
      #expect(try bench.load("final") == Array("of before".utf8))
      #expect(try bench.load("new") == Array("content".utf8))
    }
    let next = try bench(memory, directory)
    next.filesystem.takeUpUnsent()
    #expect(next.text("final") == "of before")
    #expect(next.text("new") == "content")
    #expect(next.memory.files.count == 2)
  }

  @Test func aRenameThatTheDiskMayHaveIsTakenBack() throws {
    let (memory, directory, disk) = (InMemoryObjectStore(), try TemporaryDirectory(), FullDisk())
    do {
      let bench = try Bench(over: memory, directory: directory, writeMode: .writeback, disk: disk.disk)
      try bench.save("final", "of before".utf8)
      let handle = try bench.create("new")
      try bench.write("content".utf8, to: handle)
      try bench.filesystem.sync(handle, bench.context)
      disk.failsToSync = true
      #expect(failure { try bench.rename("new", to: "final") } == .ioError)
      disk.failsToSync = false
    }
    let next = try bench(memory, directory)
    next.filesystem.takeUpUnsent()
    #expect(next.text("final") == "of before")
    #expect(next.text("new") == "content")
  }

  @Test func aRenameWhileSomebodyWritesKeepsWhatWasClosed() throws {
    let bench = try bench()
    try bench.save("final", "of before".utf8)
    let handle = try bench.create("new")
    try bench.write("content".utf8, to: handle)
    try bench.filesystem.flush(handle, bench.context)
    try bench.write("half".utf8, to: handle)
    try bench.rename("new", to: "final")
    try bench.write("whole!!".utf8, to: handle)
    try bench.close(handle)
    #expect(bench.filesystem.drain() == [])
    #expect(bench.text("final") == "whole!!")
    #expect(bench.memory.files == [ObjectKey("final")])
  }

  @Test func somebodyElsesObjectUnderTheNameOfAnExclusiveFileStays() throws {
    let bench = try bench()
    let handle = try bench.create("tmp", exclusive: true)
    try bench.write("ours".utf8, to: handle)
    try bench.close(handle)
    try bench.put("tmp", "theirs")
    try bench.rename("tmp", to: "final")
    #expect(bench.text("tmp") == "theirs")
    #expect(try bench.load("tmp") == Array("theirs".utf8))
    #expect(bench.filesystem.drain() == [])
    #expect(bench.text("final") == "ours")
  }

  /// The object that an exclusive creation made is not its own any more once somebody else has stored something there.
  @Test func aChangeOfWhatSomebodyElseStoredMovesWithItsBase() throws {
    let bench = try bench()
    let first = try bench.create("a", exclusive: true)
    try bench.put("a", "0123456789")
    bench.clock.advance(seconds: 11)
    // The kernel is told the new length first.
    #expect(failure { _ = try bench.open("a", writes: true) } == .staleNFSFileHandle)
    let handle = try bench.open("a", writes: true)
    try bench.write("AB".utf8, to: handle, at: 3)
    try bench.close(handle)
    try bench.rename("a", to: "b")
    #expect(bench.filesystem.drain() == [])
    #expect(bench.text("b") == "012AB56789")
    #expect(bench.memory.files == [ObjectKey("b")])
    bench.filesystem.release(first)
  }

  /// A daemon dies at any step of a rename, and the next one, which reaches no server, makes the same name once more.
  @Test func onlyTheFileThatTookTheNameSupersedesIt() throws {
    var steps = 0
    var isOver = false
    while !isOver {
      let (memory, directory, power) = (InMemoryObjectStore(), try TemporaryDirectory(), Power(steps: steps))
      var saved: Set<String> = []
      do {
        let bench = try Bench(over: memory, directory: directory, writeMode: .writeback, power: power)
        for (path, text) in [("a", "first"), ("tmp", "second")] where !power.isDead {
          try? bench.save(path, text.utf8)
          if !power.isDead { saved.insert(text) }
        }
        if !power.isDead { try? bench.rename("tmp", to: "a") }
      }
      isOver = !power.isDead
      do {
        let bench = try bench(memory, directory)
        bench.store.setRule { [.put, .head].contains($0.kind) ? .fail(.connectionFailed) : nil }
        bench.filesystem.takeUpUnsent()
        bench.store.setRule { $0.kind == .put ? .fail(.connectionFailed) : nil }
        try bench.save("a", "third".utf8)
      }
      let next = try bench(memory, directory)
      next.filesystem.takeUpUnsent()
      let found = Set(memory.files.compactMap { memory.bytes(of: $0) }.map { String(decoding: $0, as: UTF8.self) })
      // With its new name, the second stands for both.
      if memory.bytes(of: ObjectKey("tmp")) == nil, found.contains("second") { saved.remove("first") }
      #expect(found.isSuperset(of: saved.union(["third"])), "\(steps) steps: \(power.end)")
      steps += 1
    }
    #expect(steps > 10)
  }
}

/// A disk of a journal that takes no new files, or cannot wait for a directory, as long as a test says so. Thread-safe.
final class FullDisk: Sendable {
  private let state = Mutex((isFull: false, failsToSync: false))

  var isFull: Bool {
    get { state.withLock { $0.isFull } }
    set { state.withLock { $0.isFull = newValue } }
  }

  var failsToSync: Bool {
    get { state.withLock { $0.failsToSync } }
    set { state.withLock { $0.failsToSync = newValue } }
  }

  var disk: JournalDisk {
    JournalDisk(onStep: { step throws(Errno) in
      switch step {
      case .make where self.isFull: throw .noSpace
      case .syncDirectory where self.failsToSync: throw .ioError
      default: break
      }
    })
  }
}
