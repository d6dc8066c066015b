import Basics
import Glibc
import SystemPackage

/// Calls that swift-system does not have, with its errors.
enum FileSystem {
  /// Writes all of `bytes`.
  static func write(
    _ bytes: UnsafeRawBufferPointer, to descriptor: FileDescriptor, at offset: UInt64
  ) throws(Errno) {
    var done = 0
    while done < bytes.count {
      let count = pwrite(
        descriptor.rawValue, bytes.baseAddress?.advanced(by: done), bytes.count - done, Int(offset) + done)
      if count > 0 {
        done += count
      } else if count == 0 {
        throw .ioError
      } else if errno != EINTR {
        throw Errno(rawValue: errno)
      }
    }
  }

  static func remove(_ path: FilePath) throws(Errno) {
    guard path.withPlatformString({ unlink($0) }) == 0 else { throw Errno(rawValue: errno) }
  }

  static func rename(_ path: FilePath, to newPath: FilePath) throws(Errno) {
    let result = path.withPlatformString { old in newPath.withPlatformString { Glibc.rename(old, $0) } }
    guard result == 0 else { throw Errno(rawValue: errno) }
  }

  static func link(_ path: FilePath, to newPath: FilePath) throws(Errno) {
    let result = path.withPlatformString { old in newPath.withPlatformString { Glibc.link(old, $0) } }
    guard result == 0 else { throw Errno(rawValue: errno) }
  }

  static func sync(_ descriptor: FileDescriptor) throws(Errno) {
    guard fsync(descriptor.rawValue) == 0 else { throw Errno(rawValue: errno) }
  }

  /// Makes a file with that text, for this user only, and waits until the disk has it.
  static func writeDurably(_ text: String, to path: FilePath) throws(Errno) {
    let descriptor = path.withPlatformString { open($0, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600) }
    guard descriptor >= 0 else { throw Errno(rawValue: errno) }
    let file = SharedDescriptor(owning: FileDescriptor(rawValue: descriptor))
    do {
      try Array(text.utf8).withUnsafeBytes { try write($0, to: file.descriptor, at: 0) }
    } catch {
      throw error as? Errno ?? .ioError
    }
    try sync(file.descriptor)
  }

  /// All of a file of UTF-8 text, at most 1 GiB; nil when it is longer or no text. A record has a line that grows with
  /// the number of separate writes: what could be written must be readable.
  static func read(_ path: FilePath) throws -> String? {
    let file = SharedDescriptor(owning: try FileDescriptor.open(path, .readOnly, options: .closeOnExec))
    var bytes: [UInt8] = []
    while bytes.count < 1 << 30 {
      let piece = try [UInt8](unsafeUninitializedCapacity: 65_536) { buffer, count in
        count = try file.descriptor.read(
          fromAbsoluteOffset: Int64(bytes.count), into: UnsafeMutableRawBufferPointer(buffer))
      }
      if piece.isEmpty { return String(validating: bytes, as: UTF8.self) }
      bytes += piece
    }
    return nil
  }

  /// Makes a directory for this user only; one that is there is fine.
  static func makePrivateDirectory(_ path: FilePath) throws(Errno) {
    let result = path.withPlatformString { mkdir($0, 0o700) }
    guard result == 0 || errno == EEXIST else { throw Errno(rawValue: errno) }
  }

  /// Makes a directory and those above it.
  static func makePrivateDirectories(_ path: FilePath) throws(Errno) {
    var parent = path
    if parent.removeLastComponent(), !parent.isEmpty, parent.withPlatformString({ Glibc.access($0, F_OK) }) != 0 {
      try makePrivateDirectories(parent)
    }
    try makePrivateDirectory(path)
  }

  /// Makes the names in a directory durable.
  static func syncDirectory(_ path: FilePath) throws(Errno) {
    let descriptor = path.withPlatformString { open($0, O_RDONLY | O_DIRECTORY | O_CLOEXEC) }
    guard descriptor >= 0 else { throw Errno(rawValue: errno) }
    defer { close(descriptor) }
    guard fsync(descriptor) == 0 else { throw Errno(rawValue: errno) }
  }

  /// The names in a directory, without `.` and `..`, sorted.
  static func names(in path: FilePath) throws(Errno) -> [String] {
    guard let directory = path.withPlatformString({ opendir($0) }) else { throw Errno(rawValue: errno) }
    defer { closedir(directory) }
    var names: [String] = []
    while let entry = readdir(directory) {
      let name = withUnsafePointer(to: &entry.pointee.d_name) {
        $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
      }
      if name != "." && name != ".." { names.append(name) }
    }
    return names.sorted()
  }
}
