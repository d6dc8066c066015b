import Basics
import CLinux
import Glibc
import ObjectStore
import SystemPackage

/// The file-system calls that change a journal, one step each.
///
/// Every step is told to `onStep` before it is done: a test sees what a crash at that point leaves behind, or makes the
/// step fail.
struct JournalDisk: Sendable {
  enum Step: Hashable, Sendable {
    case make(FilePath)
    case write(FilePath)
    case sync(FilePath)
    case rename(FilePath, to: FilePath)
    case remove(FilePath)
    case syncDirectory(FilePath)
    case label(FilePath)
  }

  /// Where files go that are not needed any more, to be used again.
  var spares: SpareFiles?
  var onStep: (@Sendable (Step) throws(Errno) -> Void)?

  private func step(_ step: Step) throws(Errno) { try onStep?(step) }

  /// A new, empty file for this user only.
  func make(_ path: FilePath) throws(Errno) -> SharedDescriptor {
    try step(.make(path))
    return try Self.open(path, O_RDWR | O_CREAT | O_EXCL)
  }

  /// A new, empty file for data, or one that is empty again.
  func makeData(_ path: FilePath) throws(Errno) -> SharedDescriptor {
    guard let spares else { return try make(path) }
    try step(.make(path))
    return try Self.open(path, spares.takeData(as: path) ? O_RDWR : O_RDWR | O_CREAT | O_EXCL)
  }

  /// Makes a file with that text, or writes over one that was never finished.
  func write(_ text: String, to path: FilePath, durable: Bool) throws(Errno) {
    try step(.make(path))
    spares?.take(as: path)
    let file = try Self.open(path, O_WRONLY | O_CREAT)
    try step(.write(path))
    try put(text, into: file)
    if durable { try sync(file, path) }
  }

  /// Writes over a file that is there, in place.
  func overwrite(_ path: FilePath, with text: String, durable: Bool) throws(Errno) {
    try step(.write(path))
    let file = try Self.open(path, O_WRONLY)
    try put(text, into: file)
    if durable { try sync(file, path) }
  }

  /// Makes a text all that a file holds.
  private func put(_ text: String, into file: SharedDescriptor) throws(Errno) {
    var text = text
    do {
      try text.withUTF8 { try FileSystem.write(UnsafeRawBufferPointer($0), to: file.descriptor, at: 0) }
    } catch {
      throw error as? Errno ?? .ioError
    }
    guard ftruncate(file.descriptor.rawValue, text.utf8.count) == 0 else { throw Errno(rawValue: errno) }
  }

  /// Appends to a file, made if it is not there.
  func append(_ bytes: [UInt8], to path: FilePath) throws(Errno) {
    try step(.write(path))
    let file = try Self.open(path, O_WRONLY | O_CREAT | O_APPEND)
    try append(bytes, to: file)
  }

  /// One write(2), so that a line is whole or torn, but never mixed with another.
  func append(_ bytes: [UInt8], to file: SharedDescriptor) throws(Errno) {
    let count = bytes.withUnsafeBytes { Glibc.write(file.descriptor.rawValue, $0.baseAddress, $0.count) }
    guard count >= 0 else { throw Errno(rawValue: errno) }
    guard count == bytes.count else { throw .ioError }
  }

  /// Makes a file's bytes and length durable.
  func sync(_ file: SharedDescriptor, _ path: FilePath) throws(Errno) {
    try step(.sync(path))
    guard fdatasync(file.descriptor.rawValue) == 0 else { throw Errno(rawValue: errno) }
  }

  func rename(_ path: FilePath, to newPath: FilePath) throws(Errno) {
    try step(.rename(path, to: newPath))
    try FileSystem.rename(path, to: newPath)
  }

  /// Removes a file; one that is not there is fine.
  /// - Parameter isSpare: it is used again. Not for what was made durable: after a power failure its name may be back,
  ///   and then its bytes must be.
  func remove(_ path: FilePath, isSpare: Bool = false) throws(Errno) {
    try step(.remove(path))
    if isSpare, spares?.give(path) ?? false { return }
    do throws(Errno) {
      try FileSystem.remove(path)
    } catch {
      guard error == .noSuchFileOrDirectory else { throw error }
    }
  }

  /// Writes onto a data file which key its bytes are for: an extended attribute costs a hundredth of a file of its own.
  /// Not every filesystem has them.
  func label(_ file: SharedDescriptor, _ path: FilePath, _ key: ObjectKey) throws(Errno) {
    try step(.label(path))
    var name = key.string
    let error = name.withUTF8 {
      clinux_set_attribute(file.descriptor.rawValue, Self.labelName, $0.baseAddress, $0.count)
    }
    guard error == 0 else { throw Errno(rawValue: error) }
  }

  /// What `label` wrote; nil when there is none.
  static func label(_ path: FilePath) -> ObjectKey? {
    // S3: keys have at most 1,024 bytes.
    var bytes = [UInt8](repeating: 0, count: 1024)
    let count = path.withPlatformString { path in
      bytes.withUnsafeMutableBytes { clinux_get_attribute(path, Self.labelName, $0.baseAddress, $0.count) }
    }
    guard count > 0 else { return nil }
    return String(validating: bytes[..<count], as: UTF8.self).map { ObjectKey($0) }
  }

