import Basics
import Glibc
import ObjectStore
import Synchronization
import SystemPackage
import Testing

@testable import WritePath

@Suite struct UnsentRecordTests {
  private func record(_ key: String = "dir/a b.txt", _ change: (inout UnsentRecord) -> Void = { _ in }) -> UnsentRecord
  {
    var present = RangeSet64()
    present.insert(0..<10)
    present.insert(90..<120)
    var record = UnsentRecord(
      data: "17.data",
      target: UploadTarget(
        key: ObjectKey(key),
        attributes: ObjectAttributes(contentType: "text/plain; a=b", userMetadata: ["mode": "33188", "a:b%": "=\n"])),
      size: 120, condition: .ifMatch(ETag("e:1%")),
      base: StagingBase(key: ObjectKey("old:\n%"), etag: ETag("x:\"y"), size: 100), present: present)
    change(&record)
    return record
  }

  @Test(arguments: ["a", "a\nb", "100%", "%41", "a:b", "=", "é", "e\u{301}", "\u{0}", "a\r\nb", "日本/👨‍👩‍👧", " ", "+", ""])
  func roundTrip(key: String) {
    let record = record(key)
    #expect(UnsentRecord(decoding: record.encoded) == record)
  }

  @Test func roundTripOfConditionsAndNewFiles() {
    for condition in [WriteCondition.none, .ifAbsent, .ifMatch(ETag("")), .ifMatch(ETag("none"))] {
      let record = record {
        $0.condition = condition
        $0.base = nil
        $0.present = RangeSet64()
        $0.present.insert(0..<120)
        $0.target.attributes = ObjectAttributes()
      }
      #expect(UnsentRecord(decoding: record.encoded) == record)
    }
    let empty = record {
      $0.size = 0
      $0.base = nil
      $0.present = RangeSet64()
    }
    #expect(UnsentRecord(decoding: empty.encoded) == empty)
  }

  @Test func everyTruncationIsRefused() {
    let bytes = Array(record().encoded.utf8)
    for count in 0..<bytes.count {
      #expect(UnsentRecord(decoding: String(decoding: bytes[..<count], as: UTF8.self)) == nil, "\(count) bytes")
    }
  }

  @Test func everyFlippedBitAndByteIsRefused() {
    let bytes = Array(record().encoded.utf8)
    for index in bytes.indices {
      for mask in [1, 2, 4, 8, 16, 32, 64, 128, 255, bytes[index] ^ 0x0A, bytes[index] ^ 0x0D] as [UInt8]
      where mask != 0 {
        var damaged = bytes
        damaged[index] ^= mask
        guard let text = String(validating: damaged, as: UTF8.self) else { continue }
        #expect(UnsentRecord(decoding: text) == nil, "byte \(index), mask \(mask)")
      }
    }
  }

  private func forged(_ lines: String...) -> UnsentRecord? {
    let text = (["waysfs-unsent 1"] + lines).map { $0 + "\n" }.joined()
    return UnsentRecord(decoding: text + "checksum=\(String(Checksum.of(text), radix: 16))\n")
  }

  @Test func whatNoMountHasWrittenIsRefused() {
    let good = ["data=1.data", "key=k", "size=10", "condition=none", "present=0-10"]
    func replaced(_ index: Int, _ line: String) -> UnsentRecord? {
      var lines = good
      lines[index] = line
      return forged(lines[0], lines[1], lines[2], lines[3], lines[4])
    }
    #expect(replaced(1, "key=k") != nil)
    for data in ["", ".", "..", "../1.data", "a/b", ".data", "1.data2", "1.record", "x.data"] {
      #expect(replaced(0, "data=\(data)") == nil, "\(data)")
    }
    #expect(replaced(1, "key=%4") == nil)
    #expect(replaced(1, "key=%+1") == nil)
    #expect(replaced(1, "key=%FF") == nil)
    for size in ["-1", "18446744073709551615", "18446744073709551616", "9", "11", ""] {
      #expect(replaced(2, "size=\(size)") == nil, "\(size)")
    }
    for present in ["0-11", "10-0", "0-5", "1-10", "", "0", "a-b", "0-18446744073709551615"] {
      #expect(replaced(4, "present=\(present)") == nil, "\(present)")
    }
    #expect(forged(good[0], good[1], good[2], good[3], good[4], "key=other") == nil)
    #expect(forged(good[0], good[1], good[2], good[3], good[4], "base=e:18446744073709551615:k") == nil)
    #expect(forged(good[0], good[1], good[2], good[3]) == nil)
  }
}

