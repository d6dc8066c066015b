import ArgumentParser
import Basics
import Glibc

struct StatusCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "status", abstract: "Show how mounts do.",
    discussion: """
      Lists the mounts of this user (for root, of all users), or shows all that one mount tells: what is not uploaded \
      yet and why, transfers, caches, memory, requests and how long they take. Asks the processes of the mounts, never \
      a server. The exit status is 3 when a mount is dead or does not answer, or has uploads that failed; with \
      --prometheus it is 0 then, too.

      EXAMPLES
        waysfs status
        waysfs status /mnt/photos
        waysfs status --watch /mnt/photos
        waysfs status --prometheus >/var/lib/node_exporter/textfile/waysfs.prom
      """)

  @Argument(
    help: ArgumentHelp("Where a bucket is mounted; else all mounts.", valueName: "mountpoint"),
    completion: Completion.mountPoints)
  var mountPoint: String?

  @Flag(help: "Draw it again every second, on a terminal.")
  var watch = false

  @Flag(help: "Show it as JSON, with the keys of docs/monitoring.md.")
  var json = false

  @Flag(help: "Show it as metrics in Prometheus' text format.")
  var prometheus = false

  func validate() throws {
    guard [watch, json, prometheus].count(where: \.self) <= 1 else {
      throw ValidationError("--watch, --json and --prometheus exclude each other")
    }
  }

  func run() throws {
    let end: ExitStatus
    do throws(Failure) {
      end = try carryOut(Status(survey: MountSurvey(context: .current())))
    } catch {
      throw CommandEnd(error, doing: "cannot show the status")
    }
    if end != .success { throw CommandEnd(end) }
  }

  private func carryOut(_ status: Status) throws(Failure) -> ExitStatus {
    if watch { try status.watch(mountPoint) }
    let findings = try status.findings(mountPoint)
    if prometheus {
      try status.show(PrometheusText(findings).text)
      return .success
    }
    try status.show(json ? try Status.json(findings) : status.text(findings, isOne: mountPoint != nil) + "\n")
    return findings.contains(where: \.needsAttention) ? .needsAttention : .success
  }
}

/// What `waysfs status` does.
struct Status {
  var survey: MountSurvey
  /// Writes to standard output.
  var show: (String) throws(Failure) -> Void = printOutput

  func findings(_ mountPoint: String?) throws(Failure) -> [MountFinding] {
    guard let mountPoint else { return try survey.all() }
    return [try survey.one(mountPoint)]
  }

  func text(_ findings: [MountFinding], isOne: Bool) -> String {
    guard isOne, let finding = findings.first else { return StatusText.list(findings) }
    return StatusText.detail(finding)
  }

  static func json(_ findings: [MountFinding]) throws(Failure) -> String {
    String(decoding: try StatusJSON.encode(StatusDocument(mounts: findings), pretty: true).get(), as: UTF8.self) + "\n"
  }

  /// Shows it again and again; ends with Ctrl-C, or when the mount is gone.
  func watch(_ mountPoint: String?) throws(Failure) -> Never {
    while true {
      let text = text(try findings(mountPoint), isOne: mountPoint != nil)
      // Each time: windows change their size.
      guard let terminal = TerminalSize(of: STDOUT_FILENO) else {
        throw Failure("--watch draws on a terminal, and standard output is none", exitCode: .usage)
      }
      try show(terminal.drawing(text))
      sleepInterval(seconds: 1)
    }
  }
}

/// What `--json` shows.
struct StatusDocument: Encodable {
  /// Grows when a key changes its meaning or goes.
  var formatVersion = 1
  var mounts: [MountFinding]
}

struct LogLevelCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "log-level", abstract: "Change how much a running mount logs.",
    discussion: """
      Takes effect at once and lasts until the mount ends. Without a level it shows the present one.

      EXAMPLES
        waysfs log-level /mnt/photos debug
        waysfs log-level /mnt/photos
      """)

  @Argument(
    help: ArgumentHelp("Where the bucket is mounted.", valueName: "mountpoint"), completion: Completion.mountPoints)
  var mountPoint: String

  @Argument(
    help: ArgumentHelp("\(LogLevelName.all.joined(separator: ", ")).", valueName: "level"),
    completion: .list(LogLevelName.all))
  var level: String?

  func run() throws {
    do throws(Failure) {
      try carryOut()
    } catch {
      throw CommandEnd(error, doing: "cannot change what \(mountPoint) logs")
    }
  }

  private func carryOut() throws(Failure) {
    let request: ControlRequest
    do throws(UsageError) {
      request = .logLevel(try level.map { text throws(UsageError) in try LogLevelName.parse(text) })
    } catch {
      throw Failure(error.message, exitCode: .usage)
    }
    let answer = try MountSurvey(context: .current()).record(mountPoint).ask(request)
    guard level == nil else { return }
    let name = LineFormat.escaped(String(decoding: answer, as: UTF8.self))
    try printOutput("\(name)\n")
  }
}
