import ArgumentParser
import Glibc
import WAYSCloud

struct CredentialsCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "credentials", abstract: "Show the S3 key pair of a WAYSCloud account, or hand it to other programs.",
    usage: "waysfs credentials [--export | --aws-profile <name>] [options]",
    discussion: """
      Shows the access key, the endpoint and the region; the secret key only with --export, for a shell to read.

      EXAMPLES
        waysfs credentials
        eval "$(waysfs credentials --export)"; aws s3 ls
        waysfs credentials --aws-profile wayscloud; aws --profile wayscloud s3 ls
      """)

  @Flag(name: .customLong("export"), help: "Print the lines that make a shell's aws and boto3 use the key pair.")
  var export = false

  @Option(
    name: .customLong("aws-profile"),
    help: ArgumentHelp(
      "Write the key pair, the endpoint and the region into this profile of the AWS files, with mode 0600.",
      valueName: "name"))
  var profile: String?

  @OptionGroup var account: AccountFlags

  func validate() throws {
    if export, profile != nil { throw ValidationError("--export and --aws-profile exclude each other") }
    if let profile, !AWSProfileWriter.isName(profile) {
      throw ValidationError("'\(profile)' is not the name of a profile: letters, digits, '.', '_' and '-'")
    }
  }

  func run() throws {
    let context = ProcessContext.current()
    let keys: StorageCredentials
    do { keys = try account.account(context).credentials() } catch { throw CommandEnd(error, doing: "no credentials") }
    do throws(Failure) {
      let lines =
        try profile.map { name throws(Failure) in try AWSProfileWriter(context).write(keys, to: name) }
        ?? [export ? Self.exported(keys) : Self.described(keys)]
      for line in lines { try printOutput("\(line)\n") }
    } catch {
      throw CommandEnd(error, doing: profile.map { "cannot write the profile \($0)" } ?? "cannot show the key pair")
    }
  }

  static func described(_ keys: StorageCredentials) -> String {
    let rows = [
      ["Access key id", keys.accessKeyID], ["Endpoint", keys.endpointURL ?? "-"], ["Region", keys.region ?? "-"],
    ]
    return TextTable.aligned(rows.map { $0.map(LineFormat.escaped) }).joined(separator: "\n")
  }

  /// Lines for a POSIX shell.
  static func exported(_ keys: StorageCredentials) -> String {
    let variables: [(String, String?)] = [
      ("AWS_ACCESS_KEY_ID", keys.accessKeyID), ("AWS_SECRET_ACCESS_KEY", keys.secretAccessKey),
      ("AWS_ENDPOINT_URL_S3", keys.endpointURL), ("AWS_REGION", keys.region), ("AWS_DEFAULT_REGION", keys.region),
    ]
    // A token of other keys would go along with these.
    return variables.compactMap { name, value in value.map { "export \(name)=\(shellQuoted($0))" } }
      .joined(separator: "\n") + "\nunset AWS_SESSION_TOKEN"
  }

  /// What a shell takes for this text and nothing else.
  static func shellQuoted(_ text: String) -> String {
    "'" + text.split(separator: "'", omittingEmptySubsequences: false).joined(separator: #"'\''"#) + "'"
  }
}
