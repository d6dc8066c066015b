import Foundation
import SystemPackage

/// The SeaweedFS process.
///
/// Made and used on the main thread only: the kernel ends the server when the *thread* that started it ends.
struct WeedServer {
  let pid: pid_t
  let ports: WeedPorts

  struct Failure: Error, CustomStringConvertible {
    var description: String
  }

  /// Starts the server.
  /// - Parameter weed: path of the program `weed`.
  init(weed: String, ports: WeedPorts, directory: SandboxDirectory, state: SandboxState) throws {
    self.ports = ports
    try writePrivately(Self.identities(state), to: directory.identities)
    // setpriv asks the kernel to kill the server with us, however we end, and becomes the server. It is used because
    // prctl(2) has to run between fork and exec, where Swift cannot.
    // The server looks for configuration files where it runs, so it runs in its own folder.
    let env = try Self.find("env", hint: "it belongs to the package coreutils")
    let setpriv = try Self.find("setpriv", hint: "it belongs to the package util-linux")
    let wrapper = [env, "-C", directory.weedDirectory.string, setpriv, "--pdeathsig", "KILL"]
    pid = try Self.spawn(
      wrapper + [weed, "server"] + Self.options(ports, directory), home: directory.weedDirectory,
      log: directory.weedLog)
  }

  /// Makes the server take the key pair of `state` and no other, without a restart.
  func changeKeys(_ state: SandboxState, in directory: SandboxDirectory) throws {
    try writePrivately(Self.identities(state), to: directory.identities)
    guard kill(pid, SIGHUP) == 0 else { throw Failure(description: "SeaweedFS cannot be told of new keys") }
  }

  static func options(_ ports: WeedPorts, _ directory: SandboxDirectory) -> [String] {
    var options = [
      // A single master need not wait whether others turn up: it leads at once.
      "-master.peers=none",
      "-dir=\(directory.weedDirectory)", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
      "-master.port=\(ports.master)", "-volume.port=\(ports.volume)",
      "-filer=true", "-filer.port=\(ports.filer)",
      "-s3=true", "-s3.port=\(ports.s3)", "-s3.config=\(directory.identities)",
      // Nothing is sent to anybody, and no port is opened that nobody here uses.
      "-master.telemetry=false", "-s3.port.iceberg=0", "-s3.port.lance=0",
      // As at the real service: a bucket is made on purpose, and deleted empty.
      "-s3.autoCreateBucket=false", "-s3.allowDeleteBucketNotEmpty=false",
      // Each bucket takes some volumes; they take no space before they are used, so there may be many.
      "-volume.max=10000", "-master.volumeSizeLimitMB=1024", "-volume.minFreeSpace=256MiB",
      // There is no other server that would have to notice in time that this one goes.
      "-volume.preStopSeconds=0",
      // The ports may change between two starts; the state that the master would resume names them.
      "-master.resumeState=false",
    ]
    // Else these lie in /tmp. A socket's path has at most 107 bytes.
    for component in ["filer", "s3"] {
      let socket = directory.path.appending("\(component).sock")
      if socket.string.utf8.count <= 107 { options.append("-\(component).localSocket=\(socket)") }
    }
    return options
  }

  static func identities(_ state: SandboxState) throws -> Data {
    struct File: Encodable {
      struct Credential: Encodable { var accessKey, secretKey: String }
      struct Identity: Encodable {
        var name: String
        var credentials: [Credential]
        var actions: [String]
      }
      var identities: [Identity]
    }
    let credential = File.Credential(accessKey: state.accessKeyID, secretKey: state.secretAccessKey)
    let identity = File.Identity(
      name: "sandbox", credentials: [credential], actions: ["Admin", "Read", "Write", "List", "Tagging"])
    return try JSONEncoder().encode(File(identities: [identity]))
  }

  /// A program in PATH.
  static func find(_ program: String, hint: String) throws -> String {
    let folders = (ProcessInfo.processInfo.environment["PATH"] ?? "/usr/bin:/bin").split(separator: ":")
    for folder in folders {
      let path = "\(folder)/\(program)"
      if access(path, X_OK) == 0 { return path }
    }
    throw Failure(description: "the program \(program) is missing: \(hint)")
  }

  /// Asks the server to stop, and kills it when it has not within a second: its filer waits 15 seconds for streams
  /// that its own components keep open. Nothing is lost by that, since all it has acknowledged is written to files.
  /// `hasEnded` must not have said yes before.
  func stop() {
    kill(pid, SIGTERM)
    var running = true
    for _ in 0..<20 where running {
      usleep(50_000)
      running = waitpid(pid, nil, WNOHANG) == 0
    }
    if running {
      kill(pid, SIGKILL)
      waitpid(pid, nil, 0)
    }
    removeSockets()
  }

  /// The server puts a socket for each of its gRPC ports into /tmp, whatever it is told, and leaves them when killed.
  private func removeSockets() {
    for (name, port) in [("master", ports.master), ("volume", ports.volume), ("filer", ports.filer), ("s3", ports.s3)] {
      unlink("/tmp/seaweedfs-\(name)-grpc-\(port + WeedPorts.grpcOffset).sock")
    }
  }

  /// Whether the server has ended; tidies up after it if so, after which it must not be stopped any more.
  func hasEnded() -> Bool {
    guard waitpid(pid, nil, WNOHANG) != 0 else { return false }
    removeSockets()
    return true
  }

  private static func spawn(_ arguments: [String], home: FilePath, log: FilePath) throws -> pid_t {
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
    posix_spawn_file_actions_addopen(&actions, 1, log.string, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, 0o600)
    posix_spawn_file_actions_adddup2(&actions, 1, 2)

    // Ctrl-C on a terminal goes to a whole process group; the sandbox stops the server itself, in order.
    var attributes = posix_spawnattr_t()
    posix_spawnattr_init(&attributes)
    defer { posix_spawnattr_destroy(&attributes) }
    posix_spawnattr_setpgroup(&attributes, 0)
    var none = sigset_t()
    sigemptyset(&none)
    posix_spawnattr_setsigmask(&attributes, &none)
    var restored = sigset_t()
    sigemptyset(&restored)
    for signal in [SIGINT, SIGTERM, SIGHUP, SIGPIPE] { sigaddset(&restored, signal) }
    posix_spawnattr_setsigdefault(&attributes, &restored)
    posix_spawnattr_setflags(
      &attributes, Int16(POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF))

    // A bare environment: weed would take credentials and settings from ours.
    let environment = ["PATH=/usr/bin:/bin", "HOME=\(home)", "TMPDIR=\(home)"]
    var pid: pid_t = 0
    let error = withCStrings(arguments) { vector in
      withCStrings(environment) { environment in
        posix_spawn(&pid, arguments[0], &actions, &attributes, vector, environment)
      }
    }
    guard error == 0 else { throw Failure(description: "cannot start \(arguments[0]): \(Errno(rawValue: error))") }
    return pid
  }

  private static func withCStrings<Result>(
    _ strings: [String], _ body: ([UnsafeMutablePointer<CChar>?]) -> Result
  ) -> Result {
    let copies = strings.map { strdup($0) }
    defer { copies.forEach { free($0) } }
    return body(copies + [nil])
  }
}

/// The last lines of a log.
func tail(of path: FilePath, lines: Int) -> String {
  guard let data = try? Data(contentsOf: URL(filePath: path.string)) else { return "" }
  return String(decoding: data.suffix(64 * 1024), as: UTF8.self)
    .split(separator: "\n").suffix(lines).joined(separator: "\n")
}
