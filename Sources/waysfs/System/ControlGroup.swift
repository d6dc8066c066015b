import FuseSession

/// How much memory the control groups of a process leave it (cgroups(7), both versions).
struct ControlGroup {
  /// `/proc/self/cgroup`: lines of `number:controllers:path`; for version 2 number and controllers are `0` and nothing.
  var groups: String
  var mounts: [MountTableEntry]
  /// The text of a small file; nil when it cannot be read.
  var read: (String) -> String?

  /// Bytes that this process and what shares its group may use; nil when nothing limits them, or nobody knows.
  static func memoryLimit() -> UInt64? {
    func text(_ path: String) -> String? {
      if case .text(let text, _) = readSmallFile(path) { text } else { nil }
    }
    guard let groups = text("/proc/self/cgroup"), let table = text("/proc/self/mountinfo") else { return nil }
    return ControlGroup(groups: groups, mounts: MountTable(parsing: table).entries, read: text).memoryLimit
  }

  /// The least of the limits of the group and of those above it.
  var memoryLimit: UInt64? {
    groups.split(separator: "\n").compactMap { line -> UInt64? in
      let fields = line.split(separator: ":", maxSplits: 2, omittingEmptySubsequences: false)
      guard fields.count == 3 else { return nil }
      if fields[0] == "0", fields[1].isEmpty {
        return limit(of: String(fields[2]), file: "memory.max") { $0.type == "cgroup2" }
      }
      guard fields[1].split(separator: ",").contains("memory") else { return nil }
      return limit(of: String(fields[2]), file: "memory.limit_in_bytes") {
        $0.type == "cgroup" && $0.superOptions.contains("memory")
      }
    }.min()
  }

  private func limit(of group: String, file: String, _ isHierarchy: (MountTableEntry) -> Bool) -> UInt64? {
    guard let mount = mounts.last(where: isHierarchy) else { return nil }
    // In a container the group may be named as the host sees it, and only that part of the hierarchy be mounted.
    let below = mount.root == "/" ? group[...] : group.hasPrefix(mount.root) ? group.dropFirst(mount.root.count) : ""
    var names = below.split(separator: "/")
    var limits: [UInt64] = []
    while true {
      let directory = ([mount.mountpoint] + names.map(String.init)).joined(separator: "/")
      if let text = read("\(directory)/\(file)"), let bytes = Self.bytes(text) { limits.append(bytes) }
      guard names.popLast() != nil else { return limits.min() }
    }
  }

  /// A limit as the kernel writes it; nil for none, which is `max` in version 2 and about 2^63 in version 1.
  private static func bytes(_ text: String) -> UInt64? {
    guard let number = UInt64(text.split(whereSeparator: \.isWhitespace).first ?? ""), number < 1 << 60 else {
      return nil
    }
    return number
  }
}
