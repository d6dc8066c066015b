import ObjectStore
import Testing

@testable import WritePath

/// Every truncation, and every byte changed in ways that include one flipped bit: none may be read as something else.
private func damaged(_ text: String, _ check: ([UInt8]) -> Void) {
  let bytes = Array(text.utf8)
  for count in 0..<bytes.count { check(Array(bytes[..<count])) }
  for index in bytes.indices {
    for mask in [1, 2, 4, 8, 16, 32, 64, 128, 255, bytes[index] ^ 0x0A, bytes[index] ^ 0x3D] as [UInt8] where mask != 0
    {
      var copy = bytes
      copy[index] ^= mask
      check(copy)
    }
    var copy = bytes
    copy.remove(at: index)
    if copy != bytes { check(copy) }
  }
}

private let strangeTexts = [
  "a", "a\nb", "100%", "%41", "a:b", "=", "é", "e\u{301}", "\u{0}", "a\r\nb", "日本/👨‍👩‍👧", " ", "+", "", "\u{301}x",
]

@Suite struct JournalRecordTests {
  private func record(_ key: String = "dir/a b.txt", _ change: (inout JournalRecord) -> Void = { _ in })
    -> JournalRecord
  {
    var present = RangeSet64()
    present.insert(0..<10)
    present.insert(90..<120)
    var dirty = RangeSet64()
    dirty.insert(2..<5)
    dirty.insert(100..<120)
    var record = JournalRecord(
      state: .synced,
      target: UploadTarget(
        key: ObjectKey(key),
        attributes: ObjectAttributes(contentType: "text/plain; a=b", userMetadata: ["mode": "33188", "a:b%": "=\n"])),
      size: 120, condition: .ifMatch(ETag("e:1%")),
      base: StagingBase(key: ObjectKey("old:\n%"), etag: ETag("x:\"y"), size: 100), present: present, dirty: dirty)
    record.data = "17-23.data"
    record.sequence = 99
    record.time = -5
    record.boot = "a=b\n"
    record.isDurable = true
    change(&record)
    return record
  }

  @Test(arguments: strangeTexts) func roundTrip(text: String) {
    let record = record(text) {
      $0.target.attributes.contentType = text
      $0.target.attributes.headers = [.contentDisposition: text, .expires: "y"]
      $0.target.attributes.userMetadata = [text: text, "x": "y"]
      $0.condition = .ifMatch(ETag(text))
      $0.boot = text
    }
    let decoded = JournalRecord(decoding: record.encoded)
    #expect(decoded == record)
    #expect(decoded?.target.key.string.utf8.elementsEqual(text.utf8) == true)
  }

  @Test func roundTripOfConditionsStatesAndNewFiles() {
    for condition in [WriteCondition.none, .ifAbsent, .ifMatch(ETag("")), .ifMatch(ETag("none"))] {
      for state in JournalRecord.State.allCases {
        var record = wholeRecord(120, state: state)
        record.condition = condition
        #expect(JournalRecord(decoding: record.encoded) == record)
      }
    }
    #expect(JournalRecord(decoding: wholeRecord(0).encoded) == wholeRecord(0))
    var record = wholeRecord(5)
    for numbers in [[1], [3, UInt64.max, 0]] {
      record.supersedes = numbers
      #expect(JournalRecord(decoding: record.encoded) == record)
    }
  }

  @Test func damageIsNeverReadAsARecord() {
    let record = record()
    damaged(record.encoded) { bytes in
      guard let text = String(validating: bytes, as: UTF8.self) else { return }
      #expect(JournalRecord(decoding: text) == nil, "\(text)")
    }
  }

  private func forged(_ lines: [String], header: String = "waysfs-journal 1") -> JournalRecord? {
    JournalRecord(decoding: RecordText.seal(header, lines))
  }

