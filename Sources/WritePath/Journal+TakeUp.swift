import Basics
import Glibc
public import Logging
import ObjectStore
import SystemPackage

/// A file of an earlier mount that is to be uploaded.
public struct PendingFile: Sendable {
  /// Its place in the journal; its live data is what was recorded, whole. Nothing else uses it.
  public let entry: JournalEntry
  /// What to upload, and to where.
  public let record: JournalRecord
  /// A multipart upload to the same key that was under way.
  public let upload: RecordedUpload?
  /// Versions that earlier uploads of this file were about to make: an object that is one of them is no stranger's.
  public let expected: [ExpectedVersion]
  /// The machine went down since, and record and data had not been waited for, or the disk says that it has lost some: the
  /// bytes may not be those that were written, although their number is right.
  public let mayBeTorn: Bool

  /// Whether that one has taken this one's name: then nobody needs this one.
  public func isSuperseded(by other: PendingFile) -> Bool {
    entry.area === other.entry.area && other.record.supersedes.contains(record.sequence)
  }

  /// Whether that rename takes this one's name away: once it is done, nobody needs this one.
  public func isSuperseded(by noted: JournalIntent) -> Bool {
    entry.area === noted.area && noted.intent.supersedes == record.sequence
  }
}

/// What earlier mounts left.
public struct LeftOver: Sendable {
  /// Files to upload, in the order in which they were recorded.
  public internal(set) var pending: [PendingFile] = []
  /// Renames to finish, in the order in which they were begun.
  public internal(set) var intents: [JournalIntent] = []
  /// Multipart uploads to abort.
  public internal(set) var abandoned: [AbandonedUpload] = []
  /// Objects to remove.
  public internal(set) var scratch: [ScratchObject] = []
  /// How many files were open and never closed; they are in `recovered` now.
  public internal(set) var recoveredCount = 0
  /// How many files cannot be sent whole, since somebody replaced what they were made from; they stay where they are.
  public internal(set) var strandedCount = 0
  /// How many files could not be read; they are in `quarantine` now.
  public internal(set) var quarantinedCount = 0
}

extension Journal {
  /// What earlier mounts left, in this directory and in those of mounts that have ended. Only the first call finds
  /// anything. Blocks for local I/O.
  ///
  /// Files that were never closed move to `recovered`, and what cannot be read to `quarantine`; all of that is logged.
  /// Nothing is deleted but empty files that had no name yet, and notes that say nothing.
  public func takeUp(log: Logger) -> LeftOver {
    var found = LeftOver()
    for area in [own] + others.withLock({ $0 }) where area.beginTakeUp() {
      var search = JournalSearch(area: area, log: log)
      search.run(&found)
    }
    // Their entries keep those directories that still have any.
    let recovered = recoveredFiles()
    others.withLock { $0 = [] }
    found.pending.sort { $0.record.sequence < $1.record.sequence }
    found.intents.sort { $0.sequence < $1.sequence }
    if !recovered.isEmpty {
      log.warning(
        "a daemon that died left files that were never closed; look at them and remove them",
        metadata: [
          "files": "\(recovered.count)",
          "kept": "\(Set(recovered.map { "\($0.removingLastComponent())" }).sorted().joined(separator: ", "))",
        ])
    }
    if found.strandedCount > 0 {
      log.warning(
        """
        changes of objects that somebody else replaced are kept and not sent: 'waysfs recover --export DIRECTORY' saves \
        them, 'waysfs recover --discard NAME' gives them up
        """, metadata: ["files": "\(found.strandedCount)"])
    }
    return found
  }
}

/// Goes through what earlier mounts left in one directory.
struct JournalSearch {
  let area: JournalArea
  let log: Logger

  /// The files of one entry.
  private struct Group {
    let number: UInt64
    var names: [String] = []
    var notes = JournalNotes()

    func has(_ ending: String) -> String? {
      let name = "\(number)\(ending)"
      return names.contains(name) ? name : nil
    }

    /// Names with that ending, which may have a second number.
    func all(_ ending: String) -> [String] { names.filter { JournalName.stem(of: $0, ending: ending) != nil } }
  }

  private enum Found {
    case nothing
    case record(JournalRecord, JournalData)
    case damaged
    /// Cannot be opened now, but may be at the next mount.
    case unreachable(Errno)
  }

