import Glibc

/// The message of an errno, `No such file or directory`.
func describe(errno code: Int32) -> String {
  var buffer = [CChar](repeating: 0, count: 256)
  guard strerror_r(code, &buffer, buffer.count) == 0 else { return "error \(code)" }
  return String(decoding: buffer.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
}

/// Reads a file that is expected to be small; what is longer than a megabyte is refused.
func readSmallFile(_ path: String) -> FileText {
  let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK)
  guard descriptor >= 0 else {
    let code = errno
    return code == ENOENT || code == ENOTDIR ? .absent : .unreadable(describe(errno: code))
  }
  defer { close(descriptor) }
  var information = stat()
  guard fstat(descriptor, &information) == 0 else { return .unreadable(describe(errno: errno)) }
  // Files in /proc are regular; a FIFO or device under a file's name is a mistake, and reading one might never end.
  guard information.st_mode & S_IFMT == S_IFREG else { return .unreadable("it is not a regular file") }
  switch readToEnd(descriptor, limit: 1 << 20) {
  case .success(let bytes):
    return .text(String(decoding: bytes, as: UTF8.self), mode: information.st_mode & 0o777)
  case .failure(let failure): return .unreadable(failure.reason)
  }
}

/// Reads until the end, but no more than `limit` bytes.
func readToEnd(_ descriptor: Int32, limit: Int) -> Result<[UInt8], Failure> {
  var bytes: [UInt8] = []
  var buffer = [UInt8](repeating: 0, count: 16384)
  while true {
    let count = read(descriptor, &buffer, buffer.count)
    if count < 0 && errno == EINTR { continue }
    if count < 0 { return .failure(Failure(describe(errno: errno))) }
    if count == 0 { return .success(bytes) }
    guard bytes.count + count <= limit else { return .failure(Failure("it is larger than \(limit) bytes")) }
    bytes.append(contentsOf: buffer[..<count])
  }
}

/// Writes all of it; false when the other side is gone or the disk is full.
@discardableResult
func writeAll(_ descriptor: Int32, _ bytes: [UInt8]) -> Bool {
  var rest = bytes[...]
  while !rest.isEmpty {
    let count = rest.withUnsafeBytes { write(descriptor, $0.baseAddress, $0.count) }
    if count < 0 && errno == EINTR { continue }
    guard count > 0 else { return false }
    rest = rest.dropFirst(count)
  }
  return true
}

/// Writes text to standard output, of which a program may rely on having all.
func printOutput(_ text: String) throws(Failure) {
  guard writeAll(STDOUT_FILENO, Array(text.utf8)) else {
    throw Failure("cannot write the output: \(describe(errno: errno))")
  }
}

/// Writes one line to standard error.
func printError(_ line: String) {
  writeAll(STDERR_FILENO, Array("\(line)\n".utf8))
}
