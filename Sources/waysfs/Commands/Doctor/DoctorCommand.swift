import ArgumentParser
import Glibc

struct DoctorCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "doctor", abstract: "Check whether this machine can mount a bucket, and say what to do if not.",
    discussion: """
      Looks at the machine, the configuration, the secrets and the servers; with a bucket at that, too. Each check is a \
      line that begins with ok, warning or error. Takes the options of 'waysfs mount'.

      Nothing is written to the bucket without --write; with it, scratch objects are made and removed again.

      The exit code is 0 when there is no error, and 1 when there is one.

      EXAMPLES
        waysfs doctor
        waysfs doctor photos
        waysfs doctor photos:2024 --write
      """)

  @Argument(help: ArgumentHelp("What would be mounted.", valueName: "bucket[:prefix]"))
  var bucket: String?

  @Flag(name: .customLong("write"), help: "Write scratch objects into the bucket, to learn what the server can do.")
  var write = false

  @OptionGroup(visibility: .hidden) var flags: MountFlags

  func validate() throws {
    if write, bucket == nil { throw ValidationError("--write needs a bucket") }
  }

  func run() throws {
    let doctor = Doctor(context: ProcessContext.current(), flags: flags, bucket: bucket, writes: write)
    var hasError = false
    var unseen: Failure?
    doctor.run { finding in
      hasError = hasError || finding.status == .error
      // As it is found: some checks take seconds.
      do throws(Failure) { try printOutput("\(finding.line)\n") } catch { unseen = error }
    }
    if let unseen { throw CommandEnd(unseen, doing: "cannot show what was found") }
    if hasError { throw CommandEnd(.failed) }
  }
}

/// What a check has found.
struct Finding: Hashable, Sendable {
  enum Status: String, Sendable {
    case ok, warning, error
  }

  var status: Status
  /// What was looked at.
  var subject: String
  var text: String
  /// What to do about it; empty when there is nothing to do.
  var remedy: String

  init(_ status: Status, _ subject: String, _ text: String, remedy: String = "") {
    self.status = status
    self.subject = subject
    self.text = text
    self.remedy = remedy
  }

  /// `warning  clock: it is 90 s behind the server's. Set it, for example with NTP.`
  var line: String {
    let padding = String(repeating: " ", count: 9 - status.rawValue.count)
    return "\(status.rawValue)\(padding)\(subject): \(Failure(text, remedy: remedy).description)"
  }
}

extension Finding {
  init(_ subject: String, _ failure: Failure) {
    self.init(.error, subject, failure.reason, remedy: failure.remedy)
  }
}

/// Works through all checks, those of the machine first.
struct Doctor {
  let context: ProcessContext
  let flags: MountFlags
  let bucket: String?
  let writes: Bool

  func run(_ report: (Finding) -> Void) {
    MachineChecks(uid: context.uid).run(report)
    let request = MountRequest(bucket: bucket ?? "any", mountPoint: nil, flags: flags)
    guard let (settings, search) = configuration(request, report) else { return }
    secretFiles(search, report)
    DiskChecks(directory: settings.cacheDirectory, isNeeded: !settings.readOnly).run(report)
    do throws(Failure) {
      let plan = try request.plan(context)
      let source = plan.credentials.source
      report(Finding(.ok, "credentials", "\(source.kind) from \(source.origin)"))
      ServerChecks(plan: plan, bucket: bucket == nil ? nil : plan.target.bucket, writes: writes).run(report)
    } catch {
      report(Finding("credentials", error))
    }
  }

  /// What the options say; nil when they cannot be understood.
  private func configuration(
    _ request: MountRequest, _ report: (Finding) -> Void
  ) -> (MountSettings, CredentialSearch)? {
    do throws(UsageError) {
      let layers = try request.layers(context)
      let target = try request.target(layers)
      let settings = try MountSettings(target: target, mountPoint: "/", layers: layers, context: context)
      report(Finding(.ok, "configuration", "can be understood"))
      return (settings, CredentialSearch(context, layers, controlPlane: settings.controlPlane))
    } catch {
      report(Finding(.error, "configuration", error.message, remedy: "'waysfs config --help' says how options are set"))
      return nil
    }
  }

  /// Whether somebody else may read or write a secret. One that a mount would use is an error by itself.
  private func secretFiles(_ search: CredentialSearch, _ report: (Finding) -> Void) {
    let files = search.secretFiles()
    for problem in files.compactMap(\.problem) {
      report(Finding(.warning, "secret files", problem.reason, remedy: problem.remedy))
    }
    if files.allSatisfy({ $0.problem == nil }) {
      report(Finding(.ok, "secret files", files.isEmpty ? "there are none" : "none is open to others"))
    }
  }
}
