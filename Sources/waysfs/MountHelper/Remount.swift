import CLinux
import FuseSession
import Glibc

/// `mount -o remount`: what the kernel applies can be changed while the mount lasts, everything else was decided when it
/// was made.
enum Remount {
  /// The flags of mount(2), as the mount table names them.
  private static let flags: [String: UInt] = [
    "ro": 1, "nosuid": 2, "nodev": 4, "noexec": 8, "nosymfollow": 1 << 8, "noatime": 1 << 10, "nodiratime": 1 << 11,
    "relatime": 1 << 21, "strictatime": 1 << 24,
  ]

  /// The flags that the mount gets.
  ///
  /// mount(8) puts together what stands in fstab, or else in the mount table, and what is asked for now, and hands over
  /// what is on in the end: `noexec`, but never `exec`. So what is not there is off, but for `nosuid` and `nodev`, which
  /// waysfs mounts with when nobody says anything.
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
      try checkUnchanged(asked, mount, record)
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
    let settled = KernelFlag.allCases.filter { ![.noSetUserID, .noDevices].contains($0) }.map(\.rawValue)
    var names = Set(mount.mountOptions).subtracting(settled + ["ro"])
    if isReadOnly { names.insert("ro") }
    for (flag, isOn) in asked.kernelFlags {
      if isOn { names.insert(flag.rawValue) } else { names.remove(flag.rawValue) }
    }
    let noAccessTime = KernelFlag.noAccessTime.rawValue
    if names.isDisjoint(with: [noAccessTime, "relatime"]) {
      // The table shows nothing for the strict one.
      names.insert(mount.mountOptions.contains(noAccessTime) ? "relatime" : "strictatime")
    }
    return names.reduce(0) { $0 | (flags[$1] ?? 0) }
  }

  /// What does not show in `MountSettings`, so that it must be said in the same words.
  private static let notSettings: Set<MountOption> = [
    .allBuckets, .profile, .configurationFile, .credentialsFile, .apiKeyFile, .awsProfile,
  ]

  /// mount(8) hands over everything that stands in fstab, or in the mount table, so what the mount was made with is no
  /// change, wherever and however it was said.
  private static func checkUnchanged(
    _ asked: OptionLayer, _ mount: MountTableEntry, _ record: RecordContents
  ) throws(UsageError) {
    guard let text = record.options else { return }
    let known = try OptionLayer(recorded: text)
    let context = ProcessContext(uid: mount.userID ?? 0, gid: 0, workingDirectory: "/", environment: [:])
    let settings = { (layer: OptionLayer) throws(UsageError) in
      try MountSettings(target: .account, mountPoint: mount.mountpoint, layers: [layer], context: context)
    }
    for (option, value) in asked.values.sorted(by: { $0.key.rawValue < $1.key.rawValue })
    where option != .readOnly && known.values[option]?.text != value.text {
      var changed = known
      try changed.set(option, to: value.text, spelledAs: value.spelledAs, replacing: true)
      guard !notSettings.contains(option), try settings(changed) == settings(known) else {
        throw UsageError("\(value.spelledAs) cannot be changed while it is mounted")
      }
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
  /// What was said about a mount when it was made, for `RecordContents.options`. What came with a key pair is left out:
  /// nobody knows it who does not ask for one.
  static func text(_ layers: [OptionLayer]) -> String {
    var said: [MountOption: String] = [:]
    for layer in layers where ![.awsProfile, .controlPlane].contains(layer.origin) {
      said.merge(layer.values.mapValues(\.text)) { first, _ in first }
    }
    return text(said.sorted { $0.key.rawValue < $1.key.rawValue }.map { Item(name: $0.key.rawValue, value: $0.value) })
  }
}

extension OptionLayer {
  /// Reads `RecordContents.options`; a later version may have recorded more than is known here.
  init(recorded text: String) throws(UsageError) {
    self.init(.optionList)
    for item in try OptionList(parsing: text).items {
      guard let option = MountOption(rawValue: item.name), let value = item.value else { continue }
      try set(option, to: value, spelledAs: item.name, replacing: true)
    }
  }
}
