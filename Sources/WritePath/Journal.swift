import Basics
import Synchronization
public import ObjectStore
public import SystemPackage

/// Why the journal cannot be used.
public struct JournalError: Error, Sendable, CustomStringConvertible {
  /// The path that failed.
  public var path: FilePath
  /// What the system said.
  public var cause: Errno
  /// One line for a person.
  public var description: String { "cannot use \(path) to keep unsent files: \(cause)" }
}

/// The directory in which one mount keeps the files that are being written, and what it could not send yet.
///
///     ROOT/BUCKET-IDENTITYHASH-SLOT/   0700, one a mount; the slot lets several mounts of one bucket run side by side
///       lock                           locked by the daemon while it lives; holds the identity as text
///       files/N.data                   the live bytes of a file that is being written (sparse); N-M.data when they
///                                      were begun anew
///       files/N.record                 the version that was closed or fsynced; names its data: N.data, N-M.data, or
///                                      N-M.data.copy, a copy made before the live bytes were changed
///       files/N.notes                  hints: multipart upload, finished parts, versions to expect; the name, where
///                                      the data cannot carry it as an attribute
///       files/N.rename                 the intent of a rename
///       recovered/N.data, N.notes      open and never closed when the daemon died
///       quarantine/N.*                 what cannot be read
///       spare/                         what records and small data were, to be used again
///
/// Records and intents are written under a temporary name (`.new`), made durable, renamed, and the directory is made
/// durable; a record that need not survive a power failure skips the two waits. Nothing in `recovered` and `quarantine`
/// is ever deleted by the daemon, and a file in `files` only after its bytes are in the bucket or nobody wants them.
///
/// Thread-safe. Lock order: an entry's gate (held across local I/O), then the gate of its notes, then their mutexes.
public final class Journal: Sendable {
  /// The directory of this mount.
  public let directory: FilePath
  /// The account of the space that entries take.
  public let space: JournalSpace
  let own: JournalArea
  /// Slots of mounts that have ended, held until what they left was taken up: with fewer mounts than there once were,
  /// nobody else would come by.
  let others: Mutex<[JournalArea]>

  /// Opens the first slot nobody else uses; makes it if it is not there.
  /// - Parameters:
  ///   - root: a directory of this user, made if it is not there.
  ///   - name: a short name for people, safe as a file name.
  ///   - identity: tells mounts of different endpoints, buckets and prefixes apart, and says so to people.
  ///   - bounds: how much room the files may take.
  public convenience init(
    root: FilePath, name: String, identity: String, bounds: JournalBounds = JournalBounds()
  ) throws(JournalError) {
    let space = JournalSpace(bounds: bounds, disk: { DiskRoom.at(root) })
    try self.init(root: root, name: name, identity: identity, space: space)
  }

  /// Opens one whose files share the room with those of other buckets.
  public convenience init(
    root: FilePath, name: String, identity: String, space: JournalSpace
  ) throws(JournalError) {
    try self.init(
      root: root, name: name, identity: identity, space: space, disk: JournalDisk(), clock: .system)
  }

  init(
    root: FilePath, name: String, identity: String, space: JournalSpace, disk: JournalDisk, clock: TimeSource
  ) throws(JournalError) {
    self.space = space
    let base = JournalSlots.base(name: name, identity: identity)
    try wrap(root) { () throws(Errno) in try FileSystem.makePrivateDirectories(root) }
    for slot in 0..<JournalSlots.count {
      let directory = root.appending("\(base)-\(slot)")
      let area = try wrap(directory) { () throws(Errno) -> JournalArea? in
        try FileSystem.makePrivateDirectory(directory)
        guard let lock = try JournalSlots.lock(directory) else { return nil }
        try JournalSlots.label(lock, identity)
        try FileSystem.syncDirectory(root)
        return try JournalArea(directory: directory, lock: lock, disk: disk, space: space, clock: clock)
      }
      guard let area else { continue }
      own = area
      self.directory = directory
      // One that cannot be read is left alone; it must not keep this mount from starting.
      others = Mutex(
        JournalSlots.abandoned(root: root, base: base, but: slot).compactMap { directory, lock in
          try? JournalArea(directory: directory, lock: lock, disk: disk, space: space, clock: clock)
        })
      return
    }
    throw JournalError(path: root, cause: .resourceBusy)
  }

  /// A place for a new file, with empty data.
  public func makeEntry() throws(Errno) -> JournalEntry {
    let number = own.makeNumber()
    let path = own.files.appending("\(number)\(JournalName.data)")
    return JournalEntry(area: own, number: number, live: JournalData(path: path, file: try own.disk.makeData(path)))
  }

