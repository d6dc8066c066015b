import ObjectStore
import WritePath

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

  /// Whether a name in a directory stands for something of waysfs's own, which is no file: a scratch object of some mount
  /// that tries the server, or the mark of the root of a bucket.
  /// - Parameter prefix: what all keys in the directory start with.
  static func isHidden(_ name: FileName, prefix: String) -> Bool {
    guard name.string.utf8.first == UInt8(ascii: ".") else { return false }
    return ConditionalWrites.isScratch(name.string) || (prefix.isEmpty && isRootMark(name))
  }

  /// Whether a name at the root of a bucket is the one that marks it.
  static func isRootMark(_ name: FileName) -> Bool {
    name.string.utf8.elementsEqual(DirectoryMark.rootName.utf8)
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

extension ObjectKey {
  /// Whether it ends in a slash, as the markers of directories do. By its bytes: after some characters Swift counts the
  /// slash to them.
  var isMarker: Bool { string.utf8.last == UInt8(ascii: "/") }
}
