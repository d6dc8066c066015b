import Basics
import Glibc
import SystemPackage

/// A port of 127.0.0.1 on which connections are accepted, with a thread for each: clients keep a few dozen of them for
/// long, and a thread that blocks in one system call after the other needs no more of these than bytes make necessary.
struct Listener: Sendable {
  private let socket: Int32
  let port: UInt16

  /// - Parameter port: 0 for a free one.
  init(port: UInt16 = 0) throws(Errno) {
    socket = Glibc.socket(AF_INET, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
    guard socket >= 0 else { throw Errno(rawValue: errno) }
    var on: Int32 = 1
    setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &on, socklen_t(MemoryLayout<Int32>.size))
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = port.bigEndian
    address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
    var length = socklen_t(MemoryLayout<sockaddr_in>.size)
    let socket = socket
    let isListening = withUnsafeMutablePointer(to: &address) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { address in
        bind(socket, address, length) == 0 && listen(socket, 1024) == 0 && getsockname(socket, address, &length) == 0
      }
    }
    guard isListening else {
      let error = Errno(rawValue: errno)
      close(socket)
      throw error
    }
    self.port = UInt16(bigEndian: address.sin_port)
  }

  var endpoint: String { "http://127.0.0.1:\(port)" }

  /// Serves until the process ends; false when there is no thread for that.
  func start(_ service: Service, isShaped: Bool) -> Bool {
    let socket = socket
    let thread = Thread.start(name: "accept") {
      while true {
        let client = accept(socket, nil, nil)
        guard client >= 0 else {
          // The client may have gone again; or descriptors have run out, until others have ended.
          usleep(1_000)
          continue
        }
        let connection = Box(Connection(socket: client))
        Thread.start(name: "connection") { service.serve(connection.value, isShaped: isShaped) }?.detach()
      }
    }
    thread?.detach()
    return thread != nil
  }

  /// Carries the connection to its thread, which alone uses it then.
  private struct Box: @unchecked Sendable {
    let value: Connection
    init(_ value: Connection) { self.value = value }
  }
}
