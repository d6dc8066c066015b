import Basics
import CLinux
import Glibc
import SystemPackage

/// The file-system calls of a disk cache, one step each.
///
/// Every step is told to `onStep` before it is done: a test sees what a crash at that point leaves behind, or makes the
/// step fail.
struct CacheDisk: Sendable {
  enum Step: Hashable, Sendable {
    case makeDirectory(FilePath)
    case make(FilePath)
    case open(FilePath)
    case status(FilePath)
    case read(FilePath)
    case write(FilePath)
    case resize(FilePath)
    case sync(FilePath)
    case touch(FilePath)
    case rename(FilePath, to: FilePath)
    case remove(FilePath)
    case list(FilePath)
  }

  /// What stat(2) says.
  struct Status: Hashable, Sendable {
    var length: UInt64
    /// Bytes on the disk.
    var allocated: UInt64
    /// Names it has.
    var links: UInt64
    /// Time of the last use, as far as it is kept.
    var modified: Timestamp
    /// Which file it is, on its disk.
    var number: UInt64 = 0
    /// When its bytes or anything else of it was last changed; nobody can set that.
    var changed = Timestamp(seconds: 0)
  }

  /// A disk's size and what this user may still write to it, in bytes.
  struct Room: Hashable, Sendable {
    var size: UInt64
    var free: UInt64
  }

  var onStep: (@Sendable (Step) throws(Errno) -> Void)?
  /// Nil when the disk does not say.
  var room: @Sendable (FilePath) -> Room? = Self.room

  private func step(_ step: Step) throws(Errno) { try onStep?(step) }

  // MARK: Names

  /// Makes a directory for this user only; one that is there is fine.
  func makeDirectory(_ path: FilePath) throws(Errno) {
    try step(.makeDirectory(path))
    let result = path.withPlatformString { mkdir($0, 0o700) }
    guard result == 0 || errno == EEXIST else { throw Errno(rawValue: errno) }
  }

  /// Makes a directory and those above it.
  func makeDirectories(_ path: FilePath) throws(Errno) {
    var parent = path
    if parent.removeLastComponent(), !parent.isEmpty, parent.withPlatformString({ access($0, F_OK) }) != 0 {
      try makeDirectories(parent)
    }
    try makeDirectory(path)
  }

  /// Checks that a directory is one that only this user can change or read: whoever else could, could make the sums agree
  /// with other bytes.
  /// - Throws: EPERM when it is not.
  func requireOwn(_ path: FilePath) throws(Errno) {
    try step(.status(path))
    var info = stat()
    guard path.withPlatformString({ lstat($0, &info) }) == 0 else { throw Errno(rawValue: errno) }
    guard info.st_mode & S_IFMT == S_IFDIR, info.st_uid == geteuid(), info.st_mode & 0o077 == 0 else {
      throw .notPermitted
    }
  }

  /// A new file for this user only, open for reading and writing; EEXIST when there is one.
  func make(_ path: FilePath) throws(Errno) -> SharedDescriptor {
    try step(.make(path))
    return try Self.open(path, O_RDWR | O_CREAT | O_EXCL)
  }

  /// Opens a file for reading and writing; with `makes`, one that is not there is made.
  func open(_ path: FilePath, makes: Bool = false) throws(Errno) -> SharedDescriptor {
    try step(.open(path))
    return try Self.open(path, O_RDWR | (makes ? O_CREAT : 0))
  }

  /// Opens a file past the page cache; nil where that cannot be.
  func openDirect(_ path: FilePath) -> SharedDescriptor? {
    var error: Int32 = 0
    let descriptor = path.withPlatformString { clinux_open_direct($0, &error) }
    return descriptor >= 0 ? SharedDescriptor(owning: FileDescriptor(rawValue: descriptor)) : nil
  }

  func rename(_ path: FilePath, to newPath: FilePath) throws(Errno) {
    try step(.rename(path, to: newPath))
    let result = path.withPlatformString { old in newPath.withPlatformString { Glibc.rename(old, $0) } }
    guard result == 0 else { throw Errno(rawValue: errno) }
  }

  /// Removes a file; one that is not there is fine.
  func remove(_ path: FilePath) throws(Errno) {
    try step(.remove(path))
    guard path.withPlatformString({ unlink($0) }) == 0 || errno == ENOENT else { throw Errno(rawValue: errno) }
  }

  /// The names in a directory, without `.` and `..`; none when it is not there.
  func names(in path: FilePath) throws(Errno) -> [String] {
    try step(.list(path))
    guard let directory = path.withPlatformString({ opendir($0) }) else {
      if errno == ENOENT { return [] }
      throw Errno(rawValue: errno)
    }
    defer { closedir(directory) }
    var names: [String] = []
    while let entry = readdir(directory) {
      let name = withUnsafePointer(to: &entry.pointee.d_name) {
        $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
      }
      if name != "." && name != ".." { names.append(name) }
    }
    return names
  }

