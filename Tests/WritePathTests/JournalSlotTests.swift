import Glibc
import ObjectStore
import SystemPackage
import Testing

@testable import WritePath

@Suite struct JournalSlotTests {
  @Test func eachMountHasItsDirectoryAndIsPrivate() throws {
    let bench = try JournalBench()
    var first: Journal? = try bench.open()
    let second = try bench.open()
    let base = JournalSlots.base(name: "bucket", identity: "https://s3.example/bucket:dir/")
    #expect(first?.directory.name == "\(base)-0" && second.directory.name == "\(base)-1")
    var info = stat()
    #expect(second.directory.withPlatformString { stat($0, &info) } == 0)
    #expect(info.st_mode & 0o777 == 0o700)
    #expect(JournalSlots.identity(of: second.directory) == "https://s3.example/bucket:dir/")
    first = nil
    #expect(try bench.open().directory.name == "\(base)-0")
    #expect(throws: JournalError.self) {
      try Journal(root: second.directory.appending("lock"), name: "b", identity: "")
    }
    let strange = try Journal(root: bench.root.path, name: "b", identity: "a\nb")
    #expect(JournalSlots.identity(of: strange.directory) == "a?b")
  }

  @Test func whatAnotherSlotHasIsTakenUpAndItsLockStays() throws {
    let bench = try JournalBench()
    try bench.leave { _ in
      let second = try bench.open()
      try second.makeEntry().record([4, 5])
      try second.makeEntry().fill([1])
      _ = try second.begin(RenameIntent(source: ObjectKey("a"), destination: ObjectKey("b"), isDirectory: false))
    }
    var found: LeftOver
    let journal: Journal
    (journal, found) = try bench.takeUp()
    #expect(found.pending.count == 1 && found.intents.count == 1 && found.recoveredCount == 1)
    let entry = found.pending.first?.entry
    #expect(entry.map { $0.path.removingLastComponent().removingLastComponent() != journal.directory } == true)
    #expect(entry?.liveBytes == [4, 5])
    // A third mount leaves it alone as long as it is in use here.
    do {
      let (third, nothing) = try bench.takeUp()
      #expect(third.directory.name.hasSuffix("-2") && nothing.pending.isEmpty && nothing.intents.isEmpty)
    }
    // The entry goes on in its own directory.
    try entry?.freeze()
    try entry?.put([9], at: 0)
    found = LeftOver()
    try entry?.write(wholeRecord(2), durable: true)
    entry?.discard()
  }

  @Test func aSlotWithNothingLeftIsFreeAgain() throws {
    let bench = try JournalBench()
    try bench.leave { _ in try bench.open().makeEntry().fill([1]) }
    let (journal, found) = try bench.takeUp()
    #expect(found.recoveredCount == 1 && found.pending.isEmpty)
    let other = try bench.open()
    #expect(other.directory != journal.directory && other.directory.name.hasSuffix("-1"))
  }

  @Test func aLiveMountAndThisMountsOwnFilesAreLeftAlone() throws {
    let bench = try JournalBench()
    try bench.leave { try $0.makeEntry().record([1]) }
    let (first, second) = (try bench.open(), try bench.open())
    try second.makeEntry().record([2])
    let entry = try first.makeEntry()
    try entry.record([3])
    let found = first.takeUp(log: bench.log)
    #expect(found.pending.map { $0.entry.liveBytes } == [[1]])
    // What was taken up is in use now.
    #expect(first.takeUp(log: bench.log).pending.isEmpty)
    #expect(second.takeUp(log: bench.log).pending.isEmpty)
    #expect(entry.liveBytes == [3] && entry.path.name == "2.data")
  }
}
