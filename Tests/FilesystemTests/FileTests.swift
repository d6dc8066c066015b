import Basics
import ObjectStore
import SystemPackage
import Testing

@testable import Filesystem

@Suite struct FileTests {
  @Test func aFileIsInTheBucketWhenCloseReturns() throws {
    let bench = try Bench()
    let handle = try bench.create("hello.txt")
    try bench.write("hello".utf8, to: handle)
    #expect(bench.object("hello.txt") == nil)
    #expect(try bench.read(handle) == Array("hello".utf8))
    try bench.close(handle)
    #expect(bench.text("hello.txt") == "hello")
    #expect(try bench.load("hello.txt") == Array("hello".utf8))
    let metadata = try bench.metadata("hello.txt")
    #expect(metadata["mode"] == "33188")
    #expect(metadata["uid"] == "1000")
    #expect(metadata["gid"] == "100")
    #expect(metadata["mtime"] == "1000000000")
  }

  @Test func anEmptyFileComesToBe() throws {
    let bench = try Bench()
    try bench.close(try bench.create("empty"))
    #expect(bench.object("empty") == [])
    #expect(try bench.stat("empty").size == 0)
  }

  @Test func readingOneByteAtATimeAndPastTheEnd() throws {
    let bench = try Bench()
    try bench.put("a", "xyz")
    let handle = try bench.open("a")
    #expect(try bench.read(handle, at: 1, count: 1) == Array("y".utf8))
    #expect(try bench.read(handle, at: 2, count: 10) == Array("z".utf8))
    #expect(try bench.read(handle, at: 3, count: 10) == [])
    #expect(try bench.read(handle, at: 1 << 40, count: 10) == [])
    bench.filesystem.release(handle)
  }

  @Test func writingInTheMiddleKeepsTheRest() throws {
    let bench = try Bench()
    try bench.put("a", "0123456789")
    let handle = try bench.open("a", writes: true)
    try bench.write("AB".utf8, to: handle, at: 4)
    #expect(try bench.read(handle) == Array("0123AB6789".utf8))
    try bench.close(handle)
    #expect(bench.text("a") == "0123AB6789")
  }

  @Test func writingPastTheEndLeavesZeros() throws {
    let bench = try Bench()
    try bench.put("a", "01")
    let handle = try bench.open("a", writes: true)
    try bench.write("X".utf8, to: handle, at: 5)
    #expect(try bench.read(handle) == Array("01".utf8) + [0, 0, 0] + Array("X".utf8))
    try bench.close(handle)
    #expect(bench.object("a") == Array("01".utf8) + [0, 0, 0] + Array("X".utf8))
  }

  @Test func truncatingDownAndUpAgainForgetsWhatWasThere() throws {
    let bench = try Bench()
    try bench.put("a", "0123456789")
    let inode = try bench.inode("a")
    var shorter = AttributeChanges()
    shorter.size = 3
    _ = try bench.filesystem.setAttributes(inode, shorter, nil, bench.context)
    #expect(bench.text("a") == "012")
    let handle = try bench.open("a", writes: true)
    shorter.size = 1
    _ = try bench.filesystem.setAttributes(inode, shorter, handle, bench.context)
    var longer = AttributeChanges()
    longer.size = 4
    _ = try bench.filesystem.setAttributes(inode, longer, handle, bench.context)
    #expect(try bench.read(handle) == Array("0".utf8) + [0, 0, 0])
    try bench.close(handle)
    #expect(bench.object("a") == Array("0".utf8) + [0, 0, 0])
  }

  @Test func aLargeFileLeavesInPartsBeforeItIsClosed() throws {
    let bench = try Bench()
    let bytes = pattern(20 << 20)
    let handle = try bench.create("large")
    for start in stride(from: 0, to: bytes.count, by: 1 << 20) {
      try bench.write(bytes[start..<start + (1 << 20)], to: handle, at: UInt64(start))
    }
    try bench.close(handle)
    #expect(bench.object("large") == bytes)
    #expect(bench.store.count(.uploadPart) == 3)
    #expect(bench.store.count(.put) == 3, "only the probe's")
    #expect(bench.memory.uploadCount == 0)
    #expect(try bench.load("large") == bytes)
  }

