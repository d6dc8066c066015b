import Foundation
import SystemPackage

/// One HTTP request to a server on this machine.
///
/// HTTP/1.0, so that the answer ends with the connection and needs no framing; the target is sent as it stands, which
/// the HTTP library's own client does not do ("+" in a query would turn into a space).
struct LoopbackHTTP: Sendable {
  let port: UInt16

  struct Answer: Equatable, Sendable {
    var status: Int
    var body: Data
  }

  struct Failure: Error, CustomStringConvertible {
    var description: String
  }

  /// Blocks for at most `seconds` at each step.
  func send(_ method: String, _ target: String, body: Data = Data(), seconds: Int = 30) throws -> Answer {
    let socket = FileDescriptor(rawValue: Glibc.socket(AF_INET, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0))
    guard socket.rawValue >= 0 else { throw Errno(rawValue: errno) }
    return try socket.closeAfter {
      try connect(socket, seconds: seconds)
      let head =
        "\(method) \(target) HTTP/1.0\r\nHost: 127.0.0.1:\(port)\r\nAccept: application/json\r\n"
        + "Content-Length: \(body.count)\r\n\r\n"
      _ = try socket.writeAll(Data(head.utf8) + body)
      return try Self.parse(readToEnd(socket))
    }
  }

  static func parse(_ bytes: Data) throws -> Answer {
    guard let end = bytes.range(of: Data("\r\n\r\n".utf8)) else {
      throw Failure(description: "the answer is not HTTP")
    }
    let head = String(decoding: bytes[..<end.lowerBound], as: UTF8.self)
    let statusLine = head.prefix { !$0.isNewline }.split(separator: " ")
    guard statusLine.count >= 2, statusLine[0].hasPrefix("HTTP/1."), let status = Int(statusLine[1]) else {
      throw Failure(description: "the answer is not HTTP")
    }
    return Answer(status: status, body: Data(bytes[end.upperBound...]))
  }

  private func connect(_ socket: FileDescriptor, seconds: Int) throws {
    var timeout = timeval(tv_sec: seconds, tv_usec: 0)
    for option in [SO_RCVTIMEO, SO_SNDTIMEO] {
      setsockopt(socket.rawValue, SOL_SOCKET, option, &timeout, socklen_t(MemoryLayout<timeval>.size))
    }
    var address = sockaddr_in.loopback(port: port)
    let result = withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        Glibc.connect(socket.rawValue, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
      }
    }
    guard result == 0 else { throw Errno(rawValue: errno) }
  }

  private func readToEnd(_ socket: FileDescriptor) throws -> Data {
    var received = Data()
    var buffer = [UInt8](repeating: 0, count: 64 * 1024)
    while true {
      let count = try buffer.withUnsafeMutableBytes { try socket.read(into: $0) }
      guard count > 0 else { return received }
      received.append(contentsOf: buffer[..<count])
    }
  }
}

extension sockaddr_in {
  static func loopback(port: UInt16) -> sockaddr_in {
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = port.bigEndian
    address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
    return address
  }
}
