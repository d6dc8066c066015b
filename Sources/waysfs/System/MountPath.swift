import Glibc

/// Turns the path of a mount point into the one the kernel shows, without touching what is mounted there: asking a
/// mount whose daemon is dead or stuck would fail or hang.
enum MountPath {
  /// - Parameters:
  ///   - path: as the user wrote it.
  ///   - workingDirectory: what a relative path starts from.
  ///   - isMountPoint: whether something is mounted at a path.
  static func resolve(
    _ path: String, workingDirectory: String, isMountPoint: (String) -> Bool
  ) throws(Failure) -> String {
    guard !path.isEmpty else { throw Failure("the mount point is an empty path", exitCode: .usage) }
    var path = path.hasPrefix("/") ? path : "\(workingDirectory)/\(path)"
    // The kernel, too, gives up after 40 symbolic links.
    for _ in 0..<40 {
      let (parent, name) = split(path)
      guard let name else { return "/" }
      let realParent = try realPath(parent)
      let candidate = realParent == "/" ? "/\(name)" : "\(realParent)/\(name)"
      if isMountPoint(candidate) { return candidate }
      guard let target = readLink(candidate) else { return candidate }
      path = target.hasPrefix("/") ? target : "\(realParent)/\(target)"
    }
    throw Failure("\(path): \(describe(errno: ELOOP))")
  }

  /// Parent and last component; no component for the root. `..` at the end cannot be split off and goes to the parent.
  private static func split(_ path: String) -> (parent: String, name: String?) {
    var components = path.split(separator: "/").filter { $0 != "." }
    guard let last = components.last else { return ("/", nil) }
    if last == ".." {
      guard let real = try? realPath(path) else { return (path, nil) }
      components = real.split(separator: "/")
      guard let name = components.popLast() else { return ("/", nil) }
      return ("/" + components.joined(separator: "/"), String(name))
    }
    return ("/" + components.dropLast().joined(separator: "/"), String(last))
  }

  private static func realPath(_ path: String) throws(Failure) -> String {
    guard let resolved = realpath(path, nil) else { throw Failure("\(path): \(describe(errno: errno))") }
    defer { free(resolved) }
    return String(cString: resolved)
  }

  private static func readLink(_ path: String) -> String? {
    var buffer = [UInt8](repeating: 0, count: Int(PATH_MAX))
    let length = buffer.withUnsafeMutableBytes { bytes in
      bytes.assumingMemoryBound(to: CChar.self).baseAddress.map { readlink(path, $0, bytes.count) } ?? -1
    }
    return length < 0 ? nil : String(decoding: buffer[..<length], as: UTF8.self)
  }
}
