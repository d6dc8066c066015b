import ObjectStore

/// How keys become names (docs/semantics.md, "Names").
enum NameRules {
  /// Longest file name the kernel takes (NAME_MAX), in bytes.
  static let longestName = 255
  /// Longest key S3 takes, in bytes.
  static let longestKey = 1024

  /// Whether a component of a key can be shown as a file name.
  static func canShow(_ component: some StringProtocol) -> Bool {
    let bytes = component.utf8
    return !bytes.isEmpty && bytes.count <= longestName && component != "." && component != ".."
      && !bytes.contains(0) && !bytes.contains(UInt8(ascii: "/"))
  }

  /// The path below the mount's root for a name in a directory; the root's own path is empty.
  static func path(_ name: FileName, in directory: String) -> String {
    directory.isEmpty ? name.string : "\(directory)/\(name.string)"
  }

  /// The number `stat` shows for a path: the same at every mount, so that tools that remember it (git's index) see no
  /// change. FNV-1a, 64 bits; 0 and 1 are taken.
  static func fileNumber(ofPath path: String) -> UInt64 {
    let hash = path.utf8.reduce(0xcbf2_9ce4_8422_2325 as UInt64) { ($0 ^ UInt64($1)) &* 0x100_0000_01b3 }
    return max(hash, 2)
  }
}
