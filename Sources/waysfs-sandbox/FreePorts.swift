import Glibc
import SystemPackage

/// The ports of one SeaweedFS: each component listens for gRPC on its port + 10000, too.
struct WeedPorts: Codable, Equatable, Sendable {
  var master: UInt16
  var volume: UInt16
  var filer: UInt16
  var s3: UInt16

  static let grpcOffset: UInt16 = 10_000

  var all: [UInt16] { [master, volume, filer, s3] }

  /// Free ports, chosen at random below the range from which the kernel gives ports to outgoing connections.
  static func choose(isFree: (UInt16) -> Bool = isFreeOnLoopback) -> WeedPorts? {
    var chosen: [UInt16] = []
    for _ in 0..<10_000 where chosen.count < 4 {
      let port = UInt16.random(in: 11_000...22_000)
      if !chosen.contains(port), isFree(port), isFree(port + grpcOffset) { chosen.append(port) }
    }
    guard chosen.count == 4 else { return nil }
    return WeedPorts(master: chosen[0], volume: chosen[1], filer: chosen[2], s3: chosen[3])
  }

  /// Whether nobody listens on any of these ports now.
  var areFree: Bool { all.allSatisfy { isFreeOnLoopback($0) && isFreeOnLoopback($0 + Self.grpcOffset) } }
}

func isFreeOnLoopback(_ port: UInt16) -> Bool {
  let socket = Glibc.socket(AF_INET, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
  guard socket >= 0 else { return false }
  defer { close(socket) }
  // A port that only closed connections still hold is free to listen on.
  var on: Int32 = 1
  setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &on, socklen_t(MemoryLayout<Int32>.size))
  var address = sockaddr_in.loopback(port: port)
  return withUnsafePointer(to: &address) {
    $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
      Glibc.bind(socket, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0
    }
  }
}