@Suite struct StagingAreaTests {
  private func directory(_ slot: Int) -> String { "bucket-\(String(Checksum.of("test"), radix: 16))-\(slot)" }

  private func open(_ root: TemporaryDirectory) throws -> StagingArea {
    try StagingArea(root: root.path, name: "bucket", identity: "test")
  }

  /// What a daemon left, with its slot free again, as `kill -9` would do it.
  private func leave(_ bench: Workbench, _ body: (StagingArea) throws -> Void) throws {
    let area = try StagingArea(root: bench.root.path, name: "bucket", identity: "dead")
    try body(area)
  }

  private func dead(_ bench: Workbench) throws -> StagingArea {
    try StagingArea(root: bench.root.path, name: "bucket", identity: "dead")
  }

  private func staged(_ bench: Workbench, _ area: StagingArea, _ base: StagingBase? = nil) throws -> StagedFile {
    let (file, path) = try area.makeFile()
    return StagedFile(file: file, path: path, base: base, store: bench.store, workers: bench.workers, log: bench.log)
  }

  private func takeUp(_ bench: Workbench, _ area: StagingArea) -> [WriteCondition] {
    let seen = Mutex<[WriteCondition]>([])
    area.takeUp(store: bench.store, workers: bench.workers, log: bench.log) {
      file, target, condition throws(WriteError) in
      seen.withLock { $0.append(condition) }
      _ = try file.upload(to: target, condition: condition, conditions: bench.conditions)
    }
    return seen.withLock { $0 }
  }

  private func names(_ area: StagingArea, _ folder: String) -> [String] {
    (try? FileSystem.names(in: area.directory.appending(folder))) ?? []
  }

