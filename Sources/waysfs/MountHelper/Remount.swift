import CLinux
import FuseSession
import Glibc

/// `mount -o remount`: what the kernel applies can be changed while the mount lasts, everything else was decided when it
/// was made.
enum Remount {
  /// The flags of mount(2), as the mount table names them.
  private static let flags: [String: UInt] = [
    "ro": 1, "nosuid": 2, "nodev": 4, "noexec": 8, "noatime": 1 << 10, "nodiratime": 1 << 11, "relatime": 1 << 21,
  ]

  /// The flags that the mount gets: those it has, changed by what is asked for.
  /// - Parameters:
  ///   - mount: as the table shows it now.
  ///   - record: of the process that serves it.
  static func flags(
    _ options: HelperOptions, _ mount: MountTableEntry, _ record: RecordContents
  ) throws(Failure) -> UInt {
    let asked: OptionLayer
    var isReadOnly = mount.mountOptions.contains("ro")
    do throws(UsageError) {
      asked = try OptionLayer(optionLists: options.list.map { [$0] } ?? [])
      try checkUnchanged(asked, record)
      if let value = asked.values[.readOnly] {
        let becomesReadOnly = try OptionValue.flag(value.text)
        if isReadOnly && !becomesReadOnly && record.journal == nil {
          throw UsageError("it was mounted read-only, and has no place to keep what is written")
        }
        isReadOnly = becomesReadOnly
      }
    } catch {
      throw Failure(error.message, remedy: "Unmount it and mount it again", exitCode: .usage)
    }
    var names = Set(mount.mountOptions).subtracting(["ro"])
    if isReadOnly { names.insert("ro") }
    for (flag, isOn) in asked.kernelFlags {
      if isOn { names.insert(flag.rawValue) } else { names.remove(flag.rawValue) }
    }
    if !names.contains(KernelFlag.noAccessTime.rawValue) { names.insert("relatime") }
    return names.reduce(0) { $0 | (flags[$1] ?? 0) }
  }

  /// mount(8) hands over everything that stands in fstab, so what the mount was made with is no change.
  private static func checkUnchanged(_ asked: OptionLayer, _ record: RecordContents) throws(UsageError) {
    guard let text = record.options else { return }
    let known = try OptionList(parsing: text).items
    for (option, value) in asked.values.sorted(by: { $0.key.rawValue < $1.key.rawValue }) where option != .readOnly {
      let before = known.first { $0.name == option.rawValue }
      guard before?.value != value.text else { continue }
      throw UsageError("\(value.spelledAs) cannot be changed while it is mounted")
    }
  }

  /// Gives a mount its flags.
  static func apply(_ flags: UInt, to mount: MountTableEntry) throws(Failure) {
    switch clinux_remount(mount.mountpoint, flags) {
    case 0: return
    case EBUSY:
      throw Failure(
        "it cannot become read-only while files are open for writing",
        remedy: "'fuser -vm \(mount.mountpoint)' shows who has some open")
    case EPERM: throw Failure("only root may remount", exitCode: .usage)
    case let code: throw Failure("the kernel refuses: \(describe(errno: code))")
    }
  }
}

extension OptionList {
  /// What the user has said about a mount when it was made, for `RecordContents.options`.
  static func text(_ layers: [OptionLayer]) -> String {
    var said: [MountOption: String] = [:]
    for layer in layers where layer.origin == .flag || layer.origin == .optionList {
      said.merge(layer.values.mapValues(\.text)) { first, _ in first }
    }
    return text(said.sorted { $0.key.rawValue < $1.key.rawValue }.map { Item(name: $0.key.rawValue, value: $0.value) })
  }
}