  /// Notes a multipart upload that is not aborted yet, and may not be by this mount: the next one does; nil when it cannot
  /// be noted.
  @discardableResult
  public func noteAbandoned(_ upload: MultipartUpload) -> AbandonedUpload? { own.note(abandoned: upload) }

  /// Notes an object that is about to be made to try the server with: the next mount removes it if this one cannot.
  public func note(scratch key: ObjectKey) -> ScratchObject? {
    own.note(.scratch(key)).map { ScratchObject(key: key, area: own, notes: $0) }
  }

  /// The data that was left in `recovered`, for a message.
  public func recoveredFiles() -> [FilePath] {
    ([own] + others.withLock { $0 }).flatMap { area in
      ((try? FileSystem.names(in: area.recovered)) ?? []).filter { !$0.hasSuffix(JournalName.notes) }
        .map { area.recovered.appending($0) }
    }
  }

  /// How many files are kept for a person: left open by a daemon that died, and not to be read. Blocks for local I/O.
  public func keptFiles() -> (recovered: Int, quarantined: Int) {
    func entries(_ folder: FilePath) -> Int {
      Set(((try? FileSystem.names(in: folder)) ?? []).compactMap { JournalName.entry(of: $0) }).count
    }
    let areas = [own] + others.withLock { $0 }
    return (
      areas.reduce(0) { $0 + entries($1.recovered) }, areas.reduce(0) { $0 + entries($1.quarantine) }
    )
  }

  // MARK: Renames

  /// Notes a rename that is about to begin; on stable storage when this returns.
  public func begin(_ intent: RenameIntent) throws(Errno) -> JournalIntent {
    let noted = JournalIntent(intent: intent, sequence: own.makeSequence(), area: own, number: own.makeNumber())
    try noted.save(intent)
    return noted
  }

  /// Replaces what is noted of a rename, as with its next phase; on stable storage when this returns. When it throws,
  /// the old or the new one is noted.
  @discardableResult
  public func update(_ noted: JournalIntent, to intent: RenameIntent) throws(Errno) -> JournalIntent {
    try noted.save(intent)
    return JournalIntent(intent: intent, sequence: noted.sequence, area: noted.area, number: noted.number)
  }

  /// Forgets a rename that has come to its end, for good: once this has returned the names may be used again, and a power
  /// failure does not bring it back.
  /// - Throws: the error of the disk; then the next mount may do it once more.
  public func end(_ noted: JournalIntent) throws(Errno) {
    let disk = noted.area.disk
    do throws(Errno) {
      try disk.remove(noted.path)
    } catch {
      // What cannot be read is not done.
      try disk.overwrite(noted.path, with: "", durable: true)
    }
    try disk.syncDirectory(noted.area.files)
  }
}

/// A rename that is noted in a journal.
public struct JournalIntent: Sendable {
  /// What is noted.
  public let intent: RenameIntent
  /// Its place in the order of the records of files and other intents.
  public let sequence: UInt64
  let area: JournalArea
  let number: UInt64

  var path: FilePath { area.files.appending("\(number)\(JournalName.rename)") }

  fileprivate func save(_ intent: RenameIntent) throws(Errno) {
    try area.disk.replace(path, with: intent.encoded(sequence: sequence), durable: true)
    try area.disk.syncDirectory(area.files)
  }
}

/// A multipart upload of an earlier mount that nobody will complete.
public struct AbandonedUpload: Sendable {
  /// The upload to abort.
  public let upload: MultipartUpload
  let area: JournalArea
  let notes: FilePath

  /// To be called when the upload was aborted or is not there any more; otherwise the next mount tries again.
  public func done() { try? area.disk.remove(notes) }
}

/// An object that a mount made to try the server with.
public struct ScratchObject: Sendable {
  /// Its key.
  public let key: ObjectKey
  let area: JournalArea
  let notes: FilePath

  /// To be called when it is not there any more.
  public func done() { try? area.disk.remove(notes) }
}

extension JournalArea {
  /// A notes file without data, which stands for an upload to abort; nil when it cannot be written.
  func note(abandoned upload: MultipartUpload) -> AbandonedUpload? {
    note(.upload(upload)).map { AbandonedUpload(upload: upload, area: self, notes: $0) }
  }

  /// A notes file without data; nil when it cannot be written.
  fileprivate func note(_ note: JournalNote) -> FilePath? {
    let path = files.appending("\(makeNumber())\(JournalName.notes)")
    guard let line = JournalNotes.line(note, upload: nil) else { return nil }
    do throws(Errno) {
      try disk.append(Array(line.utf8), to: path)
      return path
    } catch {
      return nil
    }
  }
}

private func wrap<Value>(
  _ path: FilePath, _ body: () throws(Errno) -> Value
) throws(JournalError) -> Value {
  do throws(Errno) {
    return try body()
  } catch {
    throw JournalError(path: path, cause: error)
  }
}