  mutating func run(_ found: inout LeftOver) {
    var groups: [UInt64: Group] = [:]
    for name in (try? FileSystem.names(in: area.files)) ?? [] {
      guard let number = JournalName.entry(of: name) else {
        log.warning("not a file of the journal; it is left alone", metadata: ["path": "\(area.files.appending(name))"])
        continue
      }
      // Later numbers are of this mount.
      guard number <= area.lastNumberOfBefore else { continue }
      groups[number, default: Group(number: number)].names.append(name)
    }
    for group in groups.values.sorted(by: { $0.number < $1.number }) { takeUp(group, &found) }
  }

  private func takeUp(_ group: Group, _ found: inout LeftOver) {
    var group = group
    if let notes = group.has(JournalName.notes) {
      group.notes = JournalNotes(decoding: (try? JournalDisk.read(area.files.appending(notes))) ?? [])
    }
    // Half-written; the whole ones are beside them.
    for name in group.names where name.hasSuffix(JournalName.new) { quarantine(name, &found) }
    if let name = group.has(JournalName.rename) { takeUpRename(name, group.number, &found) }
    switch readRecord(group) {
    case .nothing:
      for name in group.all(JournalName.copy) { quarantine(name, &found) }
      let data = group.all(JournalName.data)
      recover(data, group, key: nil, &found)
      takeUpNotes(group, hadData: !data.isEmpty, &found)
    case .record(let record, let data):
      takeUpPending(record, data, group, &found)
    case .damaged:
      log.error(
        "the record of an unsent file cannot be read, or its data is not whole; both are set aside",
        metadata: ["kept": "\(area.quarantine.appending("\(group.number)\(JournalName.record)"))"])
      let key = group.all(JournalName.data).lazy.compactMap { JournalDisk.label(area.files.appending($0)) }.first
      area.copyNotes(group.number, to: area.quarantine, name: key)
      for name in group.all(JournalName.data) + group.all(JournalName.copy) { move(name, to: area.quarantine) }
      // Last: as long as it is there, the next mount comes to the same conclusion.
      move("\(group.number)\(JournalName.record)", to: area.quarantine)
      found.quarantinedCount += 1
      takeUpNotes(group, hadData: true, &found)
    case .unreachable(let error):
      log.error(
        "an unsent file cannot be opened; it is kept",
        metadata: ["kept": "\(area.files.appending("\(group.number)\(JournalName.record)"))", "cause": "\(error)"])
    }
  }

  // MARK: Records

  private func readRecord(_ group: Group) -> Found {
    guard let name = group.has(JournalName.record) else { return .nothing }
    do throws(Errno) {
      let bytes = try JournalDisk.read(area.files.appending(name))
      guard let record = String(validating: bytes, as: UTF8.self).flatMap(JournalRecord.init(decoding:)),
        JournalName.entry(of: record.data) == group.number
      else { return .damaged }
      let path = area.files.appending(record.data)
      let copy = FilePath(path.string + ".copy")
      let isCopy = !JournalDisk.exists(path) && JournalDisk.exists(copy)
      var data = JournalData(path: path, file: try JournalDisk.open(isCopy ? copy : path, O_RDWR))
      let (length, allocated) = try JournalDisk.status(data.file)
      // Shorter than what the record says is here, it would be sent with zeros at its end.
      guard length >= record.present.ranges.last?.upperBound.asInt ?? 0 else { return .damaged }
      // It is no mere copy any more: the entry's live bytes from now on.
      if isCopy { try area.disk.rename(copy, to: path) }
      data.reserved = allocated
      return .record(record, data)
    } catch {
      // Only a file that is not there is damage.
      return error == .noSuchFileOrDirectory ? .damaged : .unreachable(error)
    }
  }

