import Glibc

/// Where the records of running mounts are kept.
enum RuntimeDirectory {
  /// The directories in which a user's records may be, the one for a new record first. Root's place does not depend on
  /// the environment: a mount made by systemd and an `umount` in a login shell must find each other.
  static func candidates(uid: UInt32, environment: [String: String]) -> [String] {
    if uid == 0 { return ["/run/waysfs"] }
    var directories: [String] = []
    if let runtime = environment["XDG_RUNTIME_DIR"], runtime.hasPrefix("/") { directories.append("\(runtime)/waysfs") }
    for path in ["/run/user/\(uid)/waysfs", "/tmp/waysfs-\(uid)"] where !directories.contains(path) {
      directories.append(path)
    }
    return directories
  }

  /// Makes the first candidate whose parent can take it, and makes sure that nobody else can write there.
  static func prepare(uid: UInt32, environment: [String: String]) throws(Failure) -> String {
    var reasons: [String] = []
    for path in candidates(uid: uid, environment: environment) {
      if mkdir(path, 0o700) != 0 && errno != EEXIST {
        reasons.append("\(path): \(describe(errno: errno))")
        continue
      }
      if let problem = problem(with: path, uid: uid) {
        reasons.append("\(path): \(problem)")
        continue
      }
      return path
    }
    throw Failure(
      "there is no place for the record of this mount (\(reasons.joined(separator: "; ")))",
      remedy: uid == 0 ? "Make /run writable" : "Set XDG_RUNTIME_DIR to a directory of your own")
  }

  /// /tmp belongs to everybody: what is found there may have been put there by somebody else.
  static func problem(with path: String, uid: UInt32) -> String? {
    var information = stat()
    guard lstat(path, &information) == 0 else { return describe(errno: errno) }
    if information.st_mode & S_IFMT != S_IFDIR { return "it is not a directory" }
    if information.st_uid != uid { return "it belongs to user \(information.st_uid)" }
    if information.st_mode & 0o022 != 0 { return "others may write to it" }
    return nil
  }

  /// The name of the record of a mount point: every byte other than letters, digits, `.`, `_` and `-` as `%XX`. A name
  /// that would be too long for a file is cut and gets a hash of the whole; the record itself holds the path.
  static func recordName(forMountPoint path: String) -> String {
    var name = ""
    for byte in path.utf8 {
      switch byte {
      case 0x30...0x39, 0x41...0x5A, 0x61...0x7A, 0x2D, 0x2E, 0x5F: name.unicodeScalars.append(Unicode.Scalar(byte))
      default: name += "%" + (byte < 16 ? "0" : "") + String(byte, radix: 16, uppercase: true)
      }
    }
    guard name.utf8.count > 240 else { return name }
    return "\(name.prefix(200))-\(String(fnv1a(path), radix: 16))"
  }

  /// FNV-1a, 64 bits: short and the same in every run.
  static func fnv1a(_ text: some StringProtocol) -> UInt64 {
    text.utf8.reduce(0xcbf2_9ce4_8422_2325) { ($0 ^ UInt64($1)) &* 0x100_0000_01b3 }
  }
}