  /// Nil when the file is not there.
  func status(_ path: FilePath) throws(Errno) -> Status? {
    try step(.status(path))
    var info = stat()
    guard path.withPlatformString({ lstat($0, &info) }) == 0 else {
      if errno == ENOENT { return nil }
      throw Errno(rawValue: errno)
    }
    return Status(info)
  }

  // MARK: Files

  func status(of file: SharedDescriptor, _ path: FilePath) throws(Errno) -> Status {
    try step(.status(path))
    var info = stat()
    guard fstat(file.descriptor.rawValue, &info) == 0 else { throw Errno(rawValue: errno) }
    return Status(info)
  }

  /// Reads as many bytes as there are, at most those of `buffer`.
  func read(
    _ file: SharedDescriptor, _ path: FilePath, into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64
  ) throws(Errno) -> Int {
    try step(.read(path))
    var done = 0
    while done < buffer.count {
      let count = pread(
        file.descriptor.rawValue, buffer.baseAddress?.advanced(by: done), buffer.count - done, Int(offset) + done)
      if count == 0 { break }
      if count > 0 {
        done += count
      } else if errno != EINTR {
        throw Errno(rawValue: errno)
      }
    }
    return done
  }

  /// Writes all of `bytes`.
  func write(
    _ bytes: UnsafeRawBufferPointer, to file: SharedDescriptor, _ path: FilePath, at offset: UInt64
  ) throws(Errno) {
    try step(.write(path))
    var done = 0
    while done < bytes.count {
      let count = pwrite(
        file.descriptor.rawValue, bytes.baseAddress?.advanced(by: done), bytes.count - done, Int(offset) + done)
      if count > 0 {
        done += count
      } else if count == 0 {
        throw .ioError
      } else if errno != EINTR {
        throw Errno(rawValue: errno)
      }
    }
  }

  func resize(_ file: SharedDescriptor, _ path: FilePath, to length: UInt64) throws(Errno) {
    try step(.resize(path))
    guard ftruncate(file.descriptor.rawValue, Int(clamping: length)) == 0 else { throw Errno(rawValue: errno) }
  }

  /// Waits until what was written is on the disk, with the times of the file.
  func sync(_ file: SharedDescriptor, _ path: FilePath) throws(Errno) {
    try step(.sync(path))
    while fsync(file.descriptor.rawValue) != 0 {
      guard errno == EINTR else { throw Errno(rawValue: errno) }
    }
  }

  /// Notes that a file was used, in seconds since 1970.
  func touch(_ file: SharedDescriptor, _ path: FilePath, at seconds: Int64) throws(Errno) {
    try step(.touch(path))
    let time = timespec(tv_sec: Int(clamping: seconds), tv_nsec: 0)
    guard futimens(file.descriptor.rawValue, [time, time]) == 0 else { throw Errno(rawValue: errno) }
  }

  /// Waits for the lock of a file, which goes with its descriptor; `whole`: it is nobody else's meanwhile. False when it
  /// cannot be had, or with `waits` false not at once.
  static func lock(_ file: SharedDescriptor, whole: Bool, waits: Bool) -> Bool {
    let operation = (whole ? LOCK_EX : LOCK_SH) | (waits ? 0 : LOCK_NB)
    while flock(file.descriptor.rawValue, operation) != 0 {
      guard errno == EINTR else { return false }
    }
    return true
  }

  /// Opens what a descriptor stands for once more, for reading; nil when that fails.
  static func openAgain(_ file: SharedDescriptor) -> SharedDescriptor? {
    let descriptor = Glibc.open("/proc/self/fd/\(file.descriptor.rawValue)", O_RDONLY | O_CLOEXEC)
    return descriptor >= 0 ? SharedDescriptor(owning: FileDescriptor(rawValue: descriptor)) : nil
  }

  static func unlock(_ file: SharedDescriptor) { _ = flock(file.descriptor.rawValue, LOCK_UN) }

  private static func open(_ path: FilePath, _ flags: Int32) throws(Errno) -> SharedDescriptor {
    let descriptor = path.withPlatformString { Glibc.open($0, flags | O_CLOEXEC | O_NOFOLLOW, 0o600) }
    guard descriptor >= 0 else { throw Errno(rawValue: errno) }
    return SharedDescriptor(owning: FileDescriptor(rawValue: descriptor))
  }

  static func room(_ path: FilePath) -> Room? {
    var info = statvfs()
    guard path.withPlatformString({ statvfs($0, &info) }) == 0 else { return nil }
    let block = UInt64(info.f_frsize)
    return Room(size: UInt64(info.f_blocks) &* block, free: UInt64(info.f_bavail) &* block)
  }
}

extension CacheDisk.Status {
  init(_ info: stat) {
    self.init(
      length: UInt64(clamping: info.st_size), allocated: UInt64(clamping: info.st_blocks) &* 512,
      links: UInt64(info.st_nlink), modified: Timestamp(info.st_mtim), number: UInt64(info.st_ino),
      changed: Timestamp(info.st_ctim))
  }
}

extension Timestamp {
  fileprivate init(_ time: timespec) {
    self.init(seconds: Int64(time.tv_sec), nanoseconds: UInt32(clamping: time.tv_nsec))
  }
}
