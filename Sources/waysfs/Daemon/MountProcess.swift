import CLinux
import Glibc
import Logging

/// The process that serves a mount, in the foreground or in the background.
struct MountProcess {
  let plan: MountPlan
  let readiness: Readiness
  var connect: Connect = Composition.connect

  /// Checks, mounts, and runs until the mount has ended.
  func run() throws(Failure) -> ExitStatus {
    // Key pairs live in this process's memory and environment.
    _ = clinux_forbid_dumps()
    let log = try openLog().logger(label: "waysfs", level: plan.settings.logLevel)
    try check()
    let directory = try RuntimeDirectory.prepare(uid: plan.context.uid, environment: plan.context.environment)
    let record = try RuntimeRecord(
      directory: directory,
      contents: RecordContents(pid: getpid(), source: plan.target.source, mountPoint: plan.mountPoint))
    let daemon = MountDaemon(plan: plan, log: log, readiness: readiness)
    do throws(Failure) {
      return try daemon.run(connect: connect, probe: Self.probe, record: record) {
        if readiness.isBackground { Detachment.complete() }
      }
    } catch {
      record.finish()
      log.error("cannot mount", metadata: ["reason": "\(error.description)"])
      throw error
    }
  }

  private func openLog() throws(Failure) -> LogDestination {
    if let path = plan.settings.logFile {
      let descriptor = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY, 0o600)
      guard descriptor >= 0 else {
        throw Failure("the log file \(path) cannot be opened: \(describe(errno: errno))")
      }
      return LogDestination(.descriptor(descriptor))
    }
    return LogDestination(readiness.isBackground ? .syslog : .descriptor(STDERR_FILENO))
  }

  private func check() throws(Failure) {
    let settings = plan.settings
    let uid = plan.context.uid
    try Preconditions.checkMountPoint(plan.mountPoint, mounts: .current(), uid: uid)
    try Preconditions.checkFuseDevice()
    try Preconditions.checkHelper(uid: uid, searchPath: plan.context.environment["PATH"])
    try Preconditions.checkAllowOther(settings.allowOther, uid: uid, configuration: readSmallFile("/etc/fuse.conf"))
    try Preconditions.checkOutside(settings.cacheDirectory, "the cache directory", mountPoint: plan.mountPoint)
    try Preconditions.checkOutside(settings.logFile, "the log file", mountPoint: plan.mountPoint)
    if let file = settings.caFile {
      guard access(file, R_OK) == 0 else {
        throw Failure("the certificates in \(file) cannot be read", remedy: "Give a PEM file with --ca-file")
      }
    }
  }

  /// The mount is in the kernel's table, and its root answers.
  private static func probe(_ plan: MountPlan) throws(Failure) {
    guard MountTable.current().top(at: plan.mountPoint)?.isWaysfs == true else {
      throw Failure("the mount did not appear on \(plan.mountPoint)")
    }
    var information = stat()
    guard stat(plan.mountPoint, &information) == 0 else {
      throw Failure("the mount does not answer: \(describe(errno: errno))", remedy: "Look into the log")
    }
  }
}