  @Test func whatNoMountHasWrittenIsRefused() {
    let good = [
      "sequence=1", "time=2", "state=closed", "durable=no", "boot=b", "data=1.data", "key=k", "size=10",
      "condition=none", "present=0-10", "dirty=1-10",
    ]
    #expect(forged(good) != nil)
    #expect(forged(good, header: "waysfs-journal 2") == nil)
    #expect(forged(good + ["key=k"]) == nil)
    #expect(forged(good + ["base=e:18446744073709551615:k"]) == nil)
    #expect(forged(good + ["base=e:1"]) == nil)
    #expect(forged(good + ["meta=a"]) == nil)
    #expect(forged(good + ["meta=a:1", "meta=a:2"]) == nil)
    #expect(forged(good + ["type=%4"]) == nil)
    #expect(forged(good + ["cache-control=no-store"])?.target.attributes.headers == [.cacheControl: "no-store"])
    for damage in [["cache-control=%4"], ["expires=a", "expires=b"]] { #expect(forged(good + damage) == nil) }
    for numbers in ["", "1,", "x", "1,,2"] { #expect(forged(good + ["supersedes=\(numbers)"]) == nil) }
    for index in good.indices {
      var lines = good
      lines.remove(at: index)
      #expect(forged(lines) == nil, "without \(good[index])")
    }
    let bad: [String: [String]] = [
      "sequence": ["", "-1", "18446744073709551615", "9223372036854775807"], "time": ["", "x"],
      "state": ["", "open"], "durable": ["", "1"], "boot": ["%"],
      "data": [
        "", ".", "..", "../1.data", "a/b", ".data", "1.data2", "1.record", "x.data", "1-.data", "-1.data", "1-2-3.data",
        "1-2.data.copy", "99999999999999999999.data",
      ], "key": ["%4", "%+1", "%FF"], "size": ["-1", "18446744073709551615", "9", "11", ""],
      "condition": ["", "match", "match:%"], "dirty": ["0-11", "9-11", "5-1"],
      "present": ["0-11", "10-0", "0-5", "1-10", "", "0", "a-b", "0-18446744073709551615"],
    ]
    for (name, values) in bad {
      for value in values {
        #expect(forged(good.map { $0.hasPrefix("\(name)=") ? "\(name)=\(value)" : $0 }) == nil, "\(name)=\(value)")
      }
    }
  }
}

@Suite struct RenameIntentTests {
  private static let etag = ETag("a:b\n")

  @Test(arguments: strangeTexts) func roundTrip(text: String) {
    for phase in [RenameIntent.Phase.copying, .deleting(nil), .deleting(ETag("")), .deleting(ETag(text))] {
      for replaced in [RenameIntent.Replaced.unknown, .absent, .version(ETag(text))] {
        for size in [nil, 0, UInt64.max] {
          let intent = RenameIntent(
            source: ObjectKey(text), destination: ObjectKey("b"), isDirectory: size == nil,
            sourceETag: size.map { _ in ETag(text) }, sourceSize: size, replaced: replaced, supersedes: size,
            phase: phase)
          let decoded = RenameIntent.decode(intent.encoded(sequence: 7))
          #expect(decoded?.intent == intent && decoded?.sequence == 7)
        }
      }
    }
  }

  @Test func damageIsNeverReadAsAnIntent() {
    let intent = RenameIntent(
      source: ObjectKey("a"), destination: ObjectKey("b"), isDirectory: false, sourceETag: Self.etag, sourceSize: 5,
      replaced: .version(Self.etag), phase: .deleting(Self.etag))
    damaged(intent.encoded(sequence: 7)) { bytes in
      guard let text = String(validating: bytes, as: UTF8.self) else { return }
      #expect(RenameIntent.decode(text) == nil, "\(text)")
    }
  }

  @Test func whatNobodyHasWrittenIsRefused() {
    let good = ["sequence=1", "source=a", "destination=b", "kind=file", "replaced=absent", "phase=copying"]
    func decoded(_ lines: [String]) -> Bool { RenameIntent.decode(RecordText.seal("waysfs-rename 1", lines)) != nil }
    #expect(decoded(good))
    for index in good.indices {
      var lines = good
      lines[index] = (good[index].splitOnce("=")?.0 ?? "") + "=%"
      #expect(!decoded(lines), "\(lines[index])")
    }
    for line in ["etag=%", "size=x", "kind=file", "supersedes=x"] { #expect(!decoded(good + [line])) }
  }
}

@Suite struct JournalNotesTests {
  private let upload = MultipartUpload(key: ObjectKey("a b"), id: "id:1\n")

  private func part(_ number: Int, _ etag: String = "e:%", isCopy: Bool = false) -> RecordedPart {
    RecordedPart(
      number: number, range: UInt64(number) * 10..<UInt64(number) * 10 + 10, etag: ETag(etag), isCopy: isCopy)
  }

  private func text(_ notes: [JournalNote]) -> String {
    var upload: MultipartUpload?
    return notes.compactMap { note in
      if case .upload(let begun) = note { upload = begun }
      return JournalNotes.line(note, upload: upload)
    }.joined()
  }

  private func read(_ text: String) -> JournalNotes { JournalNotes(decoding: Array(text.utf8)) }

  @Test(arguments: strangeTexts) func roundTrip(text strange: String) {
    let upload = MultipartUpload(key: ObjectKey(strange), id: strange)
    let notes = read(
      text([
        .name(ObjectKey("old")), .upload(upload), .part(part(3, strange)), .part(part(1, isCopy: true)),
        .part(part(3, "new")), .name(ObjectKey(strange)),
      ]))
    #expect(notes.name == ObjectKey(strange))
    #expect(
      notes.recordedUpload == RecordedUpload(upload: upload, parts: [part(1, isCopy: true), part(3, "new")]))
    #expect(notes.damagedLines == 0)
  }

  @Test func anEndedUploadIsForgottenAndANewOneBeginsWithoutParts() {
    let other = MultipartUpload(key: upload.key, id: "2")
    #expect(read(text([.upload(upload), .part(part(1)), .uploadEnded])).recordedUpload == nil)
    let notes = read(text([.upload(upload), .part(part(1)), .upload(other), .part(part(2))]))
    #expect(notes.recordedUpload == RecordedUpload(upload: other, parts: [part(2)]))
  }

  @Test func whatIsExpectedIsToldApartFromWhatIsInherited() {
    let versions = [
      ExpectedVersion(ETag("a")), ExpectedVersion(ETag("a"), isInherited: true), ExpectedVersion(ETag("b")),
    ]
    #expect(read(text(versions.map { .expected($0) })).expected == versions)
    #expect(read(text(versions.map { .expected($0) } + [.stored(ETag("c"))])).expected == [ExpectedVersion(ETag("c"))])
    // A journal of the version before has no other kind.
    #expect(JournalNotes.line(.expected(versions[0]), upload: nil)?.hasSuffix(" expected=a\n") == true)
  }

  @Test func aPartNeedsAnUpload() {
    #expect(JournalNotes.line(.part(part(1)), upload: nil) == nil)
    let orphan = JournalNotes.line(.part(part(1)), upload: upload) ?? ""
    #expect(read(orphan).recordedUpload == nil)
    // Nor is it taken for one of another upload, when the line between was lost.
    let other = MultipartUpload(key: upload.key, id: "2")
    #expect(read(text([.upload(other)]) + orphan).recordedUpload?.parts == [])
  }

  @Test func aTornLastLineCostsOnlyItself() {
    let whole = text([.name(ObjectKey("n")), .upload(upload), .part(part(1))])
    let last = JournalNotes.line(.part(part(2)), upload: upload) ?? ""
    for count in 0..<last.utf8.count - 1 {
      let notes = read(whole + String(decoding: Array(last.utf8)[..<count], as: UTF8.self))
      #expect(notes.recordedUpload?.parts == [part(1)] && notes.name == ObjectKey("n"), "\(count)")
      #expect(notes.damagedLines == (count == 0 ? 0 : 1))
    }
    // Without its end the line is whole.
    #expect(read(whole + String(last.dropLast())).recordedUpload?.parts.count == 2)
  }

  @Test func damageInTheMiddleNeverMakesUpAnything() {
    let lines: [JournalNote] = [.name(ObjectKey("n")), .upload(upload), .part(part(1)), .part(part(2)), .part(part(3))]
    let whole = text(lines)
    let parts = Set([part(1), part(2), part(3)])
    damaged(whole) { bytes in
      let notes = JournalNotes(decoding: bytes)
      #expect(notes.name == nil || notes.name == ObjectKey("n"))
      #expect(notes.upload == nil || notes.upload == upload)
      #expect(parts.isSuperset(of: notes.recordedUpload?.parts ?? []))
    }
    var bytes = Array(whole.utf8)
    let middle = bytes.indices.filter { bytes[$0] == 10 }[2] - 3
    bytes[middle] ^= 1
    #expect(JournalNotes(decoding: bytes).recordedUpload?.parts == [part(2), part(3)])
  }
}
