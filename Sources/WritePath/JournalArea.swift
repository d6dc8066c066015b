import Basics
import Glibc
import ObjectStore
import Synchronization
import SystemPackage

/// One directory of a journal, with its lock, held as long as this object lives: the journal, and each entry that came
/// from the directory, keeps it. Thread-safe.
final class JournalArea: Sendable {
  let directory: FilePath
  let disk: JournalDisk
  let space: JournalSpace
  let clock: TimeSource
  /// Tells the runs of the machine apart: what was not durable may be torn when the machine went down.
  let boot: String
  private let lock: SharedDescriptor
  private let nextNumber: Atomic<UInt64>
  private let lastSequence: Atomic<UInt64>
  /// Files up to this number are of earlier mounts.
  let lastNumberOfBefore: UInt64
  private let takenUp = Atomic(false)

  static let folders = ["files", "recovered", "quarantine"]

  var files: FilePath { directory.appending("files") }
  var recovered: FilePath { directory.appending("recovered") }
  var quarantine: FilePath { directory.appending("quarantine") }

  /// Takes a locked directory over; makes what is missing in it.
  init(
    directory: FilePath, lock: SharedDescriptor, disk: JournalDisk, space: JournalSpace, clock: TimeSource
  ) throws(Errno) {
    self.directory = directory
    self.lock = lock
    var disk = disk
    disk.spares = try SpareFiles(directory: directory.appending("spare"))
    self.disk = disk
    self.space = space
    self.clock = clock
    boot =
      ((try? JournalDisk.read("/proc/sys/kernel/random/boot_id")) ?? []).split(separator: UInt8(ascii: "\n")).first
      .map { String(decoding: $0, as: UTF8.self) } ?? ""
    for name in Self.folders { try FileSystem.makePrivateDirectory(directory.appending(name)) }
    // What is durable below a directory is worth nothing when the directory is not.
    try FileSystem.syncDirectory(directory)
    lastNumberOfBefore = Self.highestNumber(in: directory)
    nextNumber = Atomic(lastNumberOfBefore)
    lastSequence = Atomic(Self.highestSequence(in: directory.appending("files")))
  }

  /// A number that no file of this directory has.
  func makeNumber() -> UInt64 { nextNumber.add(1, ordering: .relaxed).newValue }

  /// Grows with each call, and with time where the clock does: so records of several directories have an order too.
  func makeSequence() -> UInt64 {
    let wall = clock.wall
    let now = UInt64(clamping: wall.seconds).multipliedReportingOverflow(by: 1_000_000).partialValue
      .clampedSum(UInt64(wall.nanoseconds / 1000))
    var last = lastSequence.load(ordering: .relaxed)
    while true {
      let next = max(last + 1, now < JournalRecord.maximumSequence / 2 ? now : 0)
      let (exchanged, original) = lastSequence.weakCompareExchange(
        expected: last, desired: next, ordering: .relaxed)
      if exchanged { return next }
      last = original
    }
  }

  /// True for the first caller.
  func beginTakeUp() -> Bool { !takenUp.exchange(true, ordering: .relaxed) }

  /// Moves a file to another folder without ever writing over one that is there.
  func move(_ name: String, to folder: FilePath) throws(Errno) {
    var target = folder.appending(name)
    if JournalDisk.exists(target) { target = folder.appending("\(name).\(makeNumber())") }
    try disk.rename(files.appending(name), to: target)
  }

  /// Leaves a copy of the notes of an entry beside its data in another folder. Added to what is there: the last word
  /// counts.
  func copyNotes(_ number: UInt64, to folder: FilePath, name key: ObjectKey? = nil) {
    var bytes = (try? JournalDisk.read(files.appending("\(number)\(JournalName.notes)"))) ?? []
    if let key, JournalNotes(decoding: bytes).name == nil {
      bytes += Array("\n".utf8) + Array((JournalNotes.line(.name(key), upload: nil) ?? "").utf8)
    }
    guard !bytes.isEmpty else { return }
    try? disk.append(bytes, to: folder.appending("\(number)\(JournalName.notes)"))
  }

  /// The highest number in use, so that nothing kept is ever written over.
  private static func highestNumber(in directory: FilePath) -> UInt64 {
    var highest: UInt64 = 0
    for folder in folders {
      for name in (try? FileSystem.names(in: directory.appending(folder))) ?? [] {
        highest = max(highest, JournalName.highestNumber(in: name))
      }
    }
    return highest
  }

  private static func highestSequence(in files: FilePath) -> UInt64 {
    var highest: UInt64 = 0
    for name in (try? FileSystem.names(in: files)) ?? [] {
      guard [JournalName.record, JournalName.rename].contains(where: name.hasSuffix),
        let bytes = try? JournalDisk.read(files.appending(name)), let text = String(validating: bytes, as: UTF8.self)
      else { continue }
      let sequence = JournalRecord(decoding: text)?.sequence ?? RenameIntent.decode(text)?.sequence ?? 0
      highest = max(highest, sequence)
    }
    return highest
  }
}
