import CLinux
import FuseSession
import Glibc

/// What `mount.waysfs` does: reads what mount(8) says, and starts `waysfs mount` in the background.
struct MountHelper {
  let call: HelperCall
  /// As written in fstab: `BUCKET` or `BUCKET:PREFIX`, or `*` or `none` with the option `all`.
  let source: String

  func run() throws(Failure) {
    let options = try usage { () throws(UsageError) in try HelperOptions(call.options, isSloppy: call.isSloppy) }
    if let user = options.setUser { try Self.become(user) }
    Self.setHome()
    let context = ProcessContext.current()
    let mounts = try MountTable.read()
    let path = try MountPath.resolve(call.directory, workingDirectory: context.workingDirectory, mounts: mounts)
    if options.isRemount { return try remount(options, path, mounts, context) }
    let request = MountRequest(bucket: source, mountPoint: path, flags: try flags(options))
    let (target, endpoint) = try usage { () throws(UsageError) in
      let layers = try request.layers(context)
      return (try request.target(layers), try MountSettings.endpoint(layers: layers))
    }
    if try isThereAlready(target, endpoint, path, mounts, context) { return }
    let plan = try request.plan(context)
    say("mounting \(plan.target.source) from \(plan.settings.endpoint) on \(path)")
    if call.isFake { return try MountProcess(plan: plan, readiness: .nobody()).check(clearsDead: true) }
    let start = BackgroundStart(
      mountPoint: plan.mountPoint, recordDirectories: context.recordDirectories, timeout: plan.settings.mountTimeout)
    let arguments = ["mount", source, path] + (options.list.map { ["-o", $0] } ?? [])
    do throws(Failure) {
      try start.run(arguments: [Self.programPath()] + arguments, environment: context.environment)
    } catch {
      // Somebody else may have been at it at the same time, such as systemd at boot.
      guard try isThereAlready(target, endpoint, path, .read(), context) else { throw error }
    }
    say("\(path) answers")
  }

  private func flags(_ options: HelperOptions) throws(Failure) -> MountFlags {
    do {
      return try MountFlags.parse(options.list.map { ["-o", $0] } ?? [])
    } catch {
      throw Failure("the options cannot be read: \(MountFlags.message(for: error))", exitCode: .usage)
    }
  }

  /// The table of mounts does not show what stands in fstab (`waysfs:photos`, not `photos`), so `mount -a` asks for what
  /// is mounted again and again.
  private func isThereAlready(
    _ target: MountTarget, _ endpoint: Endpoint, _ path: String, _ mounts: MountTable, _ context: ProcessContext
  ) throws(Failure) -> Bool {
    guard let mount = mounts.top(at: path), mount.isWaysfs, mount.source == target.source,
      let record = Self.record(mount, context), record.isHeld
    else { return false }
    // Another server may have a bucket of that name.
    if let options = record.contents.options {
      let mounted = try usage { () throws(UsageError) in
        try MountSettings.endpoint(layers: [OptionLayer(recorded: options)])
      }
      guard mounted == endpoint else {
        throw Failure(
          "\(source) from \(mounted) is mounted there, and from \(endpoint) is asked for", remedy: "Unmount it first")
      }
    }
    printError("mount.waysfs: \(source) is already mounted on \(path)")
    return true
  }

  private func remount(
    _ options: HelperOptions, _ path: String, _ mounts: MountTable, _ context: ProcessContext
  ) throws(Failure) {
    guard let mount = mounts.top(at: path), mount.isWaysfs else { throw Failure("no bucket is mounted there") }
    guard let record = Self.record(mount, context), record.isHeld else {
      throw Failure("its process has died", remedy: "Unmount it and mount it again")
    }
    let flags = try Remount.flags(options, mount, record.contents)
    if !call.isFake { try Remount.apply(flags, to: mount) }
  }

  private static func record(_ mount: MountTableEntry, _ context: ProcessContext) -> ForeignRecord? {
    ForeignRecord(
      mountPoint: mount.mountpoint,
      directories: context.recordDirectories
        + RuntimeDirectory.candidates(uid: mount.userID ?? context.uid, environment: [:]))
  }

  private func usage<Value>(_ body: () throws(UsageError) -> Value) throws(Failure) -> Value {
    do throws(UsageError) { return try body() } catch { throw Failure(error.message, exitCode: .usage) }
  }

  private func say(_ line: String) {
    if call.isVerbose { writeAll(STDOUT_FILENO, Array("mount.waysfs: \(line)\n".utf8)) }
  }

  /// `-o setuid=USER`, which mount.fuse3 does itself: everything that follows is done as that user.
  private static func become(_ name: String) throws(Failure) {
    guard let entry = getpwnam(name) else { throw Failure("-o setuid: there is no user '\(name)'", exitCode: .usage) }
    let (uid, gid) = (entry.pointee.pw_uid, entry.pointee.pw_gid)
    if geteuid() == uid { return }
    guard initgroups(name, gid) == 0, setgid(gid) == 0, setuid(uid) == 0 else {
      throw Failure("-o setuid: cannot become \(name): \(describe(errno: errno))", exitCode: .usage)
    }
    forgetEnvironment(for: name)
  }

  /// Keys and directories in the environment are those of the user that this was: another must not get them.
  private static func forgetEnvironment(for user: String) {
    let kept: Set = ["PATH", "LANG", "LANGUAGE", "TZ"]
    for name in ProcessContext.current().environment.keys
    where !kept.contains(name) && !name.hasPrefix("LC_") && !name.lowercased().hasSuffix("_proxy") {
      unsetenv(name)
    }
    for name in ["USER", "LOGNAME"] { setenv(name, user, 1) }
  }

  /// At boot there is none, under sudo(8) it may be somebody else's, and mount.fuse3 leaves root's to a user.
  private static func setHome() {
    guard let entry = getpwuid(geteuid()), let home = entry.pointee.pw_dir else { return }
    setenv("HOME", home, 1)
  }

  /// For ps(1), and for the process in the background, which must not take itself for a helper.
  private static func programPath() -> String {
    guard let path = realpath("/proc/self/exe", nil) else { return "waysfs" }
    defer { free(path) }
    let program = String(cString: path)
    return HelperCall.program(program) == nil ? program : "waysfs"
  }
}
