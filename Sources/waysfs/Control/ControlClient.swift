import Basics
import Glibc

/// Asks a running mount.
struct ControlClient {
  /// Seconds that a mount has for its answer.
  var patience = 3.0
  var time = TimeSource.system

  /// - Parameters:
  ///   - path: of the mount's socket.
  ///   - owner: who the mount must belong to; another user may have put a socket there.
  func ask(_ request: ControlRequest, at path: String, owner: UInt32) throws(Failure) -> [UInt8] {
    let descriptor = try ControlSocket.make()
    defer { close(descriptor) }
    let deadline = time.monotonic + UInt64(patience * 1e9)
    do throws(Failure) {
      try ControlSocket.connect(descriptor, to: path, until: deadline, time)
    } catch {
      throw Failure("its process cannot be asked: \(error.reason)")
    }
    guard ControlSocket.peer(of: descriptor) == owner else {
      throw Failure("its process cannot be asked: another user answers at \(path)")
    }
    let line = Array(request.line.utf8)
    // It fits into any socket's buffer.
    guard send(descriptor, line, line.count, Int32(MSG_NOSIGNAL)) == line.count else {
      throw Failure("its process cannot be asked: \(describe(errno: errno))")
    }
    switch try receive(descriptor, until: deadline) {
    case .ok(let payload): return payload
    case .error(let reason): throw Failure("its process refuses: \(reason)")
    }
  }

  private func receive(_ descriptor: Int32, until deadline: UInt64) throws(Failure) -> ControlAnswer {
    var bytes: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 65536)
    while true {
      let now = time.monotonic
      guard now < deadline else { throw Failure("its process does not answer") }
      var request = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
      guard poll(&request, 1, Int32(clamping: (deadline - now) / 1_000_000 + 1)) > 0 else { continue }
      let count = read(descriptor, &buffer, buffer.count)
      if count < 0, [EAGAIN, EINTR].contains(errno) { continue }
      guard count > 0 else { throw Failure("its process has ended the conversation") }
      bytes += buffer[..<count]
      guard bytes.count <= ControlAnswer.longest + 1024 else { throw Failure("the answer is too long") }
      if let answer = try ControlAnswer(parsing: bytes) { return answer }
    }
  }
}