  @Test func eachMountHasItsSlotAndIsPrivate() throws {
    let root = try TemporaryDirectory()
    var first: StagingArea? = try open(root)
    let second = try open(root)
    #expect(first?.directory.lastComponent?.string == directory(0))
    #expect(second.directory.lastComponent?.string == directory(1))
    var info = stat()
    #expect(second.directory.withPlatformString { stat($0, &info) } == 0)
    #expect(info.st_mode & 0o777 == 0o700)
    first = nil
    #expect(try open(root).directory.lastComponent?.string == directory(0))
    #expect(try StagingArea(root: root.path, name: "bucket", identity: "x").directory != second.directory)
    #expect(throws: StagingAreaError.self) {
      try StagingArea(root: root.path.appending("\(directory(1))").appending("lock"), name: "b", identity: "")
    }
  }

  @Test func openFilesOfADeadDaemonAreKeptAsRecovered() throws {
    let bench = try Workbench()
    try leave(bench) { area in try staged(bench, area).write([1, 2, 3], at: 0) }
    let area = try dead(bench)
    #expect(area.recoveredFiles().map { $0.lastComponent?.string } == ["1.data"])
    #expect(names(area, "staging").isEmpty)
    #expect(takeUp(bench, area).isEmpty)
    #expect(bench.memory.keys.isEmpty)
    // Never written over.
    let (_, path) = try area.makeFile()
    #expect(path.lastComponent?.string == "2.data")
    let recovered = try FileSystem.read(area.recoveredFiles()[0])
    #expect(recovered.map { Array($0.utf8) } == [1, 2, 3])
  }

  @Test(arguments: [false, true]) func aKeptFileIsSentByTheNextMount(hasBase: Bool) throws {
    let bench = try Workbench()
    var model = bytes(hasBase ? 2 * partBytes + 9 : 1000, seed: 4)
    let base = hasBase ? try bench.object(model) : nil
    let condition = base.map { WriteCondition.ifMatch($0.etag) } ?? .ifAbsent
    try leave(bench) { area in
      let file = try staged(bench, area, base)
      if !hasBase { try file.write(model, at: 0) }
      try file.write([9, 9], at: 10)
      try file.keep(for: bench.target, condition: condition, in: area)
      try file.keep(for: bench.target, condition: condition, in: area)
      #expect(names(area, "unsent") == ["1.data", "1.data.record"])
    }
    model.replaceSubrange(10..<12, with: [9, 9])
    let area = try dead(bench)
    #expect(area.recoveredFiles().isEmpty)
    // As long as it cannot be sent, it stays, and nothing is left behind on the server.
    bench.store.setRule { [.put, .completeUpload].contains($0.kind) ? .fail(.connectionFailed) : nil }
    #expect(takeUp(bench, area) == [condition])
    #expect(names(area, "unsent") == ["1.data", "1.data.record"])
    #expect(bench.memory.uploadCount == 0)
    bench.store.setRule { _ in nil }
    #expect(takeUp(bench, area) == [condition])
    #expect(isSame(bench.stored, model))
    #expect(try bench.memory.head(bench.key).userMetadata == ["mode": "33188"])
    #expect(names(area, "unsent").isEmpty)
    #expect(takeUp(bench, area).isEmpty)
  }

  /// Two mounts ran and died; only one runs now. Nobody else would come for the files of the second.
  @Test func filesOfAnotherSlotAreTakenUpToo() throws {
    let bench = try Workbench()
    try leave(bench) { _ in
      let second = try dead(bench)
      let file = try staged(bench, second)
      try file.write([4, 5], at: 0)
      try file.keep(for: bench.target, condition: .ifAbsent, in: second)
      try staged(bench, second).write([1], at: 0)
    }
    let area = try dead(bench)
    #expect(area.recoveredFiles().count == 1)
    #expect(takeUp(bench, area) == [.ifAbsent])
    #expect(bench.stored == [4, 5])
    // Afterwards the other slot is free again.
    let other = try dead(bench)
    #expect(other.directory != area.directory && names(other, "recovered") == ["2.data"])
  }

  @Test func aLiveMountIsLeftAlone() throws {
    let bench = try Workbench()
    let (first, second) = (try dead(bench), try dead(bench))
    let file = try staged(bench, second)
    try file.write([4, 5], at: 0)
    try file.keep(for: bench.target, condition: .ifAbsent, in: second)
    #expect(takeUp(bench, first).isEmpty)
    // Nor does a mount take up what it has just kept itself: the file is in use.
    #expect(takeUp(bench, second).isEmpty)
    #expect(names(second, "unsent").count == 2)
    #expect(bench.memory.keys.isEmpty)
  }

  @Test(arguments: ["flip", "empty", "binary", "missing data", "short data", "wrong name"])
  func damageIsSetAsideWithItsData(damage: String) throws {
    let bench = try Workbench()
    try leave(bench) { area in
      let file = try staged(bench, area)
      try file.write([1, 2, 3], at: 0)
      try file.keep(for: bench.target, condition: .none, in: area)
      let unsent = area.directory.appending("unsent")
      let record = unsent.appending("1.data.record")
      let text = try FileSystem.read(record) ?? ""
      switch damage {
      case "flip": try FileSystem.writeDurably(text.replacing("dir", with: "dis"), to: record)
      case "empty": try FileSystem.writeDurably("", to: record)
      case "binary": #expect(record.withPlatformString { truncate($0, 1 << 20) } == 0)
      case "missing data": try FileSystem.remove(unsent.appending("1.data"))
      case "short data": #expect(unsent.appending("1.data").withPlatformString { truncate($0, 2) } == 0)
      default:
        try FileSystem.rename(record, to: unsent.appending("7.data.record"))
        try FileSystem.link(unsent.appending("1.data"), to: unsent.appending("7.data"))
      }
    }
    let area = try dead(bench)
    #expect(takeUp(bench, area).isEmpty)
    #expect(bench.memory.keys.isEmpty)
    let number = damage == "wrong name" ? 7 : 1
    let expected = ["\(number).data"].filter { _ in damage != "missing data" } + ["\(number).data.record"]
    #expect(names(area, "quarantine") == expected)
    #expect(names(area, "unsent").isEmpty)
    let (_, path) = try area.makeFile()
    #expect(path.lastComponent?.string == "\(number + 1).data")
  }

  @Test func dataWithoutARecordIsRecovered() throws {
    let bench = try Workbench()
    try leave(bench) { area in
      try staged(bench, area).write([1], at: 0)
      let unsent = area.directory.appending("unsent")
      try FileSystem.link(area.directory.appending("staging/1.data"), to: unsent.appending("1.data"))
      try FileSystem.writeDurably("half a rec", to: unsent.appending("1.data.record.new"))
    }
    let area = try dead(bench)
    #expect(takeUp(bench, area).isEmpty)
    #expect(names(area, "recovered") == ["1.data"])
    #expect(names(area, "quarantine") == ["1.data.record.new"])
    #expect(names(area, "unsent").isEmpty && names(area, "staging").isEmpty)
  }

  @Test func aFileThatCannotBeOpenedNowIsNotDamaged() throws {
    let bench = try Workbench()
    try leave(bench) { area in
      let file = try staged(bench, area)
      try file.write([1], at: 0)
      try file.keep(for: bench.target, condition: .none, in: area)
      // A directory in its place: the error is EISDIR for everybody, root included.
      let data = area.directory.appending("unsent/1.data")
      try FileSystem.remove(data)
      try FileSystem.makePrivateDirectory(data)
    }
    let area = try dead(bench)
    #expect(takeUp(bench, area).isEmpty)
    #expect(names(area, "unsent") == ["1.data", "1.data.record"])
    #expect(names(area, "quarantine").isEmpty)
  }

  @Test func forgetRemovesBothAndKeepsAnOpenFileUsable() throws {
    let bench = try Workbench()
    let file = try bench.staged()
    try file.write([1, 2], at: 0)
    try file.keep(for: bench.target, condition: .ifAbsent, in: bench.area)
    _ = try bench.upload(file, .ifAbsent)
    bench.area.forget(file)
    bench.area.forget(file)
    #expect(names(bench.area, "unsent").isEmpty)
    #expect(try file.read(2, at: 0) == [1, 2])
    file.discard()
    #expect(names(bench.area, "staging").isEmpty)
  }

  /// Its upload failed and it was kept; then a write failed. The bytes are not thrown away.
  @Test func aKeptFileThatBreaksLaterIsRecovered() throws {
    let bench = try Workbench()
    let file = try bench.staged()
    try file.write([1, 2], at: 0)
    try file.keep(for: bench.target, condition: .ifAbsent, in: bench.area)
    file.state.withLock { $0.failure = .noSpace }
    bench.area.forget(file)
    file.discard()
    #expect(names(bench.area, "unsent").isEmpty)
    #expect(names(bench.area, "recovered") == ["1.data"])
  }

  @Test func strangeNamesDoNotUseUpTheNumbers() throws {
    let bench = try Workbench()
    try leave(bench) { area in
      for name in ["18446744073709551615.data", "99999999999999999999.data", "notes", "41.data"] {
        try FileSystem.writeDurably("x", to: area.directory.appending("recovered").appending(name))
      }
    }
    #expect(try dead(bench).makeFile().path.lastComponent?.string == "42.data")
  }

  /// A file written in very many places has a record of many megabytes: what was written must be readable.
  @Test func aLongRecordCanBeRead() throws {
    let root = try TemporaryDirectory()
    let path = root.path.appending("record")
    let text = String(repeating: "0123456789abcdef", count: 17 << 16)
    try FileSystem.writeDurably(text, to: path)
    #expect(try FileSystem.read(path)?.utf8.count == 17 << 20)
  }
}
