import Foundation
import SystemPackage

/// What the sandbox remembers between two starts, in `sandbox.json`.
struct SandboxState: Codable, Equatable, Sendable {
  var accessKeyID: String
  var secretAccessKey: String
  var apiKey: String
  var usedBucketNames: Set<String>
  var ports: WeedPorts?

  /// New keys from the system's random number generator.
  static func new() -> SandboxState {
    SandboxState(
      accessKeyID: "SANDBOX" + randomText(13, from: "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"),
      secretAccessKey: randomText(40, from: alphanumeric),
      apiKey: "wayscloud_sandbox_" + randomText(32, from: alphanumeric),
      usedBucketNames: [])
  }

  private static let alphanumeric = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

  private static func randomText(_ count: Int, from alphabet: String) -> String {
    String((0..<count).compactMap { _ in alphabet.randomElement() })
  }
}

/// The folder with all that a sandbox keeps. One sandbox at a time uses it.
struct SandboxDirectory: Sendable {
  let path: FilePath
  /// Locked while the sandbox runs; closed by its end at the latest, however that comes.
  private let lock: FileDescriptor

  var stateFile: FilePath { path.appending("sandbox.json") }
  var weedDirectory: FilePath { path.appending("seaweedfs") }
  var weedLog: FilePath { path.appending("seaweedfs.log") }
  var identities: FilePath { path.appending("s3-identities.json") }

  struct Failure: Error, CustomStringConvertible {
    var description: String
  }

  /// Creates the folder where it is missing, and takes it.
  /// - Parameter fresh: whether to remove what an earlier sandbox left there.
  init(opening path: FilePath, fresh: Bool) throws {
    self.path = path
    let files = FileManager.default
    try files.createDirectory(
      atPath: path.string, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
    let contents = try files.contentsOfDirectory(atPath: path.string)
    // A slip of the pen must not empty somebody's home directory.
    guard contents.isEmpty || contents.contains("sandbox.lock") else {
      throw Failure(description: "\(path) is not empty and not a sandbox's: please name another directory")
    }
    lock = try FileDescriptor.open(
      path.appending("sandbox.lock"), .readWrite, options: [.create, .closeOnExec], permissions: .ownerReadWrite)
    guard flock(lock.rawValue, LOCK_EX | LOCK_NB) == 0 else {
      try lock.close()
      throw Failure(description: "another sandbox is running in \(path)")
    }
    if fresh {
      for name in contents where name != "sandbox.lock" {
        try files.removeItem(atPath: path.appending(name).string)
      }
    }
    try files.createDirectory(atPath: weedDirectory.string, withIntermediateDirectories: true)
  }

  /// Lets the next one have it.
  func close() { try? lock.close() }

  func loadState() throws -> SandboxState? {
    guard FileManager.default.fileExists(atPath: stateFile.string) else { return nil }
    return try JSONDecoder().decode(SandboxState.self, from: Data(contentsOf: URL(filePath: stateFile.string)))
  }

  func save(_ state: SandboxState) throws {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.prettyPrinted, .sortedKeys]
    try writePrivately(encoder.encode(state), to: stateFile)
  }
}

/// Replaces a file in one step; only its owner can read it, from the first byte on.
func writePrivately(_ data: Data, to path: FilePath) throws {
  let temporary = FilePath("\(path).\(getpid()).tmp")
  let descriptor = try FileDescriptor.open(
    temporary, .writeOnly, options: [.create, .truncate, .closeOnExec], permissions: .ownerReadWrite)
  do {
    _ = try descriptor.closeAfter { try descriptor.writeAll(data) }
    guard rename(temporary.string, path.string) == 0 else { throw Errno(rawValue: errno) }
  } catch {
    unlink(temporary.string)
    throw error
  }
}