  private func takeUpPending(_ record: JournalRecord, _ data: JournalData, _ group: Group, _ found: inout LeftOver) {
    let others = group.all(JournalName.data).filter { !$0.utf8.elementsEqual(record.data.utf8) }
    // But for the one that has become the data.
    for name in group.all(JournalName.copy) where JournalDisk.exists(area.files.appending(name)) {
      quarantine(name, &found)
    }
    // Changed after the record was made, and never closed.
    recover(others, group, key: record.target.key, &found)
    var upload = group.notes.recordedUpload
    if let other = upload, other.upload.key != record.target.key || record.state == .stranded {
      // Its own file, since that of the entry may soon tell of another upload.
      if let abandoned = area.note(abandoned: other.upload) {
        found.abandoned.append(abandoned)
        append(.uploadEnded, to: group.number)
      }
      upload = nil
    }
    guard record.state != .stranded else {
      found.strandedCount += 1
      return
    }
    area.space.adopt(data.reserved)
    let entry = JournalEntry(area: area, number: group.number, live: data, record: record, upload: upload)
    found.pending.append(
      PendingFile(
        entry: entry, record: record, upload: upload, expected: group.notes.expected,
        mayBeTorn: !record.isDurable && record.boot != area.boot))
  }

  private func append(_ note: JournalNote, to number: UInt64) {
    let line = "\n" + (JournalNotes.line(note, upload: nil) ?? "")
    try? area.disk.append(Array(line.utf8), to: area.files.appending("\(number)\(JournalName.notes)"))
  }

  private func takeUpRename(_ name: String, _ number: UInt64, _ found: inout LeftOver) {
    let bytes: [UInt8]
    do throws(Errno) {
      bytes = try JournalDisk.read(area.files.appending(name))
    } catch {
      log.error(
        "the note of a rename cannot be read now; it is kept",
        metadata: ["kept": "\(area.files.appending(name))", "cause": "\(error)"])
      return
    }
    guard let text = String(validating: bytes, as: UTF8.self), let (intent, sequence) = RenameIntent.decode(text) else {
      return quarantine(name, &found)
    }
    found.intents.append(JournalIntent(intent: intent, sequence: sequence, area: area, number: number))
  }

  // MARK: What was never closed

  private func recover(_ names: [String], _ group: Group, key: ObjectKey?, _ found: inout LeftOver) {
    for name in names {
      let key = JournalDisk.label(area.files.appending(name)) ?? key
      if key == nil, group.notes.name == nil, group.notes.damagedLines == 0, isEmpty(name) {
        try? area.disk.remove(area.files.appending(name))
        continue
      }
      // First the name, so that the bytes are never without it.
      area.copyNotes(group.number, to: area.recovered, name: key)
      guard move(name, to: area.recovered) else { continue }
      found.recoveredCount += 1
      log.warning(
        "a file that was never closed is kept",
        metadata: [
          "kept": "\(area.recovered.appending(name))", "key": "\((group.notes.name ?? key)?.string ?? "unknown")",
        ])
    }
  }

  private func isEmpty(_ name: String) -> Bool {
    guard let file = try? JournalDisk.open(area.files.appending(name), O_RDONLY),
      let status = try? JournalDisk.status(file)
    else { return false }
    return status.length == 0 && status.allocated == 0
  }

  /// What becomes of notes whose data has gone elsewhere.
  private func takeUpNotes(_ group: Group, hadData: Bool, _ found: inout LeftOver) {
    let hasGone = !group.all(JournalName.data).contains { JournalDisk.exists(area.files.appending($0)) }
    guard hasGone, let name = group.has(JournalName.notes) else { return }
    let path = area.files.appending(name)
    if let upload = group.notes.upload {
      found.abandoned.append(AbandonedUpload(upload: upload, area: area, notes: path))
    } else if let key = group.notes.scratch {
      found.scratch.append(ScratchObject(key: key, area: area, notes: path))
    } else if hadData || group.notes.damagedLines == 0 {
      try? area.disk.remove(path)
    } else {
      quarantine(name, &found)
    }
  }

  // MARK: Moving

  private func quarantine(_ name: String, _ found: inout LeftOver) {
    guard move(name, to: area.quarantine) else { return }
    found.quarantinedCount += 1
    log.error(
      "a file of the journal that cannot be read is set aside",
      metadata: ["kept": "\(area.quarantine.appending(name))"])
  }

  @discardableResult
  private func move(_ name: String, to folder: FilePath) -> Bool {
    do throws(Errno) {
      try area.move(name, to: folder)
      return true
    } catch {
      log.error(
        "a file of the journal cannot be moved; it is kept where it is",
        metadata: ["path": "\(area.files.appending(name))", "cause": "\(error)"])
      return false
    }
  }
}
