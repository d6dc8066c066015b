import Basics
import Glibc
import SystemPackage

/// The directories of one bucket's mounts, and who has them.
///
///     ROOT/BUCKET-IDENTITYHASH-SLOT/lock      locked by a daemon while it lives; holds the identity as text
enum JournalSlots {
  /// How many mounts of one bucket may run at once.
  static let count = 64

  /// The part of the directory name that the mounts of one endpoint, bucket and prefix share.
  static func base(name: String, identity: String) -> String {
    "\(name)-\(String(Checksum.of(identity), radix: 16))"
  }

  /// The lock of a directory; nil when another has it.
  static func lock(_ directory: FilePath) throws(Errno) -> SharedDescriptor? {
    let lock = try JournalDisk.open(directory.appending("lock"), O_RDWR | O_CREAT)
    if flock(lock.descriptor.rawValue, LOCK_EX | LOCK_NB) == 0 { return lock }
    guard errno == EWOULDBLOCK else { throw Errno(rawValue: errno) }
    return nil
  }

  /// Writes for people whose directory it is.
  static func label(_ lock: SharedDescriptor, _ identity: String) throws(Errno) {
    let line = identity.map { $0.unicodeScalars.allSatisfy { $0.value >= 32 && $0.value != 127 } ? $0 : "?" } + "\n"
    do {
      try Array(String(line).utf8).withUnsafeBytes { try FileSystem.write($0, to: lock.descriptor, at: 0) }
    } catch {
      throw error as? Errno ?? .ioError
    }
    guard ftruncate(lock.descriptor.rawValue, line.reduce(0) { $0 + $1.utf8.count }) == 0 else {
      throw Errno(rawValue: errno)
    }
  }

  /// What `label` wrote.
  static func identity(of directory: FilePath) -> String? {
    guard let bytes = try? JournalDisk.read(directory.appending("lock")) else { return nil }
    let line = String(decoding: bytes.prefix { $0 != UInt8(ascii: "\n") }, as: UTF8.self)
    return line.isEmpty ? nil : line
  }

  /// The directories that are there and that nobody uses, with their locks.
  static func abandoned(root: FilePath, base: String, but own: Int) -> [(FilePath, SharedDescriptor)] {
    // One look at the root: there are seldom more than a few.
    let names = Set((try? FileSystem.names(in: root)) ?? [])
    return (0..<count).compactMap { slot in
      let name = "\(base)-\(slot)"
      guard slot != own, names.contains(name) else { return nil }
      let directory = root.appending(name)
      guard let lock = try? lock(directory) else { return nil }
      return (directory, lock)
    }
  }
}
