import ArgumentParser
import Basics
import Foundation
import Synchronization
import SystemPackage

@main
struct Sandbox: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "waysfs-sandbox",
    abstract: "An S3 server and a WAYSCloud control plane on this machine, to try waysfs without an account.",
    discussion: """
      Starts SeaweedFS on free ports of 127.0.0.1, and beside it the control plane's interface; prints the environment \
      that makes clients use them, and stops both when it is interrupted.
      """)

  enum Contents: String, EnumerableFlag {
    case keep
    case fresh

    static func help(for value: Contents) -> ArgumentHelp? {
      switch value {
      case .keep: "Go on with what an earlier sandbox left in the directory."
      case .fresh: "Remove what an earlier sandbox left in the directory."
      }
    }
  }

  @Option(help: "Where everything is kept.")
  var directory = ".sandbox"

  @Flag var contents = Contents.keep

  @Option(help: "The program weed. (default: .tools/venv/bin/weed, else the one in PATH)")
  var weed: String?

  @Option(name: .customLong("bucket"), help: "A bucket to create; may be repeated. (default: demo)")
  var buckets: [String] = []

  @Option(help: "A file to write the environment to once everything is ready.")
  var envFile: String?

  func validate() throws {
    for bucket in buckets {
      if let problem = BucketName.problem(with: bucket) { throw ValidationError("\(bucket): \(problem)") }
    }
  }

  func run() throws {
    var signals = Signals()
    do {
      try serve(&signals)
    } catch {
      FileHandle.standardError.write(Data("waysfs-sandbox: \(error)\n".utf8))
      throw ExitCode.failure
    }
  }

  private func serve(_ signals: inout Signals) throws {
    let path = URL(filePath: directory).path(percentEncoded: false)
    let files = try SandboxDirectory(opening: FilePath(path), fresh: contents == .fresh)
    if let envFile { unlink(envFile) }
    var state = try files.loadState() ?? .new()
    guard let server = try startWeed(&signals, files, &state) else { return }
    var running = true
    defer { if running { server.stop() } }

    let backend = FilerBackend(filer: LoopbackHTTP(port: server.ports.filer))
    let endpoint = "http://127.0.0.1:\(server.ports.s3)"
    let credentials = S3Credentials(
      accessKeyId: state.accessKeyID, secretAccessKey: state.secretAccessKey, endpointUrl: endpoint,
      region: "us-east-1")
    let kept = Kept(state, files)
    let service = ControlPlaneService(
      apiKey: state.apiKey, credentials: credentials, backend: backend, usedNames: state.usedBucketNames,
      save: { names in _ = try kept.change { $0.usedBucketNames = names } },
      install: { pair in
        let state = try kept.change { ($0.accessKeyID, $0.secretAccessKey) = (pair.accessKeyId, pair.secretAccessKey) }
        try server.changeKeys(state, in: files)
      })
    try createBuckets(backend, used: state.usedBucketNames)
    let (port, task) = try blocking { try await ControlPlaneServer(service: service).start() }
    defer { task.cancel() }

    try announce(
      EnvironmentText(variables: [
        ("AWS_ACCESS_KEY_ID", credentials.accessKeyId), ("AWS_SECRET_ACCESS_KEY", credentials.secretAccessKey),
        ("WAYSFS_ENDPOINT", endpoint), ("AWS_ENDPOINT_URL_S3", endpoint), ("AWS_REGION", credentials.region),
        ("WAYSCLOUD_API_KEY", state.apiKey),
        ("WAYSCLOUD_API_URL", "http://127.0.0.1:\(port)"),
      ]), bucket: buckets.first ?? "demo")
    defer { if let envFile { unlink(envFile) } }

    while true {
      switch signals.wait(milliseconds: 60_000) {
      case nil: continue
      case SIGCHLD where !server.hasEnded(): continue
      case SIGCHLD:
        running = false
        throw WeedServer.Failure(description: "SeaweedFS has ended:\n\(tail(of: files.weedLog, lines: 40))")
      default: return
      }
    }
  }
}

/// The state, written to its file with each change. Thread-safe.
private final class Kept: Sendable {
  private let state: Mutex<SandboxState>
  private let files: SandboxDirectory

  init(_ state: SandboxState, _ files: SandboxDirectory) {
    self.state = Mutex(state)
    self.files = files
  }

  /// Changes it, and returns what it is now. The control plane's actor makes one change at a time.
  func change(_ body: (inout SandboxState) -> Void) throws -> SandboxState {
    let changed = state.withLock { state in
      body(&state)
      return state
    }
    try files.save(changed)
    return changed
  }
}
