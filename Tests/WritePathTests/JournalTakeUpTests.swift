import Glibc
import ObjectStore
import SystemPackage
import Testing

@testable import WritePath

@Suite struct JournalTakeUpTests {
  private let upload = MultipartUpload(key: journalKey, id: "u")
  private let part = RecordedPart(number: 1, range: 0..<5, etag: ETag("e"), isCopy: false)

  @Test func whatWasRecordedComesBackInOrder() throws {
    let bench = try JournalBench()
    try bench.leave { journal in
      let entries = try (0..<3).map { _ in try journal.makeEntry() }
      for index in [1, 2, 0] { try entries[index].record([UInt8(index)], key: ObjectKey("k\(index)")) }
      entries[0].note(.upload(MultipartUpload(key: ObjectKey("k0"), id: "u")))
      entries[0].note(.part(part))
    }
    let (journal, found) = try bench.takeUp()
    #expect(found.pending.map(\.record.target.key.string) == ["k1", "k2", "k0"])
    #expect(found.pending.map { $0.entry.liveBytes } == [[1], [2], [0]])
    #expect(found.pending.map(\.mayBeTorn) == [false, false, false])
    #expect(found.pending.map { $0.upload?.parts } == [nil, nil, [part]])
    #expect(found.pending.allSatisfy { $0.entry.isRecorded })
    #expect(journal.space.used > 0)
    for pending in found.pending { pending.entry.discard() }
    #expect(journal.names("files").isEmpty && journal.space.used == 0)
    // Later records come after the earlier ones, and numbers go on.
    let entry = try journal.makeEntry()
    try entry.record([1])
    #expect(entry.path.name == "4.data")
    #expect(entry.record.map { $0.sequence > found.pending.map(\.record.sequence).max() ?? .max } == true)
  }

  @Test func changedAfterItWasRecorded() throws {
    for afresh in [false, true] {
      let bench = try JournalBench()
      try bench.leave { journal in
        let entry = try journal.makeEntry()
        try entry.record([1, 2, 3])
        if afresh { try entry.startAfresh() } else { try entry.freeze() }
        try entry.put([9, 9], at: 0)
      }
      let (journal, found) = try bench.takeUp()
      #expect(found.pending.map { $0.entry.liveBytes } == [[1, 2, 3]] && found.recoveredCount == 1)
      let name = afresh ? "1-2.data" : "1.data"
      #expect(journal.names("recovered") == [name, "1.notes"].sorted())
      let recovered = try JournalDisk.read(journal.directory.appending("recovered/\(name)"))
      #expect(recovered == (afresh ? [9, 9] : [9, 9, 3]))
      let notes = try JournalDisk.read(journal.directory.appending("recovered/1.notes"))
      #expect(JournalNotes(decoding: notes).name == journalKey)
      #expect(journal.recoveredFiles().map(\.name) == [name])
      // Its life goes on: the copy is its live data now.
      let entry = found.pending.first?.entry
      try entry?.freeze()
      try entry?.put([8], at: 0)
      try entry?.write(wholeRecord(3), durable: false)
      #expect(entry?.liveBytes == [8, 2, 3])
      #expect(journal.names("files").count == 2)
    }
  }

  @Test func neverClosed() throws {
    let bench = try JournalBench()
    try bench.leave { journal in
      let named = try journal.makeEntry()
      named.note(.name(ObjectKey("a b")))
      named.note(.upload(upload))
      try named.fill([1, 2])
      try journal.makeEntry().fill([3])
      // Empty: with a name it tells something, without it does not.
      try journal.makeEntry().note(.name(ObjectKey("empty")))
      _ = try journal.makeEntry()
    }
    let (journal, found) = try bench.takeUp()
    #expect(found.pending.isEmpty && found.recoveredCount == 3 && found.quarantinedCount == 0)
    #expect(journal.names("recovered") == ["1.data", "1.notes", "2.data", "3.data", "3.notes"])
    // The upload is noted until it was aborted.
    #expect(journal.names("files") == ["1.notes"])
    #expect(found.abandoned.map(\.upload) == [upload])
    #expect(try journal.makeEntry().path.name == "5.data")
  }