  /// Short, so that it and a name of some sixty bytes fit beside the inode of ext4.
  static let labelName = "user.waysfs"

  /// Removes data; one that is small and was not made durable is used again.
  func remove(_ data: JournalData, isSpare: Bool) throws(Errno) {
    let longest: UInt64 = 1 << 20
    guard isSpare, data.reserved <= longest, let spares else { return try remove(data.path) }
    try step(.remove(data.path))
    if spares.give(data.file, data.path) { return }
    try FileSystem.remove(data.path)
  }

  func syncDirectory(_ path: FilePath) throws(Errno) {
    try step(.syncDirectory(path))
    try FileSystem.syncDirectory(path)
  }

  /// Writes a text under a temporary name and renames it: whoever looks finds all of it, or what was there before.
  /// `durable`: it is on stable storage before it has its name; the directory is the caller's to sync.
  func replace(_ path: FilePath, with text: String, durable: Bool) throws(Errno) {
    let temporary = FilePath(path.string + JournalName.new)
    do throws(Errno) {
      try write(text, to: temporary, durable: durable)
      try rename(temporary, to: path)
    } catch {
      try? FileSystem.remove(temporary)
      throw error
    }
  }

  /// Copies all of a file into an empty one, keeping its holes. Blocks shared between the two where the filesystem can;
  /// otherwise `reserve` is asked first, with the bytes that will be taken.
  func copy(
    _ from: SharedDescriptor, to: SharedDescriptor, _ path: FilePath, reserve: (UInt64) throws(Errno) -> Void
  ) throws(Errno) {
    try step(.write(path))
    let (source, target) = (from.descriptor.rawValue, to.descriptor.rawValue)
    if clinux_clone_file(source, target) == 0 { return }
    let size = try Self.status(from)
    try reserve(size.allocated)
    guard ftruncate(target, Int(size.length)) == 0 else { throw Errno(rawValue: errno) }
    var position: Int64 = 0
    while position < size.length {
      var (start, end): (Int64, Int64) = (0, 0)
      switch clinux_next_data(source, position, &start, &end) {
      case 0: break
      case ENXIO: return
      // A filesystem that does not know about holes.
      default: (start, end) = (position, size.length)
      }
      try Self.copy(source, target, start..<min(end, size.length))
      position = end
    }
  }

  private static func copy(_ source: Int32, _ target: Int32, _ range: Range<Int64>) throws(Errno) {
    let error = clinux_copy_range(source, target, range.lowerBound, range.upperBound - range.lowerBound)
    guard error != 0 else { return }
    guard [EXDEV, EINVAL, ENOSYS, EOPNOTSUPP].contains(error) else { throw Errno(rawValue: error) }
    let pieceSize = 1 << 20
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: pieceSize, alignment: 16)
    defer { buffer.deallocate() }
    var offset = range.lowerBound
    while offset < range.upperBound {
      let wanted = min(pieceSize, Int(range.upperBound - offset))
      let count = pread(source, buffer.baseAddress, wanted, Int(offset))
      if count == 0 { return }
      if count < 0 {
        guard errno == EINTR else { throw Errno(rawValue: errno) }
        continue
      }
      try FileSystem.write(
        UnsafeRawBufferPointer(rebasing: buffer[..<count]), to: FileDescriptor(rawValue: target), at: UInt64(offset))
      offset += Int64(count)
    }
  }

  /// A file's length, and the bytes it takes on the disk.
  static func status(_ file: SharedDescriptor) throws(Errno) -> (length: Int64, allocated: UInt64) {
    var info = stat()
    guard fstat(file.descriptor.rawValue, &info) == 0 else { throw Errno(rawValue: errno) }
    return (Int64(info.st_size), UInt64(info.st_blocks) * 512)
  }

  /// Opens a file; one that is made is for this user only.
  static func open(_ path: FilePath, _ flags: Int32) throws(Errno) -> SharedDescriptor {
    let descriptor = path.withPlatformString { Glibc.open($0, flags | O_CLOEXEC, 0o600) }
    guard descriptor >= 0 else { throw Errno(rawValue: errno) }
    return SharedDescriptor(owning: FileDescriptor(rawValue: descriptor))
  }

  /// Whether something has that name.
  static func exists(_ path: FilePath) -> Bool { path.withPlatformString { access($0, F_OK) } == 0 }

  /// All bytes of a file, at most 1 GiB of them. A record has a line that grows with the number of separate writes:
  /// what could be written must be readable.
  static func read(_ path: FilePath) throws(Errno) -> [UInt8] {
    let file = try open(path, O_RDONLY)
    var bytes: [UInt8] = []
    var piece = [UInt8](repeating: 0, count: 65_536)
    while bytes.count < 1 << 30 {
      let count = piece.withUnsafeMutableBytes {
        pread(file.descriptor.rawValue, $0.baseAddress, $0.count, bytes.count)
      }
      guard count >= 0 else { throw Errno(rawValue: errno) }
      if count == 0 { break }
      bytes += piece[..<count]
    }
    return bytes
  }
}
