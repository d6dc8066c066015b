import Basics
import Glibc
import ObjectStore
import SystemPackage

/// Reads the items of one journal directory, without changing anything. What vanishes meanwhile is left out.
struct JournalListing {
  let directory: FilePath
  let isInUse: Bool

  /// By place (files, recovered, quarantine) and number.
  func items() -> [JournalItem] {
    let identity = JournalSlots.identity(of: directory)
    return (items(in: "files", files) + items(in: "recovered", recovered) + items(in: "quarantine", quarantined))
      .map { item in
        var item = item
        item.identity = identity
        return item
      }
  }

  /// The files of one entry in one folder.
  private struct Group {
    let number: UInt64
    let folder: FilePath
    var names: [String] = []

    func path(_ ending: String) -> FilePath? {
      let name = "\(number)\(ending)"
      return names.contains(name) ? folder.appending(name) : nil
    }

    var notes: JournalNotes {
      path(JournalName.notes).flatMap { try? JournalDisk.read($0) }.map(JournalNotes.init(decoding:)) ?? JournalNotes()
    }

    /// The key that a data file is for.
    func key(of name: String) -> ObjectKey? { notes.name ?? JournalDisk.label(folder.appending(name)) }

    func all(_ ending: String) -> [String] { names.filter { JournalName.stem(of: $0, ending: ending) != nil } }
  }

  private func items(in folder: String, _ read: (Group) -> [JournalItem]) -> [JournalItem] {
    let path = directory.appending(folder)
    var groups: [UInt64: Group] = [:]
    for name in (try? FileSystem.names(in: path)) ?? [] {
      guard let number = JournalName.entry(of: name) else { continue }
      groups[number, default: Group(number: number, folder: path)].names.append(name)
    }
    return groups.values.sorted { $0.number < $1.number }.flatMap(read)
  }

  // MARK: files

  private func files(_ group: Group) -> [JournalItem] {
    let notes = group.notes
    var items: [JournalItem] = []
    var record: JournalRecord?
    if let path = group.path(JournalName.record) {
      record = read(path)
      guard let record, let item = pending(record, path, group) else {
        return [damaged(group, reason: "its record cannot be read, or its data is not whole")]
      }
      items.append(item)
    }
    for name in group.all(JournalName.data) where !items.contains(where: { $0.data?.lastComponent?.string == name }) {
      let reason = isInUse ? "being written" : "was open when the daemon ended; the next mount keeps it as recovered"
      guard var item = plain(group, "", name, .open, reason, key: group.key(of: name) ?? record?.target.key) else {
        continue
      }
      item.files = [group.folder.appending(name)]
      items.append(item)
    }
    // The notes go with the last data, but stay when they tell of an upload to abort.
    if items.count == 1, notes.upload == nil, let path = group.path(JournalName.notes) { items[0].files.append(path) }
    return items
  }

  private func read(_ path: FilePath) -> JournalRecord? {
    guard let bytes = try? JournalDisk.read(path) else { return nil }
    return String(validating: bytes, as: UTF8.self).flatMap(JournalRecord.init(decoding:))
  }

  private func pending(_ record: JournalRecord, _ path: FilePath, _ group: Group) -> JournalItem? {
    let isCopy = !group.names.contains(record.data)
    let name = isCopy ? record.data + ".copy" : record.data
    let (state, reason): (JournalItem.State, String) =
      switch record.state {
      case .stranded: (.stranded, "changes an object that somebody else replaced; export it or discard it")
      case .closed, .synced, .removed:
        (.pending(record.state), isInUse ? "waits for its upload" : "was not uploaded; the next mount does it")
      }
    guard JournalName.entry(of: record.data) == group.number,
      var item = plain(group, "", name, state, reason, key: record.target.key),
      item.size >= record.present.ranges.last?.upperBound ?? 0
    else { return nil }
    item.size = record.size
    item.modified = Timestamp(seconds: record.time)
    item.record = record
    // The record first: it must never name data that is gone.
    item.files = [path, group.folder.appending(name)]
    return item
  }

  // MARK: recovered and quarantine

  private func recovered(_ group: Group) -> [JournalItem] {
    let data = group.names.filter { !$0.hasSuffix(JournalName.notes) }
    return data.compactMap { name in
      let key = group.key(of: name)
      let reason = "was open when a daemon died; what it holds may be incomplete"
      guard var item = plain(group, "recovered/", name, .recovered, reason, key: key) else { return nil }
      item.files = [group.folder.appending(name)]
      if data.count == 1, let notes = group.path(JournalName.notes) { item.files.append(notes) }
      return item
    }
  }

  private func quarantined(_ group: Group) -> [JournalItem] {
    [damaged(group, reason: "its record could not be read, or its data was not whole", place: "quarantine/")]
  }

  private func damaged(_ group: Group, reason: String, place: String = "") -> JournalItem {
    let data = group.all(JournalName.data).first ?? group.all(JournalName.copy).first
    let key = group.path(JournalName.record).flatMap(read)?.target.key ?? group.key(of: data ?? "")
    let shown = data ?? group.names.first ?? ""
    var item =
      plain(group, place, shown, .quarantined, reason, key: key)
      ?? JournalItem(
        id: "", directory: directory, isInUse: isInUse, key: key, size: 0, modified: Timestamp(seconds: 0),
        state: .quarantined, reason: reason, files: [])
    item.id = id(place, "\(group.number)")
    if data == nil { (item.data, item.size) = (nil, 0) }
    item.files = group.names.map { group.folder.appending($0) }
    return item
  }

  // MARK: Common

  /// `DIRECTORY/PLACE/17`: the name up to its ending; what has a strange ending keeps it.
  private func id(_ place: String, _ name: String) -> String {
    let stem =
      JournalName.stem(of: name, ending: JournalName.data) ?? JournalName.stem(of: name, ending: JournalName.copy)
    return "\(directory.lastComponent?.string ?? "")/\(place)\(stem ?? name)"
  }

  private func plain(
    _ group: Group, _ place: String, _ name: String, _ state: JournalItem.State, _ reason: String, key: ObjectKey?
  ) -> JournalItem? {
    let path = group.folder.appending(name)
    var info = stat()
    guard path.withPlatformString({ stat($0, &info) }) == 0 else { return nil }
    return JournalItem(
      id: id(place, name), directory: directory, isInUse: isInUse, key: key, size: UInt64(max(0, info.st_size)),
      modified: Timestamp(seconds: Int64(info.st_mtim.tv_sec), nanoseconds: UInt32(info.st_mtim.tv_nsec)),
      state: state, reason: reason, data: path, files: [])
  }
}
