/// An option of mount(8) that is not about waysfs, but that mount, systemd or an fstab line passes along.
struct GenericOption: Sendable {
  enum Meaning: Hashable, Sendable {
    /// Nothing for a filesystem to do.
    case ignored
    /// Sets an option of ours.
    case sets(MountOption, to: String)
    /// Handed to the kernel.
    case kernel(KernelFlag, Bool)
  }

  let name: String
  let meaning: Meaning

  static let all: [GenericOption] =
    [
      GenericOption(name: "ro", meaning: .sets(.readOnly, to: "yes")),
      GenericOption(name: "rw", meaning: .sets(.readOnly, to: "no")),
      GenericOption(name: "suid", meaning: .kernel(.noSetUserID, false)),
      GenericOption(name: "nosuid", meaning: .kernel(.noSetUserID, true)),
      GenericOption(name: "dev", meaning: .kernel(.noDevices, false)),
      GenericOption(name: "nodev", meaning: .kernel(.noDevices, true)),
      GenericOption(name: "exec", meaning: .kernel(.noExecution, false)),
      GenericOption(name: "noexec", meaning: .kernel(.noExecution, true)),
      GenericOption(name: "atime", meaning: .kernel(.noAccessTime, false)),
      GenericOption(name: "noatime", meaning: .kernel(.noAccessTime, true)),
      GenericOption(name: "symfollow", meaning: .kernel(.noLinks, false)),
      GenericOption(name: "nosymfollow", meaning: .kernel(.noLinks, true)),
    ] + ignored.map { GenericOption(name: $0, meaning: .ignored) }

  /// `default-permissions` is always on: the kernel checks modes, whoever mounts.
  private static let ignored = [
    "defaults", "default-permissions", "-netdev", "-rnetdev", "nofail", "auto", "noauto", "user", "nouser", "users",
    "owner", "group", "async", "sync", "dirsync", "relatime", "norelatime", "strictatime", "nostrictatime", "lazytime",
    "nolazytime", "diratime", "nodiratime", "mand", "nomand", "silent", "loud", "comment",
    "iversion", "noiversion", "helper", "uhelper",
  ]

  /// Whether the name belongs to userspace tools: `x-systemd.automount`, `X-mount.mkdir`.
  static func isForUserspace(_ name: String) -> Bool {
    name.hasPrefix("x-") || name.hasPrefix("X-")
  }
}

/// A flag of the mount that the kernel applies (mount(2)).
enum KernelFlag: String, CaseIterable, Sendable {
  case noSetUserID = "nosuid"
  case noDevices = "nodev"
  case noExecution = "noexec"
  case noAccessTime = "noatime"
  /// Symbolic links are not followed.
  case noLinks = "nosymfollow"
}