  /// The name stands on the data, or in the notes where the filesystem has no attributes.
  @Test(arguments: [true, false]) func theLastNameIsKept(hasAttributes: Bool) throws {
    let bench = try JournalBench()
    let disk = JournalDisk(onStep: { step throws(Errno) in
      if case .label = step, !hasAttributes { throw .notSupported }
    })
    do {
      let journal = try bench.open(disk: disk)
      let entry = try journal.makeEntry()
      for name in ["first", "a b/é"] { entry.note(.name(ObjectKey(name))) }
      try entry.record([1], key: ObjectKey("recorded"))
      try entry.startAfresh()
      try entry.put([2], at: 0)
      entry.forget()
      #expect(journal.names("files") == (hasAttributes ? ["1-2.data"] : ["1-2.data", "1.notes"]))
      #expect(try JournalInventory.read(root: bench.root.path).map(\.key) == [ObjectKey("a b/é")])
    }
    let (journal, found) = try bench.takeUp()
    #expect(found.recoveredCount == 1 && journal.names("recovered") == ["1-2.data", "1.notes"])
    #expect(try JournalInventory.read(root: bench.root.path).map(\.key) == [ObjectKey("a b/é")])
    #expect(journal.names("files").isEmpty)
  }

  @Test func abandonedUploadsStayUntilTheyAreDone() throws {
    let bench = try JournalBench()
    let other = MultipartUpload(key: ObjectKey("other"), id: "2")
    try bench.leave { journal in
      journal.noteAbandoned(upload)
      let entry = try journal.makeEntry()
      try entry.record([1])
      // Renamed after the upload was begun: it leads nowhere.
      entry.note(.upload(other))
      let ended = try journal.makeEntry()
      try ended.record([2])
      ended.note(.upload(other))
      ended.note(.uploadEnded)
    }
    for _ in 0..<2 {
      let (_, found) = try bench.takeUp()
      #expect(Set(found.abandoned.map(\.upload)) == [upload, other])
      #expect(found.pending.map(\.upload) == [nil, nil])
      // A new upload of the file is not mixed up with it.
      found.pending.first?.entry.note(.upload(upload))
      found.pending.first?.entry.note(.uploadEnded)
    }
    do {
      let (_, found) = try bench.takeUp()
      for upload in found.abandoned { upload.done() }
    }
    let (journal, found) = try bench.takeUp()
    #expect(found.abandoned.isEmpty && found.pending.count == 2)
    #expect(journal.names("files").filter { $0.hasSuffix(".data") }.count == 2)
  }

  @Test(arguments: [
    "flip", "empty", "binary", "missing data", "short data", "other entry", "flip, frozen", "short copy", "no copy",
  ])
  func damageIsSetAsideWithItsData(damage: String) throws {
    let bench = try JournalBench()
    var expected = ["1.data", "1.notes", "1.record"]
    try bench.leave { journal in
      let entry = try journal.makeEntry()
      entry.note(.name(journalKey))
      entry.note(.upload(upload))
      try entry.record([1, 2, 3])
      if damage.hasSuffix("frozen") || damage.hasSuffix("copy") { try entry.freeze() }
      let files = journal.directory.appending("files")
      let record = files.appending("1.record")
      let text = String(decoding: try JournalDisk.read(record), as: UTF8.self)
      switch damage {
      case "flip": try record.overwrite(Array(text.replacing("dir", with: "dis").utf8))
      case "empty": try record.overwrite([])
      case "binary": #expect(record.withPlatformString { truncate($0, 1 << 20) } == 0)
      case "missing data":
        try FileSystem.remove(files.appending("1.data"))
        expected.removeFirst()
      case "short data": #expect(files.appending("1.data").withPlatformString { truncate($0, 2) } == 0)
      case "other entry":
        var other = wholeRecord(3)
        other.data = "2.data"
        try record.overwrite(Array(other.encoded.utf8))
        try files.appending("2.data").overwrite([7, 7, 7])
      case "flip, frozen":
        try record.overwrite(Array(text.replacing("dir", with: "dis").utf8))
        expected.append("1-2.data.copy")
      case "short copy":
        #expect(files.appending("1-2.data.copy").withPlatformString { truncate($0, 2) } == 0)
        expected.append("1-2.data.copy")
      default: try FileSystem.remove(files.appending("1-2.data.copy"))
      }
    }
    let (journal, found) = try bench.takeUp()
    #expect(found.pending.isEmpty)
    #expect(found.quarantinedCount == 1)
    #expect(journal.names("quarantine") == expected.sorted())
    #expect(journal.names("recovered") == (damage == "other entry" ? ["2.data"] : []))
    #expect(found.abandoned.map(\.upload) == [upload])
    for upload in found.abandoned { upload.done() }
    #expect(journal.names("files").isEmpty)
  }

