import ArgumentParser
import Glibc

struct MountCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "mount", abstract: "Mount a bucket, the part of it below a prefix, or all buckets of an account.",
    usage: """
      waysfs mount [<options>] <bucket[:prefix]> <mountpoint>
      waysfs mount --all [<options>] <mountpoint>
      """,
    discussion: """
      Returns when the mount answers; the mount then lives in the background until it is unmounted. What is wrong is \
      said in one line, and nothing is left mounted.

      An option counts in this order: flag, -o, environment variable, profile of the configuration file, AWS profile \
      (endpoint and region, when the key pair is from it), the control plane's answer, default. 'waysfs config' shows \
      the result.

      EXAMPLES
        waysfs mount photos /mnt/photos
        waysfs mount photos:2024/summer /mnt/summer --read-only
        waysfs mount backup ~/backup --endpoint http://localhost:9000 --foreground
        waysfs mount photos /mnt/photos -o ro,allow_other,uid=1000,umask=077
        waysfs mount photos /mnt/photos --profile archive
        waysfs mount --all /mnt/account
      """)

  @Argument(help: ArgumentHelp("What to mount; not with --all.", valueName: "bucket[:prefix]"))
  var bucket: String

  @Argument(help: ArgumentHelp("An empty directory.", valueName: "mountpoint"), completion: .directory)
  var mountPoint: String?

  @OptionGroup var flags: MountFlags

  func run() throws {
    let context = ProcessContext.current()
    let readiness = Readiness.inherited(environment: context.environment)
    if readiness != nil { Detachment.begin() }
    // Of one operand alone it is the directory.
    let request = MountRequest(
      bucket: mountPoint == nil ? nil : bucket, mountPoint: mountPoint ?? bucket, flags: flags)
    let status: ExitStatus
    do throws(Failure) {
      status = try carryOut(request, context, readiness)
    } catch {
      // In the background there is nobody to print to: the starter prints what the pipe brings.
      guard let readiness else { throw CommandEnd(error, doing: "cannot mount \(request.bucket ?? "on \(bucket)")") }
      readiness.finish(.failed(line: error.description, exitCode: error.exitCode.rawValue))
      throw CommandEnd(error.exitCode)
    }
    if status != .success { throw CommandEnd(status) }
  }

  private func carryOut(
    _ request: MountRequest, _ context: ProcessContext, _ readiness: Readiness?
  ) throws(Failure) -> ExitStatus {
    let plan = try request.plan(context)
    if readiness != nil || plan.settings.foreground {
      // Only here: the process that waits must die of Ctrl-C, which makes the background process give up.
      Signals.block()
      // In the background it is no service: whoever has called the starter may be one, and is not spoken for.
      let manager = readiness == nil ? ServiceManager.inherited(environment: context.environment) : nil
      return try MountProcess(plan: plan, readiness: readiness ?? .nobody(), manager: manager).run()
    }
    let start = BackgroundStart(
      mountPoint: plan.mountPoint, recordDirectories: context.recordDirectories, timeout: plan.settings.mountTimeout)
    try start.run(arguments: CommandLine.arguments, environment: context.environment)
    return .success
  }
}
