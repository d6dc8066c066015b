import Basics
import CLinux
import Glibc

/// The Unix socket of a mount, beside its record, and what both sides of it need.
enum ControlSocket {
  static let suffix = ".socket"

  /// Short whatever the mount point is: an address has room for 107 bytes.
  static func path(forMountPoint mountPoint: String, in directory: String) -> String {
    "\(directory)/\(String(RuntimeDirectory.fnv1a(mountPoint), radix: 16))\(suffix)"
  }

  /// A new socket that is not inherited and does not block.
  static func make() throws(Failure) -> Int32 {
    let flags = Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue)
    let descriptor = socket(AF_UNIX, flags, 0)
    guard descriptor >= 0 else { throw Failure("cannot make a socket: \(describe(errno: errno))") }
    return descriptor
  }

  /// Gives a socket a name in the filesystem.
  static func bind(_ descriptor: Int32, to path: String) throws(Failure) {
    let code = try withAddress(path) { Glibc.bind(descriptor, $0, $1) }
    guard code == 0 else { throw Failure(describe(errno: code)) }
  }

  /// Connects a socket; waits until the deadline while others are in front of it.
  static func connect(
    _ descriptor: Int32, to path: String, until deadline: UInt64, _ time: TimeSource = .system
  ) throws(Failure) {
    while true {
      let code = try withAddress(path) { Glibc.connect(descriptor, $0, $1) }
      if code == 0 { return }
      // What a Unix socket says whose queue is full.
      guard code == EAGAIN, time.monotonic < deadline else { throw Failure(describe(errno: code)) }
      sleepInterval(seconds: 0.01)
    }
  }

  /// Calls something with a path as an address; the errno, or 0.
  private static func withAddress(
    _ path: String, _ call: (UnsafePointer<sockaddr>, socklen_t) -> Int32
  ) throws(Failure) -> Int32 {
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    let bytes = Array(path.utf8)
    let isFitting = withUnsafeMutableBytes(of: &address.sun_path) { room in
      // One byte stays for the end.
      guard bytes.count < room.count, !bytes.contains(0) else { return false }
      room.copyBytes(from: bytes)
      return true
    }
    guard isFitting else { throw Failure("the path \(path) is too long for a socket") }
    let result = withUnsafePointer(to: &address) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { call($0, socklen_t(MemoryLayout<sockaddr_un>.size)) }
    }
    return result == 0 ? 0 : errno
  }

  /// Who is at the other end; nil when the system does not tell.
  static func peer(of descriptor: Int32) -> UInt32? {
    var user: UInt32 = 0
    return clinux_peer_user(descriptor, &user) == 0 ? user : nil
  }
}
