import ArgumentParser
import CLinux
import Glibc

@main
struct Main {
  /// Only a call: closures formed here would inherit the main actor and trap on other threads.
  static func main() { runProgram() }
}

/// Runs the command that the arguments name, and ends the process.
func runProgram() -> Never {
  // Every command may have secrets in its environment and memory.
  _ = clinux_forbid_dumps()
  if let status = HelperProgram.run(CommandLine.arguments) { leave(status.rawValue) }
  do {
    if let unknown = UnknownCommand.first(in: CommandLine.arguments.dropFirst(), below: Waysfs.self) {
      throw CommandEnd(.usage, line: unknown.line)
    }
    var command = try Waysfs.parseAsRoot()
    try command.run()
  } catch let end as CommandEnd {
    if let line = end.line { printError(line) }
    leave(end.status.rawValue)
  } catch {
    Waysfs.exit(withError: error)
  }
  leave(ExitStatus.success.rawValue)
}

/// Ends the process at once: nothing is buffered, and destructors of C libraries must not run under threads that may
/// still be at work.
private func leave(_ status: Int32) -> Never {
  fflush(nil)
  _exit(status)
}

/// How a command ends when it does not simply succeed.
struct CommandEnd: Error {
  /// For standard error; nil when everything is said.
  var line: String?
  var status: ExitStatus

  init(_ status: ExitStatus, line: String? = nil) {
    self.status = status
    self.line = line
  }

  init(_ failure: Failure, doing what: String) {
    line = "waysfs: \(what): \(failure.description)"
    status = failure.exitCode
  }
}

struct Waysfs: ParsableCommand {
  static let version = "0.1.0"

  static let configuration = CommandConfiguration(
    commandName: "waysfs", abstract: "Mount WAYSCloud Storage and other S3 buckets as a directory.",
    discussion: """
      EXAMPLES
        waysfs mount photos /mnt/photos         mount a bucket
        waysfs mount photos:2024 /mnt/photos    mount a part of it
        waysfs flush /mnt/photos                wait until all that was written is in the bucket
        waysfs warm /mnt/photos/2024            fetch files into the disk cache
        waysfs umount /mnt/photos               unmount, and wait for the uploads
        waysfs status                           show how the mounts do
        waysfs recover                          show what could not be uploaded
        waysfs buckets list                     show the buckets of the account
        waysfs doctor photos                    check whether this machine can mount it

      CREDENTIALS
        From the environment: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or WAYSCLOUD_API_KEY, with which a key pair \
      is fetched from WAYSCloud. From files: --api-key-file, --credentials-file, or ~/.aws/credentials. The manual says \
      which counts. Never from the command line.

      EXIT CODES
        0   done
        1   not done; a line on standard error says why and what to do
        2   unmounted, but not everything could be uploaded; the line says where it is kept
        3   status: a mount is dead or silent, or uploads have failed
        64  the command line or a setting cannot be understood
      """,
    version: "waysfs \(version)",
    subcommands: [
      MountCommand.self, FlushCommand.self, WarmCommand.self, UmountCommand.self, StatusCommand.self,
      LogLevelCommand.self, RecoverCommand.self,
      BucketsCommand.self, CredentialsCommand.self, DoctorCommand.self, ConfigCommand.self, DocsCommand.self,
    ])
}
