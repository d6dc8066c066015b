/// How a filesystem is mounted.
public struct MountOptions: Sendable {
  /// Directory to mount on.
  public var mountpoint: String
  /// What the mount table shows as the source, e.g. `waysfs:bucket/prefix`.
  public var source: String
  /// The type in the mount table is `fuse.` and this.
  public var subtype = "waysfs"
  /// Whether the kernel refuses every change.
  public var readOnly = false
  /// Whether users other than the one who mounts have access.
  public var allowOther = false
  /// Whether a directory that has entries may be mounted on; they are hidden while it is.
  public var allowNonEmpty = false
  /// How far the kernel reads ahead, in KiB. More than 1024 thrashes; takes effect only for root.
  public var maxReadAheadKiB = 1024
  /// Most threads that process requests, 1 to 1024. Metadata calls block one each.
  public var workerThreads = 64
  /// Read-ahead and asynchronous requests that the kernel keeps under way, 1 to 65535.
  public var maxBackground = 128
  /// Whether the kernel is asked to read some files by itself (`FuseSession.passthrough`).
  public var passthrough = false
  /// Further `-o` options of mount(8) and mount.fuse3(8), such as `noatime`, one an element. `nonempty`, which libfuse 3
  /// no longer knows, is `allowNonEmpty`; `nosymfollow`, which 3.14 does not know yet, is for root only.
  public var fuseOptions: [String] = []

  /// Options with their defaults.
  public init(mountpoint: String, source: String) {
    self.mountpoint = mountpoint
    self.source = source
  }

  private static let nonEmpty = "nonempty"
  private static let noLinks = "nosymfollow"

  /// Whether entries in the mount point are no obstacle.
  var hidesEntries: Bool { allowNonEmpty || fuseOptions.contains(Self.nonEmpty) }

  /// Whether the kernel is to follow no symbolic links on it.
  var followsNoLinks: Bool { fuseOptions.contains(Self.noLinks) }

  /// The argument vector for libfuse, without the program's name.
  var libfuseArguments: [String] {
    // The kernel checks permissions: without that every one of us would have to, and access(2) would ask each time.
    var options = ["default_permissions", "fsname=\(Self.escaped(source))", "subtype=\(Self.escaped(subtype))"]
    if readOnly { options.append("ro") }
    if allowOther { options.append("allow_other") }
    options += fuseOptions.filter { ![Self.nonEmpty, Self.noLinks].contains($0) }
    return options.flatMap { ["-o", $0] }
  }

  /// A value in which libfuse sees no separator.
  static func escaped(_ value: String) -> String {
    var result = ""
    for character in value.unicodeScalars {
      if character == "," || character == "\\" { result.unicodeScalars.append("\\") }
      result.unicodeScalars.append(character)
    }
    return result
  }
}
