public import SystemPackage

/// One line of /proc/self/mountinfo (proc_pid_mountinfo(5)).
public struct MountTableEntry: Hashable, Sendable {
  /// Number of the mount, unique while it lasts.
  public var mountID: UInt64
  /// Device as `major:minor`.
  public var device: String
  /// The directory of the filesystem that is seen at the mount point; `/` but for bind mounts.
  public var root = "/"
  /// Absolute path of the mount point.
  public var mountpoint: String
  /// The options of this mount, such as `rw`, `nosuid`.
  public var mountOptions: [String] = []
  /// Type, such as `fuse.waysfs`.
  public var type: String
  /// What is mounted.
  public var source: String
  /// The options of the filesystem itself, such as `user_id=1000`.
  public var superOptions: [String] = []

  /// Who mounted it; nil for anything but FUSE.
  public var userID: UInt32? {
    superOptions.lazy.compactMap { $0.hasPrefix("user_id=") ? UInt32($0.dropFirst(8)) : nil }.first
  }
}

/// The mounts this process sees, in the order they were made.
public struct MountTable: Sendable {
  /// The mounts. Of several on the same path the last one is seen.
  public var entries: [MountTableEntry]

  /// Reads the table. Does not touch any of the mounts, so it cannot hang on one that does not answer.
  public static func current() throws(Errno) -> MountTable {
    MountTable(parsing: String(decoding: try readWholeFile("/proc/self/mountinfo"), as: UTF8.self))
  }

  /// Parses the text of a mountinfo file. Lines that are not in its format are left out.
  public init(parsing text: String) {
    entries = text.split(separator: "\n").compactMap(Self.parse)
  }

  /// The mount that is seen at a path.
  public func top(at path: String) -> MountTableEntry? {
    entries.last { $0.mountpoint == path }
  }

  /// The mount that a file is on.
  /// - Parameters:
  ///   - path: of the file, absolute and without symbolic links.
  ///   - device: its `st_dev` (stat(2)).
  public func entry(holding path: String, device: UInt64) -> MountTableEntry? {
    // The layout of dev_t, makedev(3).
    let major = (device >> 8) & 0xFFF | (device >> 32) & ~0xFFF
    let minor = device & 0xFF | (device >> 12) & ~0xFF
    return entries.last { entry in
      let directory = entry.mountpoint == "/" ? "/" : "\(entry.mountpoint)/"
      return entry.device == "\(major):\(minor)" && "\(path)/".utf8.starts(with: directory.utf8)
    }
  }

  private static func parse(_ line: Substring) -> MountTableEntry? {
    let fields = line.split(separator: " ")
    guard fields.count >= 10, let mountID = UInt64(fields[0]),
      let separator = fields.dropFirst(6).firstIndex(of: "-"), fields.count > separator + 2
    else { return nil }
    return MountTableEntry(
      mountID: mountID, device: String(fields[2]), root: unescaped(fields[3]), mountpoint: unescaped(fields[4]),
      mountOptions: fields[5].split(separator: ",").map(String.init), type: unescaped(fields[separator + 1]),
      source: unescaped(fields[separator + 2]),
      superOptions: fields.count > separator + 3
        ? fields[separator + 3].split(separator: ",").map { unescaped($0) } : [])
  }

  /// Undoes the kernel's `\ooo` for space, tab, newline and backslash.
  private static func unescaped(_ field: Substring) -> String {
    guard field.utf8.contains(UInt8(ascii: "\\")) else { return String(field) }
    var bytes: [UInt8] = []
    var rest = field.utf8[...]
    while let byte = rest.popFirst() {
      let digits = rest.prefix(3)
      if byte == UInt8(ascii: "\\"), digits.count == 3,
        let code = UInt8(String(decoding: digits, as: UTF8.self), radix: 8)
      {
        bytes.append(code)
        rest.removeFirst(3)
      } else {
        bytes.append(byte)
      }
    }
    return String(decoding: bytes, as: UTF8.self)
  }
}

/// The bytes of a small file, such as those in /proc and /etc.
func readWholeFile(_ path: String) throws(Errno) -> [UInt8] {
  do {
    let file = try FileDescriptor.open(FilePath(path), .readOnly, options: .closeOnExec)
    defer { try? file.close() }
    var bytes: [UInt8] = []
    while true {
      let chunk = try [UInt8](unsafeUninitializedCapacity: 65536) { buffer, count in
        count = try file.read(into: UnsafeMutableRawBufferPointer(buffer))
      }
      if chunk.isEmpty { return bytes }
      bytes += chunk
    }
  } catch let error as Errno {
    throw error
  } catch {
    throw .ioError
  }
}
