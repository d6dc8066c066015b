import Basics
import ObjectStore
import SystemPackage
import Testing

@testable import Filesystem
@testable import WritePath

@Suite struct FaultTests {
  @Test func aFailedUploadIsAnErrorOfCloseAndIsMadeUpLater() throws {
    let bench = try Bench()
    let handle = try bench.create("a")
    try bench.write("precious".utf8, to: handle)
    bench.store.setRule { $0.kind == .put ? .fail(.connectionFailed) : nil }
    #expect(failure { try bench.close(handle) } == .ioError)
    #expect(bench.object("a") == nil)
    #expect(try bench.load("a") == Array("precious".utf8), "still readable here")
    #expect(try bench.names("") == ["a"])
    bench.store.setRule { _ in nil }
    #expect(bench.filesystem.drain() == [])
    #expect(bench.text("a") == "precious")
  }

  @Test func whatCouldNotBeSentIsSentByTheNextMount() throws {
    let memory = InMemoryObjectStore()
    let directory = try TemporaryDirectory()
    do {
      let bench = try Bench(over: memory, directory: directory)
      try bench.put("edited", "0123456789")
      let handle = try bench.create("new")
      try bench.write("precious".utf8, to: handle)
      let other = try bench.open("edited", writes: true)
      try bench.write("AB".utf8, to: other, at: 2)
      bench.store.setRule { $0.kind == .put ? .fail(.serverError) : nil }
      #expect(failure { try bench.close(handle) } == .ioError)
      #expect(failure { try bench.close(other) } == .ioError)
      #expect(bench.filesystem.drain().sorted() == ["edited", "new"])
    }
    let next = try Bench(over: memory, directory: directory)
    next.filesystem.takeUpUnsent()
    #expect(next.text("new") == "precious")
    #expect(next.text("edited") == "01AB456789")
    next.filesystem.takeUpUnsent()
    #expect(next.memory.files.count == 2, "nothing is sent twice")
  }

  @Test func whatTheBucketGotWithoutAnswerIsNoConflictForTheNextMount() throws {
    let memory = InMemoryObjectStore()
    let directory = try TemporaryDirectory()
    do {
      let bench = try Bench(over: memory, directory: directory)
      bench.store.setRule { $0.kind == .put && $0.key == ObjectKey("a") ? .loseAnswer(.connectionFailed) : nil }
      let handle = try bench.create("a")
      try bench.write("first".utf8, to: handle)
      #expect(failure { try bench.close(handle) } == .ioError)
      #expect(bench.text("a") == "first")
    }
    let next = try Bench(over: memory, directory: directory)
    next.filesystem.takeUpUnsent()
    #expect(next.text("a") == "first")
    #expect(next.memory.files.count == 1, "no conflict copy")
  }

  @Test func somebodyElsesEditIsNotOverwritten() throws {
    let bench = try Bench()
    try bench.put("a", "base")
    let handle = try bench.open("a", writes: true)
    try bench.write("OURS".utf8, to: handle)
    try bench.put("a", "theirs")
    #expect(failure { try bench.close(handle) } == .staleNFSFileHandle)
    #expect(bench.text("a") == "theirs")
    let kept = try #require(bench.memory.files.first { $0.string.contains("conflict bench") })
    #expect(bench.memory.bytes(of: kept) == Array("OURS".utf8))
    #expect(try bench.load("a") == Array("theirs".utf8))
  }

  @Test func aFileMadeElsewhereMeanwhileIsNotOverwritten() throws {
    let bench = try Bench()
    let handle = try bench.create("a")
    try bench.write("ours".utf8, to: handle)
    try bench.put("a", "theirs")
    #expect(failure { try bench.close(handle) } == .staleNFSFileHandle)
    #expect(bench.text("a") == "theirs")
    #expect(bench.memory.files.count == 2)
    #expect(try bench.load("a") == Array("theirs".utf8))
  }

  /// The name is gone, and what is written would go nowhere.
  @Test(arguments: [WriteMode.close, .writeback], [false, true])
  func whoWritesToAFileThatSomebodyRemovedIsTold(mode: WriteMode, isMadeAnew: Bool) throws {
    let bench = try Bench(writeMode: mode)
    let handle = try bench.create("a")
    try bench.write("ours".utf8, to: handle)
    try bench.filesystem.flush(handle, bench.context)
    bench.runUploads()
    try bench.memory.delete(ObjectKey("a"), nil)
    bench.clock.advance(seconds: 11)
    if isMadeAnew { try bench.close(try bench.create("a", exclusive: true)) }
    #expect(try bench.exists("a") == isMadeAnew)
    #expect(failure { try bench.write("more".utf8, to: handle, at: 4) } == .staleNFSFileHandle)
    bench.filesystem.release(handle)
    #expect(bench.filesystem.drain() == [])
    #expect(bench.text("a") == (isMadeAnew ? "" : nil))
  }

