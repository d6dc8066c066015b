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

  /// Opens the first slot nobody else uses, makes it if it is not there, and moves what a dead daemon left into
  /// `recovered`.
  /// - Parameters:
  ///   - root: a directory of this user, made if it is not there.
  ///   - name: a short name for people, safe as a file name.
  ///   - identity: tells mounts of different endpoints, buckets and prefixes apart.
  public init(root: FilePath, name: String, identity: String) throws(StagingAreaError) {
    let base = "\(name)-\(String(Checksum.of(identity), radix: 16))"
    let opened = try Self.openSlot(root: root, base: base)
    directory = opened.directory
    lock = opened.lock
    nextNumber = Atomic(Self.firstFreeNumber(in: opened.directory))
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
    return ((try? FileSystem.names(in: folder)) ?? []).map { folder.appending($0) }
  }

  private static func openSlot(
    root: FilePath, base: String
  ) throws(StagingAreaError) -> (directory: FilePath, lock: SharedDescriptor) {
    try wrap(root) { () throws(Errno) in try FileSystem.makePrivateDirectories(root) }
    for slot in 0..<64 {
      let directory = root.appending("\(base)-\(slot)")
      let lockPath = directory.appending("lock")
      let lock = try wrap(directory) { () throws(Errno) in
        try FileSystem.makePrivateDirectory(directory)
        let descriptor = lockPath.withPlatformString { open($0, O_RDWR | O_CREAT | O_CLOEXEC, 0o600) }
        guard descriptor >= 0 else { throw Errno(rawValue: errno) }
        return SharedDescriptor(owning: FileDescriptor(rawValue: descriptor))
      }
      if flock(lock.descriptor.rawValue, LOCK_EX | LOCK_NB) == 0 { return (directory, lock) }
    }
    throw StagingAreaError(path: root, cause: .resourceBusy)
  }

  /// A number above all that are in use, so that nothing kept is ever written over.
  private static func firstFreeNumber(in directory: FilePath) -> UInt64 {
    var highest: UInt64 = 0
    for folder in ["staging", "unsent", "recovered", "quarantine"] {
      for name in (try? FileSystem.names(in: directory.appending(folder))) ?? [] {
        highest = max(highest, UInt64(name.prefix { $0.isNumber }) ?? 0)
      }
    }
    return highest
  }
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
