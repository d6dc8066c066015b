import Basics
import Dispatch
import Glibc
import HTTPTransport
import Synchronization
import SystemPackage
import Testing

typealias Outcome = Result<HTTPResponse, HTTPError>

/// Collects what was reported and lets a test wait for it, but not for ever.
final class Reports<Value: Sendable>: Sendable {
  private let values = Mutex<[Value]>([])
  private let arrived = DispatchSemaphore(value: 0)

  func report(_ value: Value) {
    values.withLock { $0.append(value) }
    arrived.signal()
  }

  var all: [Value] { values.withLock { $0 } }

  /// Waits until one more was reported, and returns the last; nil after two minutes.
  func next() -> Value? {
    guard arrived.wait(timeout: .now() + 120) == .success else { return nil }
    return values.withLock { $0.last }
  }

  /// Waits for so many more, and returns all.
  func next(_ count: Int) -> [Value] {
    for _ in 0..<count { guard arrived.wait(timeout: .now() + 120) == .success else { break } }
    return all
  }
}

extension HTTPTransport {
  /// Starts a request; the reports get its outcome.
  func start(
    _ request: HTTPRequest, cancellation: Cancellation? = nil, limit: Int = 1 << 20,
    reports: Reports<Outcome> = Reports()
  ) -> Reports<Outcome> {
    send(
      request, cancellation: cancellation, destination: { _ in .collect(limit: limit) },
      completion: { reports.report($0) })
    return reports
  }

  /// Sends a request, collects the response, and waits.
  func exchange(_ request: HTTPRequest, limit: Int = 1 << 20) throws -> HTTPResponse {
    try #require(start(request, limit: limit).next()).get()
  }

  /// Sends a request that must fail, and returns why.
  func failure(_ request: HTTPRequest, limit: Int = 1 << 20) throws -> HTTPError {
    let outcome = try #require(start(request, limit: limit).next())
    switch outcome {
    case .success(let response):
      Issue.record("a success: \(response.head.status)")
      throw HTTPError(.malformed, "no failure")
    case .failure(let error):
      return error
    }
  }
}

/// Bytes that look different everywhere.
func pattern(_ count: Int, seed: UInt64 = 1) -> [UInt8] {
  var state = seed &* 0x9E37_79B9_7F4A_7C15
  return [UInt8](unsafeUninitializedCapacity: count) { buffer, initialized in
    for index in 0..<count {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      buffer[index] = UInt8(truncatingIfNeeded: state >> 33)
    }
    initialized = count
  }
}

/// Runs a test with a server and a transport and takes both down after it.
func withServer<Value>(
  _ server: ScriptedServer, _ configuration: HTTPTransport.Configuration = .init(),
  _ body: (HTTPTransport) throws -> Value
) throws -> Value {
  let transport = try HTTPTransport(configuration)
  defer {
    transport.shutdown()
    server.stop()
  }
  return try body(transport)
}

func unlinked(_ path: FilePath) -> Bool { path.withPlatformString { unlink($0) } == 0 }
