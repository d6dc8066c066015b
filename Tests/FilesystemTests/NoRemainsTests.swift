import ObjectStore
import Synchronization
import SystemPackage
import Testing

@testable import Filesystem
@testable import WritePath

/// Once everything is in the bucket and closed, nothing of it is left on this machine, or half-made in the bucket.
@Suite(.serialized) struct NoRemainsTests {
  private func expectNothing(_ bench: Bench, _ what: String) throws {
    #expect(bench.filesystem.drain() == [], "\(what)")
    bench.runUploads()
    #expect(bench.journal.space.used == 0, "\(what)")
    let names = try FileSystem.names(in: bench.journal.own.files)
    #expect(names == [], "\(what)")
    #expect(bench.memory.uploadCount == 0, "\(what)")
  }

  private func truncate(_ bench: Bench, _ path: String, to size: UInt64, _ handle: HandleID?) throws {
    var changes = AttributeChanges()
    changes.size = size
    _ = try bench.filesystem.setAttributes(bench.inode(path), changes, handle, bench.context)
  }

  @Test(arguments: [WriteMode.close, .writeback]) func afterAllKindsOfUse(_ mode: WriteMode) throws {
    let bench = try Bench(writeMode: mode)
    try bench.save("small", "x".utf8)
    try bench.save("large", pattern(9 << 20))
    try bench.save("exact", pattern(8 << 20))
    try bench.save("empty", [])
    try expectNothing(bench, "saved")
    #expect(bench.object("exact")?.count == 8 << 20)
    #expect(bench.object("empty") == [])

    let handle = try bench.open("large", writes: true)
    try bench.write("patch".utf8, to: handle, at: 100)
    try bench.filesystem.sync(handle, bench.context)
    try bench.write("patch".utf8, to: handle, at: 8 << 20)
    try truncate(bench, "large", to: 0, handle)
    try bench.write("short".utf8, to: handle)
    try truncate(bench, "large", to: 9 << 20, handle)
    try bench.close(handle)
    try expectNothing(bench, "patched, emptied and grown")
    #expect(bench.object("large")?.count == 9 << 20)

    for path in ["small", "large"] { try bench.rename(path, to: "d-\(path)") }
    try bench.save("tmp", "y".utf8)
    try bench.rename("tmp", to: "exact")
    try expectNothing(bench, "renamed")

    let open = try bench.open("exact", writes: true)
    try bench.write("abandoned".utf8, to: open)
    try bench.unlink("exact")
    try bench.write(pattern(9 << 20), to: open)
    try bench.close(open)
    try bench.save("gone", pattern(9 << 20))
    try bench.unlink("gone")
    try expectNothing(bench, "removed")
    #expect(bench.object("exact") == nil && bench.object("gone") == nil)
  }

  @Test(arguments: [WriteMode.close, .writeback]) func afterFailures(_ mode: WriteMode) throws {
    let bench = try Bench(writeMode: mode)
    let unheard = Atomic(0)
    for kind in [FailingObjectStore.Kind.put, .createUpload, .uploadPart, .completeUpload] {
      for answerIsLost in [false, true] {
        bench.store.setRule { operation in
          guard operation.kind == kind else { return nil }
          if kind == .createUpload, answerIsLost { unheard.add(1, ordering: .relaxed) }
          return answerIsLost ? .loseAnswer(.timedOut) : .fail(.timedOut)
        }
        for (path, size) in [("small", 10), ("large", 9 << 20)] {
          try? bench.save(path, pattern(size, seed: UInt64(size)))
        }
        bench.runUploads()
        bench.store.setRule { _ in nil }
        #expect(bench.filesystem.drain() == [], "\(kind)")
        bench.runUploads()
        #expect(bench.journal.space.used == 0, "\(kind) \(answerIsLost)")
        #expect(bench.memory.files.map(\.string) == ["large", "small"], "\(kind) \(answerIsLost)")
        for path in ["small", "large"] { try bench.unlink(path) }
      }
    }
    // One whose beginning nobody heard of is the server's to forget.
    #expect(bench.memory.uploadCount == unheard.load(ordering: .relaxed))
    #expect(try FileSystem.names(in: bench.journal.own.files) == [])
  }

  @Test func spaceIsThatOfWhatIsThere() throws {
    let bench = try Bench()
    let size = 1 << 20
    let handle = try bench.create("a")
    for _ in 0..<5 {
      try truncate(bench, "a", to: 0, handle)
      try bench.write(pattern(size), to: handle)
      #expect(bench.journal.space.used == UInt64(size))
    }
    try truncate(bench, "a", to: UInt64(size / 2), handle)
    #expect(bench.journal.space.used == UInt64(size / 2))
    try truncate(bench, "a", to: UInt64(3 * size), handle)
    #expect(bench.journal.space.used == UInt64(size / 2), "a hole takes none")
    try bench.write(pattern(2 * size), to: handle, at: UInt64(size))
    #expect(bench.journal.space.used == UInt64(5 * size / 2), "what is written into it does")
    try bench.close(handle)
    #expect(bench.journal.space.used == 0)
  }

  @Test func writingIntoAHoleMeetsTheLimit() throws {
    let bench = try Bench(journalLimit: 1 << 20)
    let handle = try bench.create("a")
    try truncate(bench, "a", to: 8 << 20, handle)
    #expect(failure { try bench.write(pattern(2 << 20), to: handle) } == .noSpace)
    #expect(failure { try bench.close(handle) } == .noSpace)
    #expect(bench.object("a") == nil, "what could not be written whole is not stored")
    #expect(bench.journal.space.used == 0)
  }

  @Test func aVersionThatWasClosedOutlivesALaterWriteForWhichThereIsNoRoom() throws {
    let bench = try Bench(writeMode: .writeback, journalLimit: 3 << 20)
    let bytes = pattern(2 << 20)
    try bench.save("a", bytes)
    bench.store.setRule { $0.kind == .put ? .fail(.connectionFailed) : nil }
    bench.runUploads()
    let handle = try bench.open("a", writes: true)
    #expect(failure { try bench.write(pattern(2 << 20, seed: 2), to: handle, at: 2 << 20) } == .noSpace)
    #expect(failure { try bench.close(handle) } == .noSpace)
    bench.store.setRule { _ in nil }
    bench.runUploads()
    #expect(bench.filesystem.drain() == [])
    #expect(bench.object("a") == bytes)
    #expect(try bench.load("a") == bytes)
    bench.runUploads()
    #expect(bench.journal.space.used == 0)
  }
}