  @Test func goingBackToPatchTheHeaderOfAStreamedFile() throws {
    let bench = try Bench()
    var bytes = pattern(18 << 20)
    let handle = try bench.create("film.mp4")
    for start in stride(from: 0, to: bytes.count, by: 1 << 20) {
      try bench.write(bytes[start..<start + (1 << 20)], to: handle, at: UInt64(start))
    }
    bytes.replaceSubrange(4..<8, with: [1, 2, 3, 4])
    try bench.write([1, 2, 3, 4] as [UInt8], to: handle, at: 4)
    try bench.close(handle)
    #expect(bench.object("film.mp4") == bytes)
  }

  @Test func patchingALargeObjectSendsOnlyTheChangedPart() throws {
    let bench = try Bench()
    var bytes = pattern(40 << 20)
    try bench.memory.put(PutRequest(ObjectKey("large"), body: .bytes(bytes)))
    let handle = try bench.open("large", writes: true)
    bytes.replaceSubrange((20 << 20)..<(20 << 20) + 4096, with: pattern(4096, seed: 9))
    try bench.write(pattern(4096, seed: 9), to: handle, at: 20 << 20)
    try bench.close(handle)
    #expect(bench.object("large") == bytes)
    #expect(bench.store.count(.uploadPart) == 1)
    #expect(bench.store.count(.copyPart) == 2)
  }

  @Test func appendingToALargeObject() throws {
    let bench = try Bench()
    let bytes = pattern(17 << 20)
    try bench.memory.put(PutRequest(ObjectKey("log"), body: .bytes(bytes)))
    let handle = try bench.open("log", writes: true)
    try bench.write("more".utf8, to: handle, at: UInt64(bytes.count))
    try bench.filesystem.sync(handle, bench.context)
    #expect(bench.object("log") == bytes + Array("more".utf8))
    try bench.write("again".utf8, to: handle, at: UInt64(bytes.count + 4))
    try bench.close(handle)
    #expect(bench.object("log") == bytes + Array("moreagain".utf8))
  }

  @Test func aRemovedFileStaysReadableWhileItIsOpen() throws {
    let bench = try Bench()
    let bytes = pattern(3 << 20)
    try bench.memory.put(PutRequest(ObjectKey("dir/a"), body: .bytes(bytes)))
    let handle = try bench.open("dir/a")
    #expect(try bench.read(handle, count: 4096) == Array(bytes[..<4096]))
    try bench.unlink("dir/a")
    #expect(bench.object("dir/a") == nil)
    #expect(try bench.read(handle, at: 2 << 20, count: 4096) == Array(bytes[(2 << 20)..<(2 << 20) + 4096]))
    #expect(try bench.exists("dir/a") == false)
    try bench.close(handle)
    #expect(try bench.exists("dir"), "an emptied directory lasts")
  }

  @Test func aFileThatIsRemovedWhileItIsWrittenNeverReachesTheBucket() throws {
    let bench = try Bench()
    let handle = try bench.create("temporary")
    try bench.write("x".utf8, to: handle)
    try bench.unlink("temporary")
    #expect(try bench.read(handle) == Array("x".utf8))
    try bench.close(handle)
    #expect(bench.object("temporary") == nil)
  }

  @Test func aReadOnlyMountRefusesEveryChange() throws {
    let bench = try Bench(readOnly: true)
    try bench.put("a", "x")
    #expect(try bench.load("a") == Array("x".utf8))
    #expect(failure { try bench.save("b", "x".utf8) } == .readOnlyFileSystem)
    #expect(failure { _ = try bench.open("a", writes: true) } == .readOnlyFileSystem)
    #expect(failure { try bench.unlink("a") } == .readOnlyFileSystem)
    #expect(failure { try bench.rename("a", to: "b") } == .readOnlyFileSystem)
    #expect(failure { try bench.makeDirectory("d") } == .readOnlyFileSystem)
  }

  @Test func exclusiveCreationSeesWhatAnotherMachineMade() throws {
    let bench = try Bench()
    #expect(try bench.exists("lock") == false)
    try bench.put("lock", "theirs")
    #expect(failure { _ = try bench.create("lock", exclusive: true) } == .fileExists)
  }
}
