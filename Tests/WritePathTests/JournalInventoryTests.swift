import Glibc
import ObjectStore
import SystemPackage
import Testing

@testable import WritePath

@Suite struct JournalInventoryTests {
  private func read(_ bench: JournalBench) throws -> [JournalItem] { try JournalInventory.read(root: bench.root.path) }

  private func item(_ bench: JournalBench, _ id: String) throws -> JournalItem {
    try #require(try read(bench).first { $0.id.hasSuffix("-0/\(id)") })
  }

  /// One of each kind.
  private func fill(_ bench: JournalBench) throws {
    try bench.leave { journal in
      let entry = try journal.makeEntry()
      entry.note(.name(ObjectKey("dir/é %")))
      try entry.fill([1, 2])
    }
    _ = try bench.takeUp()
    try bench.leave { journal in
      // 2 with 3: changed after it was recorded.
      let entry = try journal.makeEntry()
      try entry.record([1, 2, 3], key: ObjectKey("a b"))
      try entry.freeze()
      try entry.put([9, 9, 9, 9], at: 0)
      // 4: recorded.
      try journal.makeEntry().record([4], key: ObjectKey("c"))
      // 5: nobody knows its name.
      try journal.makeEntry().fill([5])
      // 6: damaged.
      let damaged = try journal.makeEntry()
      damaged.note(.name(ObjectKey("d")))
      try damaged.record([6])
      try journal.directory.appending("files/6.record").overwrite([0])
    }
  }

  @Test func knowsWhereSomethingIsLeft() throws {
    let bench = try JournalBench()
    #expect(JournalInventory.remains(root: bench.root.path).isEmpty)
    try bench.leave { _ in }
    #expect(JournalInventory.remains(root: bench.root.path).isEmpty)
    try bench.leave { journal in
      try journal.makeEntry().record([1], key: ObjectKey("a"))
      // A mount that is at work sees to it itself.
      #expect(JournalInventory.remains(root: bench.root.path).isEmpty)
    }
    #expect(JournalInventory.remains(root: bench.root.path) == ["https://s3.example/bucket:dir/": 1])
  }