  /// What is unsent has the name, whatever somebody else puts in the place of the directory.
  @Test func aDirectoryWithUnsentFilesIsNotTakenForAFile() throws {
    let bench = try Bench()
    try bench.makeDirectory("d")
    let handle = try bench.create("d/a")
    try bench.write("ours".utf8, to: handle)
    try bench.memory.delete(ObjectKey("d/"), nil)
    try bench.put("d", "theirs")
    bench.clock.advance(seconds: 11)
    #expect(try bench.stat("d").mode & 0o170000 == 0o040000)
    try bench.close(handle)
    #expect(bench.text("d/a") == "ours" && bench.text("d") == "theirs")
  }

  @Test(arguments: [WriteMode.close, .writeback])
  func aChangeOfWhatSomebodyRemovedIsKeptForAPerson(mode: WriteMode) throws {
    let bench = try Bench(writeMode: mode)
    try bench.put("a", "0123456789")
    let handle = try bench.open("a", writes: true)
    try bench.write("AB".utf8, to: handle, at: 3)
    try bench.memory.delete(ObjectKey("a"), nil)
    let closed = failure { try bench.filesystem.flush(handle, bench.context) }
    #expect(closed == (mode == .close ? .staleNFSFileHandle : nil))
    bench.runUploads()
    #expect(failure { try bench.close(handle) } == .staleNFSFileHandle)
    #expect(bench.filesystem.drain() == ["a"])
    #expect(try JournalInventory.read(root: bench.directory.path).map(\.state) == [.stranded])
    #expect(bench.memory.files.isEmpty)
  }

  @Test func aServerWithoutConditionsGetsACheckInstead() throws {
    var options = InMemoryObjectStore.Options()
    options.honoursConditions = false
    let bench = try Bench(over: InMemoryObjectStore(options: options))
    try bench.put("a", "base")
    let handle = try bench.open("a", writes: true)
    try bench.write("OURS".utf8, to: handle)
    try bench.put("a", "theirs")
    #expect(failure { try bench.close(handle) } == .staleNFSFileHandle)
    #expect(bench.text("a") == "theirs")
    #expect(bench.memory.files.contains { $0.string.contains("conflict bench") })
    #expect(!bench.memory.files.contains { $0.string.contains("waysfs-probe") })
  }

  @Test func aReaderNeverSeesTwoVersions() throws {
    let bench = try Bench(lifetime: 0)
    let bytes = pattern(6 << 20)
    try bench.memory.put(PutRequest(ObjectKey("a"), body: .bytes(bytes)))
    let handle = try bench.open("a")
    #expect(try bench.read(handle, count: 65_536) == Array(bytes[..<65_536]))
    try bench.memory.put(PutRequest(ObjectKey("a"), body: .bytes(pattern(6 << 20, seed: 2))))
    do {
      let piece = try bench.read(handle, at: 5 << 20, count: 65_536)
      #expect(piece == Array(bytes[(5 << 20)..<(5 << 20) + 65_536]), "from what was fetched before")
    } catch {
      #expect(error as? Errno == .staleNFSFileHandle)
    }
    #expect(try bench.load("a") == pattern(6 << 20, seed: 2))
    #expect(failure { _ = try bench.read(handle, at: 1 << 20, count: 10) } == .staleNFSFileHandle)
    bench.filesystem.release(handle)
  }

  @Test func aLostAnswerToADeletionIsAnErrorAndTheTruthComesOutAfterwards() throws {
    let bench = try Bench()
    try bench.put("a", "x")
    bench.store.setRule { $0.kind == .delete ? .loseAnswer(.timedOut) : nil }
    #expect(failure { try bench.unlink("a") } == .timedOut)
    bench.store.setRule { _ in nil }
    #expect(try bench.exists("a") == false)
  }

  @Test func aSymbolicLinkWithNonsenseInsideIsAnError() throws {
    let bench = try Bench()
    try bench.memory.put(
      PutRequest(
        ObjectKey("l"), body: .bytes([0xFF, 0xFE, 0]),
        attributes: ObjectAttributes(userMetadata: ["mode": "\(0o120777)"])))
    #expect(failure { _ = try bench.filesystem.readLink(bench.inode("l"), bench.context) } == .ioError)
  }
}