  @Test func halfWrittenFilesAreSetAside() throws {
    let bench = try JournalBench()
    try bench.leave { journal in
      let entry = try journal.makeEntry()
      try entry.record([1])
      let files = journal.directory.appending("files")
      try files.appending("1.record.new").overwrite([1])
      try files.appending("1-7.data.copy").overwrite([2])
      try files.appending("9.rename.new").overwrite([3])
      try files.appending("10.rename").overwrite([4])
      try files.appending("11.notes").overwrite([5])
      try files.appending("notes").overwrite([6])
    }
    let (journal, found) = try bench.takeUp()
    #expect(found.pending.map { $0.entry.liveBytes } == [[1]])
    #expect(found.quarantinedCount == 5 && found.recoveredCount == 0)
    #expect(
      journal.names("quarantine") == ["1-7.data.copy", "1.record.new", "10.rename", "11.notes", "9.rename.new"])
    #expect(journal.names("files") == ["1.data", "1.record", "notes"])
    #expect(try journal.makeEntry().path.name == "12.data")
  }

  @Test func nothingThatIsKeptIsWrittenOver() throws {
    let bench = try JournalBench()
    for round in 1...3 {
      try bench.leave { journal in
        if round == 1 { try journal.makeEntry().record([1]) }
        try journal.directory.appending("files/1.record.new").overwrite([UInt8(round)])
      }
      let (journal, _) = try bench.takeUp()
      let contents = try journal.names("quarantine").map {
        try JournalDisk.read(journal.directory.appending("quarantine").appending($0))
      }
      #expect(contents.flatMap { $0 }.sorted() == (1...round).map { UInt8($0) })
    }
  }

  @Test func aFileThatCannotBeOpenedNowIsNotDamaged() throws {
    let bench = try JournalBench()
    try bench.leave { journal in
      try journal.makeEntry().record([1])
      // A directory in its place: the error is EISDIR for everybody, root included.
      let data = journal.directory.appending("files/1.data")
      try FileSystem.remove(data)
      try FileSystem.makePrivateDirectory(data)
    }
    let (journal, found) = try bench.takeUp()
    #expect(found.pending.isEmpty && found.quarantinedCount == 0)
    #expect(journal.names("files") == ["1.data", "1.record"])
  }

  @Test func strangeNamesDoNotUseUpTheNumbers() throws {
    let bench = try JournalBench()
    try bench.leave { journal in
      for name in ["18446744073709551615.data", "99999999999999999999.data", "notes", "41.data", "3-57.data"] {
        try journal.directory.appending("recovered").appending(name).overwrite([1])
      }
    }
    #expect(try bench.open().makeEntry().path.name == "58.data")
  }

  @Test func whatWasNotDurableIsDoubtedAfterTheMachineWentDown() throws {
    let bench = try JournalBench()
    try bench.leave { journal in
      for durable in [false, true] {
        let entry = try journal.makeEntry()
        try entry.record([1], durable: durable)
        var record = try #require(entry.record)
        record.boot = "an earlier one"
        try journal.directory.appending("files").appending("\(entry.number).record")
          .overwrite(Array(record.encoded.utf8))
      }
    }
    #expect(try bench.takeUp().1.pending.map(\.mayBeTorn) == [true, false])
  }

  @Test func renamesComeBackAsTheyWereNotedLast() throws {
    let bench = try JournalBench()
    var first = RenameIntent(source: ObjectKey("a/"), destination: ObjectKey("b/"), isDirectory: true)
    let second = RenameIntent(
      source: ObjectKey("c"), destination: ObjectKey("d"), isDirectory: false, sourceETag: ETag("e"), sourceSize: 5,
      replaced: .absent)
    try bench.leave { journal in
      let noted = try journal.begin(first)
      _ = try journal.begin(second)
      let done = try journal.begin(second)
      first.phase = .deleting(ETag("x"))
      #expect(try journal.update(noted, to: first).intent == first)
      try journal.end(done)
    }
    do {
      let (journal, found) = try bench.takeUp()
      #expect(found.intents.map(\.intent) == [first, second])
      #expect(found.intents.map(\.sequence) == found.intents.map(\.sequence).sorted())
      if let intent = found.intents.first { try journal.end(intent) }
    }
    #expect(try bench.takeUp().1.intents.map(\.intent) == [second])
  }

  @Test func aRenameIsDurableWhenItIsNoted() throws {
    let recorder = StepRecorder()
    let journal = try JournalBench().open(disk: recorder.disk)
    let intent = RenameIntent(source: ObjectKey("a"), destination: ObjectKey("b"), isDirectory: false)
    let noted = try journal.begin(intent)
    let durable = [
      "make 1.rename.new", "write 1.rename.new", "sync 1.rename.new", "rename to 1.rename", "sync directory files",
    ]
    #expect(recorder.taken() == durable)
    try journal.update(noted, to: intent)
    #expect(recorder.taken() == durable)
    // Its names may be used again: it must not come back with a power failure.
    try journal.end(noted)
    #expect(recorder.taken() == ["remove 1.rename", "sync directory files"])
  }

  @Test func aRenameWhoseNoteCannotBeRemovedIsNotDoneAgain() throws {
    let bench = try JournalBench()
    let disk = JournalDisk(onStep: { step throws(Errno) in if case .remove = step { throw .ioError } })
    do {
      let journal = try bench.open(disk: disk)
      let intent = RenameIntent(source: ObjectKey("a"), destination: ObjectKey("b"), isDirectory: false)
      try journal.end(try journal.begin(intent))
    }
    #expect(try bench.takeUp().1.intents.isEmpty)
  }

  @Test func whatTookTheNameSupersedesOnlyThatRecord() throws {
    let bench = try JournalBench()
    try bench.leave { journal in
      let old = try journal.makeEntry()
      try old.record([1], key: ObjectKey("a"))
      let other = try journal.makeEntry()
      try other.record([2], key: ObjectKey("a"))
      let new = try journal.makeEntry()
      try new.fill([3])
      var record = wholeRecord(1, key: ObjectKey("a"))
      record.supersedes = [try #require(old.record?.sequence)]
      try new.write(record, durable: false)
    }
    let (_, found) = try bench.takeUp()
    let last = try #require(found.pending.last)
    #expect(found.pending.map { $0.isSuperseded(by: last) } == [true, false, false])
  }

  @Test func aStrandedFileStaysAndIsNotSent() throws {
    let bench = try JournalBench()
    try bench.leave { journal in
      let entry = try journal.makeEntry()
      try entry.record([1, 2])
      entry.note(.upload(upload))
      try entry.mark(.stranded)
    }
    for _ in 0..<2 {
      let (journal, found) = try bench.takeUp()
      #expect(found.pending.isEmpty && found.strandedCount == 1)
      #expect(found.recoveredCount == 0 && found.quarantinedCount == 0 && journal.space.used == 0)
      #expect(Array(journal.names("files").prefix(3)) == ["1.data", "1.notes", "1.record"])
      #expect(found.abandoned.map(\.upload) == [upload])
    }
    #expect(try JournalInventory.read(root: bench.root.path).map(\.state) == [.stranded])
  }

  /// The daemon dies again while it takes up: nothing is lost on the way.
  @Test func everyCrashWhileTakingUp() throws {
    func prepare(_ bench: JournalBench) throws {
      try bench.leave { journal in
        let first = try journal.makeEntry()
        first.note(.name(journalKey))
        first.note(.upload(upload))
        try first.record([1, 1])
        try first.freeze()
        try first.put([2], at: 0)
        let second = try journal.makeEntry()
        second.note(.name(ObjectKey("second")))
        second.note(.upload(MultipartUpload(key: ObjectKey("second"), id: "2")))
        try second.fill([3])
        let third = try journal.makeEntry()
        third.note(.upload(MultipartUpload(key: ObjectKey("third"), id: "3")))
        try third.record([4])
        try journal.directory.appending("files/\(third.number).record").overwrite([5])
      }
    }
    var failAt = 0
    var isComplete = false
    while !isComplete {
      failAt += 1
      let bench = try JournalBench()
      try prepare(bench)
      let recorder = StepRecorder(stopAt: failAt)
      do {
        let journal = try bench.open(disk: recorder.disk)
        _ = journal.takeUp(log: bench.log)
        isComplete = !recorder.hasStopped
      }
      let (journal, found) = try bench.takeUp()
      let recovered = try journal.recoveredFiles().map { try JournalDisk.read($0) }
      let damaged = try journal.names("quarantine").filter { $0.hasSuffix(".data") }.map {
        try JournalDisk.read(journal.directory.appending("quarantine").appending($0))
      }
      #expect(found.pending.map { $0.entry.liveBytes } == [[1, 1]], "step \(failAt)")
      #expect(found.pending.first?.upload?.upload == upload, "step \(failAt)")
      #expect(recovered == [[2, 1], [3]], "step \(failAt)")
      #expect(damaged == [[4]], "step \(failAt)")
      #expect(Set(found.abandoned.map(\.upload.id)) == ["2", "3"], "step \(failAt)")
      let notes = try JournalDisk.read(journal.directory.appending("recovered/3.notes"))
      #expect(JournalNotes(decoding: notes).name == ObjectKey("second"), "step \(failAt)")
    }
    #expect(failAt > 8)
  }
}
