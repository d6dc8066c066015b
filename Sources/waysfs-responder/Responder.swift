import ArgumentParser
import Glibc
import SystemPackage

@main
struct Responder: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "waysfs-responder",
    abstract: "An S3 server in memory, fast enough not to be what a benchmark measures.",
    discussion: """
      Listens on free ports of 127.0.0.1 and prints the environment that makes clients use it. Keeps everything in \
      memory until it ends, takes any credentials, and checks neither signatures nor checksums. On the control port \
      neither delay nor bandwidth apply; there, and on the other, GET /__responder tells the settings and what was \
      asked for, and PUT /__responder?delay=20ms&bandwidth=1Gbit/s changes them.
      """)

  @Option(help: "How long each answer waits, as on a network with that round trip time: 20ms.")
  var firstByteDelay = "0"

  @Option(help: "The bandwidth in each direction, shared by all connections: 1Gbit/s; 0 for no limit.")
  var bandwidth = "0"

  @Option(help: "How much the objects may take together; beyond that it answers 503.")
  var memoryLimit = "6G"

  @Option(help: "How much of that to touch before the first request; the first touch of a page is slow.")
  var prefault = "0"

  @Option(help: "What tags are where a client sends no Content-MD5: md5, which is computed, or opaque.")
  var tags = "md5"

  @Option(name: .customLong("bucket"), help: "A bucket to create; may be repeated.")
  var buckets: [String] = []

  @Option(help: "A file to write the environment to once everything is ready.")
  var envFile: String?

  func run() throws {
    // Before the first thread is made, which inherits it.
    var signals = sigset_t()
    sigemptyset(&signals)
    for signal in [SIGINT, SIGTERM, SIGHUP] { sigaddset(&signals, signal) }
    pthread_sigmask(SIG_BLOCK, &signals, nil)
    // A client that is gone is noticed by the error of the write.
    signal(SIGPIPE, SIG_IGN)

    try start()
    var signal: Int32 = 0
    sigwait(&signals, &signal)
    if let envFile { unlink(envFile) }
  }

  private func start() throws {
    let service = try makeService()
    let (shaped, control) = (try Listener(), try Listener())
    guard shaped.start(service, isShaped: true), control.start(service, isShaped: false) else {
      throw ValidationError("No thread could be started.")
    }
    let environment = [
      ("AWS_ACCESS_KEY_ID", "RESPONDER"), ("AWS_SECRET_ACCESS_KEY", "responder"),
      ("WAYSFS_ENDPOINT", shaped.endpoint), ("AWS_ENDPOINT_URL_S3", shaped.endpoint), ("AWS_REGION", "us-east-1"),
      ("WAYSFS_RESPONDER_CONTROL", control.endpoint),
    ].map { "export \($0)=\($1)\n" }.joined()
    if let envFile { try write(environment, to: envFile) }
    try FileDescriptor.standardOutput.writeAll(environment.utf8)
  }

  private func makeService() throws -> Service {
    func parsed<Value>(_ name: String, _ text: String, _ parse: (String) -> Value?) throws -> Value {
      guard let value = parse(text) else { throw ValidationError("--\(name) cannot be \(text).") }
      return value
    }
    let limit = try parsed("memory-limit", memoryLimit, SettingText.size)
    guard let pool = SlabPool(limit: Int(limit)) else { throw ValidationError("There is no such amount of memory.") }
    pool.touch(Int(try parsed("prefault", prefault, SettingText.size)))
    let service = Service(pool: pool)
    service.shaper.set(
      delay: try parsed("first-byte-delay", firstByteDelay, SettingText.duration),
      bandwidth: try parsed("bandwidth", bandwidth, SettingText.bandwidth))
    let isOpaque = try parsed("tags", tags) { ["md5": false, "opaque": true][$0] }
    service.opaqueTags.store(isOpaque, ordering: .relaxed)
    for bucket in buckets { service.store.create(bucket) }
    return service
  }

  /// In one step, so that who waits for the file finds all of it.
  private func write(_ text: String, to path: String) throws {
    let temporary = FilePath("\(path).\(getpid()).tmp")
    let file = try FileDescriptor.open(
      temporary, .writeOnly, options: [.create, .truncate, .closeOnExec], permissions: .ownerReadWrite)
    _ = try file.closeAfter { try file.writeAll(text.utf8) }
    guard rename(temporary.string, path) == 0 else { throw Errno(rawValue: errno) }
  }
}
