import Glibc
import SystemPackage

// System calls as a client of a mount makes them.

/// The errno of a call that failed, as an error.
@discardableResult
func check(_ result: some BinaryInteger) throws -> Int {
  guard result >= 0 else { throw Errno(rawValue: errno) }
  return Int(result)
}

func openFile(_ path: String, _ flags: Int32 = O_RDONLY, _ mode: mode_t = 0o644) throws -> FileDescriptor {
  FileDescriptor(rawValue: Int32(try check(Glibc.open(path, flags | O_CLOEXEC, mode))))
}

func writeText(_ path: String, _ text: String, flags: Int32 = O_CREAT | O_TRUNC) throws {
  let file = try openFile(path, O_WRONLY | flags)
  try file.closeAfter { _ = try file.writeAll(text.utf8) }
}

func readText(_ path: String) throws -> String {
  String(decoding: try readBytes(path), as: UTF8.self)
}

func readBytes(_ path: String) throws -> [UInt8] {
  let file = try openFile(path)
  return try file.closeAfter {
    var bytes: [UInt8] = []
    while true {
      let chunk = try [UInt8](unsafeUninitializedCapacity: 1 << 20) { buffer, count in
        count = try file.read(into: UnsafeMutableRawBufferPointer(buffer))
      }
      if chunk.isEmpty { return bytes }
      bytes += chunk
    }
  }
}

func status(_ path: String) throws -> stat {
  var result = stat()
  try check(lstat(path, &result))
  return result
}

/// The names in a directory, as they come, without `.` and `..`.
func names(_ path: String) throws -> [String] {
  guard let directory = opendir(path) else { throw Errno(rawValue: errno) }
  defer { closedir(directory) }
  var names: [String] = []
  while true {
    errno = 0
    guard let entry = readdir(directory) else {
      if errno != 0 { throw Errno(rawValue: errno) }
      return names
    }
    let name = withUnsafeBytes(of: &entry.pointee.d_name) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
    if name != "." && name != ".." { names.append(name) }
  }
}

/// The errno a call fails with; nil when it succeeds.
func errorOf(_ body: () throws -> Void) -> Errno? {
  do {
    try body()
    return nil
  } catch { return error as? Errno }
}

/// The errno a call that returns -1 fails with; nil when it succeeds.
func errorOf(_ result: some BinaryInteger) -> Errno? {
  result < 0 ? Errno(rawValue: errno) : nil
}
