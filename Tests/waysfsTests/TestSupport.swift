import Glibc

/// A directory that is removed with everything in it when the test ends.
final class TemporaryDirectory {
  let path: String

  init() throws {
    var template = Array("/tmp/waysfs-tests-XXXXXX".utf8CString)
    guard mkdtemp(&template) != nil else { throw TestFailure("mkdtemp: \(errno)") }
    let made = String(decoding: template.dropLast().map(UInt8.init(bitPattern:)), as: UTF8.self)
    // The mount table and realpath(3) show paths without symbolic links.
    guard let real = realpath(made, nil) else { throw TestFailure("realpath: \(errno)") }
    path = String(cString: real)
    free(real)
  }

  deinit { removeAll(path) }

  private func removeAll(_ path: String) {
    if let directory = opendir(path) {
      while let entry = readdir(directory) {
        let name = withUnsafePointer(to: &entry.pointee.d_name) {
          $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
        }
        guard name != "." && name != ".." else { continue }
        let child = "\(path)/\(name)"
        // A directory cannot be unlinked, a link to one can.
        if unlink(child) != 0 { removeAll(child) }
      }
      closedir(directory)
    }
    rmdir(path)
  }

  func file(_ name: String, _ text: String = "") throws -> String {
    let path = "\(path)/\(name)"
    let descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0o600)
    guard descriptor >= 0 else { throw TestFailure("open \(path): \(errno)") }
    defer { close(descriptor) }
    let bytes = Array(text.utf8)
    guard write(descriptor, bytes, bytes.count) == bytes.count else { throw TestFailure("write") }
    return path
  }
}

struct TestFailure: Error {
  let message: String
  init(_ message: String) { self.message = message }
}
