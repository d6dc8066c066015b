/// The mounts of this process's namespace, as `/proc/self/mountinfo` shows them (proc_pid_mountinfo(5)). Reading it
/// touches no mount, so it works when one of them is dead.
struct MountTable: Hashable, Sendable {
  struct Entry: Hashable, Sendable {
    let mountPoint: String
    /// `fuse.waysfs`, `ext4`.
    let type: String
    let source: String
    /// The options of the superblock: `rw`, `user_id=0`.
    let options: [String]

    var isWaysfs: Bool { type == "fuse.waysfs" }

    /// Who mounted it (FUSE only).
    var userID: UInt32? {
      options.lazy.compactMap { $0.hasPrefix("user_id=") ? UInt32($0.dropFirst(8)) : nil }.first
    }
  }

  let entries: [Entry]

  /// Lines that are not in the documented form are passed over.
  init(parsing text: String) {
    entries = text.split(separator: "\n").compactMap(Self.entry)
  }

  static func current() -> MountTable {
    guard case .text(let text) = readSmallFile("/proc/self/mountinfo") else { return MountTable(parsing: "") }
    return MountTable(parsing: text)
  }

  /// The mount that is seen at that path: the last one mounted there.
  func top(at path: String) -> Entry? {
    entries.last { $0.mountPoint.utf8.elementsEqual(path.utf8) }
  }

  /// `36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue`: any number of optional fields
  /// stands before the hyphen.
  private static func entry(_ line: Substring) -> Entry? {
    let fields = line.split(separator: " ", omittingEmptySubsequences: false)
    guard fields.count >= 10, let hyphen = fields[6...].firstIndex(of: "-"), fields.count >= hyphen + 4 else {
      return nil
    }
    return Entry(
      mountPoint: unescaped(fields[4]), type: unescaped(fields[hyphen + 1]), source: unescaped(fields[hyphen + 2]),
      options: fields[hyphen + 3].split(separator: ",").map(unescaped))
  }

  /// Blank, tab, line feed, backslash and `#` are written as a backslash and three octal digits.
  static func unescaped(_ field: some StringProtocol) -> String {
    let bytes = Array(field.utf8)
    var plain: [UInt8] = []
    var index = 0
    while index < bytes.count {
      if bytes[index] == UInt8(ascii: "\\"), index + 3 < bytes.count,
        let value = UInt8(String(decoding: bytes[index + 1...index + 3], as: UTF8.self), radix: 8)
      {
        plain.append(value)
        index += 4
      } else {
        plain.append(bytes[index])
        index += 1
      }
    }
    return String(decoding: plain, as: UTF8.self)
  }
}