  @Test func showsWhatThereIs() throws {
    let bench = try JournalBench()
    try fill(bench)
    try FileSystem.makePrivateDirectory(bench.root.path.appending("not-a-journal"))
    let items = try read(bench)
    #expect(items.allSatisfy { $0.identity == "https://s3.example/bucket:dir/" && !$0.isInUse && !$0.reason.isEmpty })
    let directory = items.first?.directory.name ?? ""
    #expect(items.map(\.id) == ["2-3", "2", "4", "5", "6", "recovered/1"].map { "\(directory)/\($0)" })
    #expect(
      items.map(\.state) == [.pending(.closed), .open, .pending(.closed), .open, .quarantined, .recovered])
    #expect(items.map { $0.key?.string } == ["a b", "a b", "c", nil, "d", "dir/é %"])
    #expect(items.map(\.size) == [3, 4, 1, 1, 1, 2])
    #expect(items[0].modified.seconds == 1_000_000_000)
    // The next mount moves two of them; what it has is in use.
    let (journal, found) = try bench.takeUp()
    let inUse = try read(bench)
    #expect(inUse.allSatisfy { $0.isInUse })
    #expect(
      inUse.map(\.id)
        == ["2-3", "4", "recovered/1", "recovered/2", "recovered/5", "quarantine/6"].map {
          "\(directory)/\($0)"
        })
    #expect(inUse.map { $0.key?.string } == ["a b", "c", "dir/é %", "a b", nil, "d"])
    #expect(found.pending.count == 2 && journal.names("files").count == 4)
  }

  @Test func nothingIsThereBeforeTheFirstMount() throws {
    let bench = try JournalBench()
    #expect(try read(bench).isEmpty)
    #expect(try JournalInventory.read(root: bench.root.path.appending("nowhere")).isEmpty)
    try bench.root.path.appending("file").overwrite([1])
    #expect(throws: JournalInventoryError.self) {
      try JournalInventory.read(root: bench.root.path.appending("file"))
    }
  }

  @Test func looksDoNotChangeAnything() throws {
    let bench = try JournalBench()
    try fill(bench)
    let directory = try item(bench, "4").directory
    func tree() throws -> [String: [UInt8]] {
      var result: [String: [UInt8]] = [:]
      for folder in JournalArea.folders {
        for name in try FileSystem.names(in: directory.appending(folder)) {
          result["\(folder)/\(name)"] = try JournalDisk.read(directory.appending(folder).appending(name))
        }
      }
      return result
    }
    let before = try tree()
    #expect(before.count == 10)
    _ = try read(bench)
    _ = try JournalInventory.export(try item(bench, "2-3"), to: bench.root.path.appending("out"))
    let after = try tree()
    #expect(after == before)
  }

  @Test func exportWritesTheRecordedBytesAndNothingOver() throws {
    let bench = try JournalBench()
    try fill(bench)
    let target = bench.root.path.appending("out")
    for (id, bytes) in [("2-3", [1, 2, 3]), ("2", [9, 9, 9, 9]), ("6", [6]), ("recovered/1", [1, 2])] {
      let item = try item(bench, id)
      let export = try JournalInventory.export(item, to: target)
      #expect(export.size == UInt64(bytes.count))
      #expect(export.missing == (id == "2-3" ? [] : nil))
      let written = try JournalDisk.read(target).map { Int($0) }
      #expect(written == bytes)
      var info = stat()
      #expect(target.withPlatformString { stat($0, &info) } == 0 && info.st_mode & 0o777 == 0o600)
      #expect(throws: JournalInventoryError.failed(target, .fileExists)) {
        try JournalInventory.export(item, to: target)
      }
      let kept = try JournalDisk.read(target).map { Int($0) }
      #expect(kept == bytes)
      try FileSystem.remove(target)
    }
  }

  @Test func exportSaysWhatIsOnlyInTheBucket() throws {
    let bench = try JournalBench()
    try bench.leave { journal in
      let entry = try journal.makeEntry()
      try entry.put([7, 7], at: 10)
      var record = wholeRecord(0)
      record.size = 100
      record.base = StagingBase(key: journalKey, etag: ETag("e"), size: 100)
      record.present.insert(10..<12)
      record.dirty.insert(10..<12)
      try entry.write(record, durable: false)
    }
    let target = bench.root.path.appending("out")
    let export = try JournalInventory.export(try item(bench, "1"), to: target)
    #expect(export == JournalExport(size: 100, missing: [0..<10, 12..<100]))
    var expected = [UInt8](repeating: 0, count: 100)
    expected.replaceSubrange(10..<12, with: [7, 7])
    #expect(try JournalDisk.read(target) == expected)
  }

  @Test(arguments: ["2-3", "2", "4", "5", "6", "recovered/1"]) func discardRemovesThatItemOnly(id: String) throws {
    let bench = try JournalBench()
    try fill(bench)
    let before = try read(bench)
    let discarded = try item(bench, id)
    try JournalInventory.discard(discarded)
    let left = before.filter { $0.id != discarded.id }
    let after = try read(bench)
    #expect(after.map(\.id) == left.map(\.id) && after.map(\.size) == left.map(\.size))
    #expect(throws: JournalInventoryError.changed(discarded.id)) { try JournalInventory.discard(discarded) }
    let (journal, found) = try bench.takeUp()
    #expect(found.pending.count == left.filter { $0.record != nil }.count)
    #expect(journal.recoveredFiles().count == left.filter { [.open, .recovered].contains($0.state) }.count)
    #expect(journal.names("quarantine").isEmpty == (id == "6"))
    let names = JournalArea.folders.flatMap { journal.names($0) }
    if !["2-3", "2"].contains(id) {
      let number = id.split(separator: "/").last ?? ""
      #expect(!names.contains { $0.hasPrefix("\(number).") })
    }
  }

  @Test func discardLeavesTheUploadToAbort() throws {
    let bench = try JournalBench()
    let upload = MultipartUpload(key: journalKey, id: "u")
    try bench.leave { journal in
      let entry = try journal.makeEntry()
      entry.note(.upload(upload))
      try entry.record([1])
    }
    try JournalInventory.discard(try item(bench, "1"))
    #expect(try bench.takeUp().1.abandoned.map(\.upload) == [upload])
  }

  @Test func whatADaemonHasIsNotTouched() throws {
    let bench = try JournalBench()
    let journal = try bench.open()
    let entry = try journal.makeEntry()
    try entry.record([1])
    let item = try item(bench, "1")
    #expect(item.isInUse && item.state == .pending(.closed))
    let target = bench.root.path.appending("out")
    #expect(throws: JournalInventoryError.inUse(journal.directory)) { try JournalInventory.discard(item) }
    #expect(journal.names("files") == ["1.data", "1.record"])
    // It may be copied, as long as it is what it was.
    _ = try JournalInventory.export(item, to: target)
    #expect(try JournalDisk.read(target) == [1])
    try FileSystem.remove(target)
    try entry.record([2])
    #expect(throws: JournalInventoryError.changed(item.id)) { try JournalInventory.export(item, to: target) }
    #expect(!JournalDisk.exists(target))
  }

  @Test func anItemThatHasChangedIsNotTouched() throws {
    let bench = try JournalBench()
    try bench.leave { try $0.makeEntry().record([1]) }
    let old = try item(bench, "1")
    do {
      let (_, found) = try bench.takeUp()
      try found.pending.first?.entry.record([2])
    }
    #expect(throws: JournalInventoryError.changed(old.id)) { try JournalInventory.discard(old) }
    #expect(try bench.takeUp().1.pending.map { $0.entry.liveBytes } == [[2]])
  }
}
