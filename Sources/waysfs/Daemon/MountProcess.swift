import Basics
import FuseSession
import Glibc
import Logging

/// The process that serves a mount, in the foreground or in the background.
struct MountProcess {
  let plan: MountPlan
  let readiness: Readiness
  /// Who has started this process as a service; nil when nobody did.
  var manager: ServiceManager?
  var time = TimeSource.system

  /// Checks, mounts, and runs until the mount has ended.
  func run() throws(Failure) -> ExitStatus {
    let threshold = LogThreshold(plan.settings.logLevel)
    let log = try openLog().logger(label: "waysfs", threshold)
    do throws(Failure) {
      return try run(log, threshold)
    } catch {
      manager?.tell([.status("Cannot mount: \(error.description)")])
      log.error("cannot mount", metadata: ["reason": "\(error.description)"])
      throw error
    }
  }

  private func run(_ log: Logger, _ threshold: LogThreshold) throws(Failure) -> ExitStatus {
    DeadMount.clear(at: plan.mountPoint, recordDirectories: plan.context.recordDirectories, log)
    try check()
    // Early, while this process is small. Without a watchdog it is asked only once.
    var prober: AskingProcess? = AskingProcess(mountpoint: plan.mountPoint)
    let asker = manager?.watchdog == nil ? nil : prober
    let directory = try RuntimeDirectory.prepare(uid: plan.context.uid, environment: plan.context.environment)
    var contents = RecordContents(pid: getpid(), source: plan.target.source, mountPoint: plan.mountPoint)
    contents.options = OptionList.text(plan.layers)
    let record = try makeRecord(directory, contents)
    let control = MountControl(
      directory: directory, mountPoint: plan.mountPoint, source: plan.target.source, threshold: threshold)
    control.start(log)
    let daemon = MountDaemon(plan: plan, log: log, readiness: readiness, manager: manager)
    do throws(Failure) {
      return try daemon.run(
        connect: { plan, log, cancellation, progress throws(Failure) in
          try Composition.connect(plan, asker, log, cancellation, progress)
        },
        probe: { plan throws(Failure) in
          defer { prober = nil }
          try Self.probe(plan, prober)
        }, record: record, control: control,
        detach: { if readiness.isBackground { Detachment.complete() } })
    } catch {
      control.stop()
      record.finish()
      throw error
    }
  }

  /// Makes the record. An earlier process may be about to end, or, when two are started at a time, about to mount: then
  /// there is nothing left to do. So it is waited for, as long as a mount may take.
  private func makeRecord(_ directory: String, _ contents: RecordContents) throws(Failure) -> RuntimeRecord {
    let deadline = time.monotonic + UInt64(plan.settings.mountTimeout * 1e9)
    var isTold = false
    return try RuntimeRecord(directory: directory, contents: contents) { failure throws(Failure) in
      guard time.monotonic < deadline else { throw failure }
      if !isTold {
        readiness.progress("waiting: \(failure.reason)")
        manager?.tell([.status("Starting: \(failure.reason)")])
        isTold = true
      }
      guard Signals.sleep(seconds: 0.05) else { throw Failure("interrupted") }
      try check()
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
    let goesToJournal = SystemJournal.takes(STDERR_FILENO, environment: plan.context.environment)
    guard readiness.isBackground || goesToJournal else { return LogDestination(.descriptor(STDERR_FILENO)) }
    // Once it is in the background, standard error leads nowhere.
    let canFallBack = goesToJournal && !readiness.isBackground
    let fields = [("WAYSFS_BUCKET", plan.target.bucket?.bucket ?? "*"), ("WAYSFS_MOUNTPOINT", plan.mountPoint)]
    guard let journal = SystemJournal(fields: fields) else {
      return LogDestination(canFallBack ? .descriptor(STDERR_FILENO) : .syslog)
    }
    return LogDestination(.journal(journal, orStandardError: canFallBack))
  }

  /// What can be known to be wrong without asking the server.
  /// - Parameter clearsDead: a dead mount is no obstacle: mounting would take it away first.
  func check(clearsDead: Bool = false) throws(Failure) {
    let settings = plan.settings
    do throws(FuseSessionError) {
      _ = try settings.fuseOptions.check()
    } catch {
      let isDead = isDead(error)
      if !(isDead && clearsDead) { throw explained(error, isDead: isDead) }
    }
    try checkOutside(settings.cacheDirectory, "the cache directory")
    try checkOutside(settings.logFile, "the log file")
    if let file = settings.caFile {
      guard access(file, R_OK) == 0 else {
        throw Failure("the certificates in \(file) cannot be read", remedy: "Give a PEM file with --ca-file")
      }
    }
  }

  /// Whether what is in the way is a mount that nobody serves.
  private func isDead(_ error: FuseSessionError) -> Bool {
    switch error.code {
    case .staleMount: true
    // Asking the mount itself could hang, or be answered by the kernel from memory although nobody serves it.
    case .alreadyMounted:
      ForeignRecord(mountPoint: plan.mountPoint, directories: plan.context.recordDirectories)?.isHeld == false
    default: false
    }
  }

  /// The session knows the mount table, but not this program's records and commands.
  private func explained(_ error: FuseSessionError, isDead: Bool) -> Failure {
    let path = plan.mountPoint
    guard error.code == .alreadyMounted || error.code == .staleMount else { return Failure(error.description) }
    return Failure(
      isDead ? "a dead mount, whose process was killed, is on \(path)" : "\(path) is busy: a bucket is mounted there",
      remedy: "Remove it with 'waysfs umount \(path)'")
  }

  /// A file of ours below the mount point would make the daemon wait for itself.
  private func checkOutside(_ path: String?, _ what: String) throws(Failure) {
    guard let path, "\(path)/".utf8.starts(with: "\(plan.mountPoint)/".utf8) else { return }
    throw Failure("\(what) (\(path)) lies in the mount point", remedy: "Choose a place outside of it")
  }

  /// The mount is in the kernel's table, and it answers: `asker` returns when it does. This process does not ask by
  /// itself (see `AskingProcess`): killed for taking too long, it would never end.
  private static func probe(_ plan: MountPlan, _ asker: AskingProcess?) throws(Failure) {
    guard try MountTable.read().top(at: plan.mountPoint)?.isWaysfs == true else {
      throw Failure("the mount did not appear on \(plan.mountPoint)")
    }
    let seconds = plan.settings.mountTimeout
    switch asker?.ask(within: seconds) {
    case .failed(let error):
      throw Failure("the mount does not answer: \(describe(errno: error.rawValue))", remedy: "Look into the log")
    case .silent:
      throw Failure(
        "the mount has not answered for \(DurationText.text(seconds: seconds))", remedy: "Look into the log")
    case .answered, .notAsked, nil: return
    }
  }
}
