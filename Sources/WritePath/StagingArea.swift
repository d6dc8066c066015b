public import Basics
import Glibc
import Synchronization
public import SystemPackage

/// Why the staging area cannot be used.
public struct StagingAreaError: Error, Sendable, CustomStringConvertible {
  /// The path that failed.
  public var path: FilePath
  /// What the system said.
  public var cause: Errno
  /// One line for a person.
  public var description: String { "cannot use \(path) to keep unsent files: \(cause)" }
}

/// The directory in which one mount keeps the files that are being written, and what it could not send.
///
///     ROOT/BUCKET-IDENTITY-SLOT/     0700; the slot lets several mounts of one bucket run side by side
///       lock                         locked by the daemon while it lives
///       staging/N.data               files being written
///       unsent/N.data, N.record      files whose upload failed: taken up by the next mount
///       recovered/N.data             files a daemon that died left open: kept for a person to look at
///       quarantine/N.*               records that cannot be read, with their data
///
/// Nothing in `unsent`, `recovered` and `quarantine` is ever deleted but after its bytes are in the bucket.
/// Thread-safe.
public final class StagingArea: Sendable {
  /// The directory of this mount.
  public let directory: FilePath
  private let lock: SharedDescriptor
  private let nextNumber: Atomic<UInt64>
  /// Files up to this number are of earlier mounts.
  let lastNumberOfBefore: UInt64
  /// Slots of mounts that have ended, held until what they left was taken up: with fewer mounts than there once were,
  /// nobody else would come by.
  let others: Mutex<[StagingArea]>

  /// Opens the first slot nobody else uses, makes it if it is not there, and moves what a dead daemon left into
  /// `recovered`.
  /// - Parameters:
  ///   - root: a directory of this user, made if it is not there.
  ///   - name: a short name for people, safe as a file name.
  ///   - identity: tells mounts of different endpoints, buckets and prefixes apart.
  public convenience init(root: FilePath, name: String, identity: String) throws(StagingAreaError) {
    let base = "\(name)-\(String(Checksum.of(identity), radix: 16))"
    try wrap(root) { () throws(Errno) in try FileSystem.makePrivateDirectories(root) }
    for slot in 0..<Self.slots {
      let directory = root.appending("\(base)-\(slot)")
      try wrap(directory) { () throws(Errno) in try FileSystem.makePrivateDirectory(directory) }
      guard let lock = try Self.lock(directory) else { continue }
      try self.init(
        directory: directory, lock: lock, others: Self.abandoned(root: root, base: base, but: slot))
      return
    }
    throw StagingAreaError(path: root, cause: .resourceBusy)
  }

  private init(directory: FilePath, lock: SharedDescriptor, others: [StagingArea]) throws(StagingAreaError) {
    self.directory = directory
    self.lock = lock
    self.others = Mutex(others)
    lastNumberOfBefore = Self.highestNumber(in: directory)
    nextNumber = Atomic(lastNumberOfBefore)
    try wrap(directory) { () throws(Errno) in
      for name in ["staging", "unsent", "recovered", "quarantine"] {
        try FileSystem.makePrivateDirectory(directory.appending(name))
      }
      let kept = Set(try FileSystem.names(in: directory.appending("unsent")))
      for name in try FileSystem.names(in: directory.appending("staging")) {
        let path = directory.appending("staging").appending(name)
        if kept.contains(name) {
          // Another name of a file that has its record in `unsent`.
          try FileSystem.remove(path)
        } else {
          try FileSystem.rename(path, to: directory.appending("recovered").appending(name))
        }
      }
    }
  }

  /// A new, empty file to stage bytes in.
  public func makeFile() throws(Errno) -> (file: SharedDescriptor, path: FilePath) {
    let number = nextNumber.add(1, ordering: .relaxed).newValue
    let path = directory.appending("staging").appending("\(number).data")
    do {
      let descriptor = try FileDescriptor.open(
        path, .readWrite, options: [.create, .exclusiveCreate, .closeOnExec], permissions: .ownerReadWrite)
      return (SharedDescriptor(owning: descriptor), path)
    } catch {
      throw error as? Errno ?? .ioError
    }
  }

  /// The files that were left in `recovered`, for a message.
  public func recoveredFiles() -> [FilePath] {
    let folder = directory.appending("recovered")
    let own = ((try? FileSystem.names(in: folder)) ?? []).map { folder.appending($0) }
    return own + others.withLock { $0 }.flatMap { $0.recoveredFiles() }
  }

  private static let slots = 64

  /// The lock of a slot; nil when another daemon has it.
  private static func lock(_ directory: FilePath) throws(StagingAreaError) -> SharedDescriptor? {
    let path = directory.appending("lock")
    let lock = try wrap(directory) { () throws(Errno) in
      let descriptor = path.withPlatformString { open($0, O_RDWR | O_CREAT | O_CLOEXEC, 0o600) }
      guard descriptor >= 0 else { throw Errno(rawValue: errno) }
      return SharedDescriptor(owning: FileDescriptor(rawValue: descriptor))
    }
    return flock(lock.descriptor.rawValue, LOCK_EX | LOCK_NB) == 0 ? lock : nil
  }

  /// The slots that are there and that nobody uses.
  private static func abandoned(root: FilePath, base: String, but own: Int) -> [StagingArea] {
    (0..<slots).compactMap { slot in
      let directory = root.appending("\(base)-\(slot)")
      guard slot != own, directory.withPlatformString({ access($0, F_OK) }) == 0,
        let lock = try? lock(directory)
      else { return nil }
      // One that cannot be read is left alone; it must not keep this mount from starting.
      return try? StagingArea(directory: directory, lock: lock, others: [])
    }
  }

  /// The highest number in use, so that nothing kept is ever written over.
  private static func highestNumber(in directory: FilePath) -> UInt64 {
    // No mount makes that many files; a name that says so is not ours, and must not use up the numbers.
    let limit: UInt64 = 1 << 53
    var highest: UInt64 = 0
    for folder in ["staging", "unsent", "recovered", "quarantine"] {
      for name in (try? FileSystem.names(in: directory.appending(folder))) ?? [] {
        guard let number = Self.number(of: name), number < limit else { continue }
        highest = max(highest, number)
      }
    }
    return highest
  }

  static func number(of name: String) -> UInt64? { UInt64(name.prefix { $0.isASCII && $0.isNumber }) }
}

private func wrap<Value>(
  _ path: FilePath, _ body: () throws(Errno) -> Value
) throws(StagingAreaError) -> Value {
  do throws(Errno) {
    return try body()
  } catch {
    throw StagingAreaError(path: path, cause: error)
  }
}
