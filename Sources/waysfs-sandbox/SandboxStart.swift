import Basics
import Foundation
import SystemPackage

extension Sandbox {
  private static var startSeconds: Double { 60 }

  /// Starts SeaweedFS and waits until it stores something; nil when a signal ended the wait.
  func startWeed(
    _ signals: inout Signals, _ files: SandboxDirectory, _ state: inout SandboxState
  ) throws -> WeedServer? {
    let program = try findWeed()
    // Between the choice of a port and its use somebody else may have taken it.
    for attempt in 1...3 {
      if state.ports?.areFree != true { state.ports = WeedPorts.choose() }
      guard let ports = state.ports else { throw WeedServer.Failure(description: "no free ports were found") }
      try files.save(state)
      let server = try WeedServer(weed: program, ports: ports, directory: files, state: state)
      switch waitUntilReady(server, &signals) {
      case .ready: return server
      case .interrupted:
        server.stop()
        return nil
      case .late:
        server.stop()
        throw WeedServer.Failure(
          description: "SeaweedFS did not answer in time:\n\(tail(of: files.weedLog, lines: 40))")
      case .ended:
        let log = tail(of: files.weedLog, lines: 40)
        guard attempt < 3, log.contains("address already in use") else {
          throw WeedServer.Failure(description: "SeaweedFS has ended:\n\(log)")
        }
        state.ports = nil
      }
    }
    throw WeedServer.Failure(description: "no free ports were found")
  }

  private enum Start { case ready, interrupted, late, ended }

  private func waitUntilReady(_ server: WeedServer, _ signals: inout Signals) -> Start {
    let clock = TimeSource.system
    let begin = clock.monotonic
    let backend = FilerBackend(filer: LoopbackHTTP(port: server.ports.filer))
    let s3 = LoopbackHTTP(port: server.ports.s3)
    while Double(clock.monotonic - begin) / 1e9 < Self.startSeconds {
      switch signals.wait(milliseconds: 100) {
      case nil, SIGCHLD: break
      default: return .interrupted
      }
      if server.hasEnded() { return .ended }
      // An unsigned request is refused as soon as the identities are loaded.
      guard (try? s3.send("GET", "/"))?.status == 403, (try? backend.checkThatItStores()) != nil else { continue }
      return .ready
    }
    return .late
  }

  private func findWeed() throws -> String {
    let hint = "scripts/install-dependencies installs it"
    let inTools = ".tools/venv/bin/weed"
    guard let path = weed ?? (access(inTools, X_OK) == 0 ? inTools : nil) else {
      return try WeedServer.find("weed", hint: hint)
    }
    guard access(path, X_OK) == 0 else {
      throw WeedServer.Failure(description: "the program \(path) is missing: \(hint)")
    }
    // It is started in another folder.
    return URL(filePath: path).path(percentEncoded: false)
  }

  func createBuckets(_ backend: FilerBackend, used: Set<String>) throws {
    let present = Set(try blocking { try await backend.buckets() }.map(\.name))
    // The one that is made unasked stays away when it was deleted.
    let wanted = buckets.isEmpty ? ["demo"].filter { !used.contains($0) } : buckets
    for bucket in wanted where !present.contains(bucket) {
      guard !used.contains(bucket) else {
        throw WeedServer.Failure(
          description: "the bucket \(bucket) was deleted, and its name cannot be used again: try --fresh")
      }
      try blocking { try await backend.create(bucket) }
    }
  }

  /// Prints the environment, and writes it to the file that was asked for.
  func announce(_ environment: EnvironmentText, bucket: String) throws {
    let endpoint = environment.variables.first { $0.name == "WAYSFS_ENDPOINT" }?.value ?? ""
    let text = """
      # The sandbox is ready; Ctrl-C stops it. Use it from another shell like this:
      \(environment.text)#
      # waysfs mount \(bucket) MOUNTPOINT --endpoint \(endpoint) --region us-east-1 --path-style

      """
    try FileHandle.standardOutput.write(contentsOf: Data(text.utf8))
    if let envFile { try writePrivately(Data(environment.text.utf8), to: FilePath(envFile)) }
  }
}

/// Runs asynchronous work from the main thread, which has to stay: the kernel ends the server with it.
func blocking<Value: Sendable>(_ work: @escaping @Sendable () async throws -> Value) throws -> Value {
  try waitFor { (completion: @escaping Completion<Value, any Error>) in
    Task {
      do {
        completion(.success(try await work()))
      } catch {
        completion(.failure(error))
      }
    }
  }
}
