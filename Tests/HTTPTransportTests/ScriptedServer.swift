import Dispatch
import Foundation
import Glibc
import Synchronization

/// A server on a loopback port that does to each connection what the test says, byte by byte.
///
/// The script runs on a thread of its own per connection; an error it throws (the peer is gone) ends that connection.
final class ScriptedServer: Sendable {
  private struct State {
    var open: Set<Int32> = []
    var stopped = false
    var accepted = 0
    var mostOpen = 0
  }

  let port: UInt16
  private let listener: Int32
  private let threads = DispatchGroup()
  private let state = Mutex(State())

  init(_ script: @escaping @Sendable (Connection) throws -> Void) {
    (listener, port) = listenOnLoopback()
    start { [self] in acceptAll(script) }
  }

  /// Answers every request on kept connections.
  convenience init(answering answer: @escaping @Sendable (ReceivedRequest) -> String) {
    self.init { connection in
      while let request = try connection.readRequest() { try connection.write(answer(request)) }
    }
  }

  /// How many connections were made.
  var accepted: Int { state.withLock { $0.accepted } }
  /// How many connections stood at the same time at most.
  var mostOpen: Int { state.withLock { $0.mostOpen } }

  func url(_ path: String = "/") -> String { "http://127.0.0.1:\(port)\(path)" }

  /// Closes everything and waits for the scripts.
  func stop() {
    let open = state.withLock { state in
      state.stopped = true
      return state.open
    }
    shutdown(listener, Int32(SHUT_RDWR))
    for descriptor in open { shutdown(descriptor, Int32(SHUT_RDWR)) }
    threads.wait()
    close(listener)
  }

  private func acceptAll(_ script: @escaping @Sendable (Connection) throws -> Void) {
    while true {
      let descriptor = accept(listener, nil, nil)
      guard descriptor >= 0 else { return }
      let stopped = state.withLock { state in
        state.accepted += 1
        state.open.insert(descriptor)
        state.mostOpen = max(state.mostOpen, state.open.count)
        return state.stopped
      }
      if stopped { shutdown(descriptor, Int32(SHUT_RDWR)) }
      start { [self] in
        let connection = Connection(descriptor)
        try? script(connection)
        // Out of the set first: another connection may get the number.
        _ = state.withLock { $0.open.remove(descriptor) }
        connection.close()
      }
    }
  }

  private func start(_ body: @escaping @Sendable () -> Void) {
    threads.enter()
    Thread.detachNewThread { [threads] in
      body()
      threads.leave()
    }
  }
}

/// A bound, listening socket.
func listenOnLoopback(backlog: Int32 = 512) -> (descriptor: Int32, port: UInt16) {
  let (descriptor, port) = bindToLoopback()
  listen(descriptor, backlog)
  return (descriptor, port)
}

private func bindToLoopback() -> (descriptor: Int32, port: UInt16) {
  let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
  var address = loopbackAddress(port: 0)
  var length = socklen_t(MemoryLayout<sockaddr_in>.size)
  withUnsafeMutablePointer(to: &address) {
    $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
      _ = bind(descriptor, $0, length)
      _ = getsockname(descriptor, $0, &length)
    }
  }
  return (descriptor, UInt16(bigEndian: address.sin_port))
}

/// A socket connected to a port.
func connectToLoopback(_ port: UInt16) -> Int32 {
  let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
  var address = loopbackAddress(port: port)
  withUnsafePointer(to: &address) {
    $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
      _ = connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
    }
  }
  return descriptor
}

private func loopbackAddress(port: UInt16) -> sockaddr_in {
  var address = sockaddr_in()
  address.sin_family = sa_family_t(AF_INET)
  address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
  address.sin_port = port.bigEndian
  return address
}

/// A port where nobody listens: its socket stays open to the end of the process, so that nobody else gets it.
func unusedPort() -> UInt16 { bindToLoopback().port }

struct ReceivedRequest: Sendable {
  var line: String
  var fields: [String]
  var body: [UInt8]

  subscript(name: String) -> String? {
    let prefix = name.lowercased() + ":"
    return fields.first { $0.lowercased().hasPrefix(prefix) }
      .map { $0.dropFirst(prefix.count).trimmingCharacters(in: .whitespaces) }
  }
}

/// The server's side of a connection. Used by one script thread; its errors mean that the peer is gone.
final class Connection: @unchecked Sendable {
  struct Gone: Error {}

  private let descriptor: Int32
  private var buffer: [UInt8] = []
  private var isOpen = true

  init(_ descriptor: Int32) { self.descriptor = descriptor }

  /// The next request with its body; nil when the peer closed between requests.
  func readRequest() throws -> ReceivedRequest? {
    guard var request = try readHead() else { return nil }
    request.body = try read(request["Content-Length"].flatMap(Int.init) ?? 0)
    return request
  }

  /// The next request head, without its body.
  func readHead() throws -> ReceivedRequest? {
    let end = Array("\r\n\r\n".utf8)
    var searched = 0
    while true {
      if let range = buffer[searched...].firstRange(of: end) {
        let lines = String(decoding: buffer[..<range.lowerBound], as: UTF8.self).components(separatedBy: "\r\n")
        buffer.removeFirst(range.upperBound)
        return ReceivedRequest(line: lines[0], fields: Array(lines.dropFirst()), body: [])
      }
      searched = max(0, buffer.count - 3)
      guard try receive() else {
        if buffer.isEmpty { return nil }
        throw Gone()
      }
    }
  }

  func read(_ count: Int) throws -> [UInt8] {
    while buffer.count < count { guard try receive() else { throw Gone() } }
    defer { buffer.removeFirst(count) }
    return Array(buffer[..<count])
  }

  /// Waits until the peer closes; what it sends is dropped.
  func readToEnd() throws {
    repeat { buffer = [] } while try receive()
  }

  func write(_ text: String) throws { try write(Array(text.utf8)) }

  func write(_ bytes: [UInt8]) throws {
    var sent = 0
    while sent < bytes.count {
      let count = bytes.withUnsafeBytes {
        send(descriptor, $0.baseAddress?.advanced(by: sent), bytes.count - sent, Int32(MSG_NOSIGNAL))
      }
      guard count > 0 else { throw Gone() }
      sent += count
    }
  }

  /// Ends the connection with a RST instead of a FIN.
  func reset() {
    var linger = linger(l_onoff: 1, l_linger: 0)
    setsockopt(descriptor, SOL_SOCKET, SO_LINGER, &linger, socklen_t(MemoryLayout<linger>.size))
    close()
  }

  func close() {
    if isOpen { Glibc.close(descriptor) }
    isOpen = false
  }

  private func receive() throws -> Bool {
    var piece = [UInt8](repeating: 0, count: 256 * 1024)
    let count = recv(descriptor, &piece, piece.count, 0)
    guard count >= 0 else { throw Gone() }
    buffer += piece[..<count]
    return count > 0
  }
}
