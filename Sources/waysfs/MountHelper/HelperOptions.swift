/// What a helper is given behind `-o`, sorted: what it does itself, and what is for the mount.
struct HelperOptions: Hashable, Sendable {
  /// Change a mount that is there instead of making one.
  var isRemount = false
  /// The user to mount as.
  var setUser: String?
  /// What is for `waysfs mount`, in the order in which it was given.
  private(set) var items: [OptionList.Item] = []

  /// What mount(8) reads out of the mount table when it remounts: the kernel's, and nobody's to choose.
  private static let ofKernel: Set<String> = [
    "fd", "rootmode", "user-id", "group-id", "max-read", "blksize", "default-permissions", "seclabel",
  ]

  /// - Parameter isSloppy: leaves out what is not known instead of refusing it.
  init(_ lists: [String], isSloppy: Bool = false) throws(UsageError) {
    for list in lists {
      for item in try OptionList(parsing: list).items { try take(item) }
    }
    if isRemount { items.removeAll { Self.ofKernel.contains($0.name) } }
    if isSloppy { items.removeAll { !OptionLayer.knows($0.name) } }
  }

  private mutating func take(_ item: OptionList.Item) throws(UsageError) {
    switch item.name {
    case "remount": isRemount = true
    case "setuid":
      guard let name = item.value, !name.isEmpty else { throw UsageError("-o setuid needs a value: setuid=<user>") }
      setUser = name
    case "drop-privileges":
      throw UsageError(
        "-o drop_privileges is not for waysfs, which unmounts and remounts by itself; setuid=USER mounts as a user")
    // The type of the mount and what it shows as its source are always the same.
    case "subtype" where item.value == "waysfs": break
    default:
      if !OptionLayer.ignores(item.name) { items.append(item) }
    }
  }

  /// What follows `-o` of `waysfs mount`; nil when nothing is left to say.
  var list: String? { items.isEmpty ? nil : OptionList.text(items) }
}
