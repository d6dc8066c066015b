import Glibc

/// Where a request comes from. One thread uses it.
protocol ByteSource: AnyObject {
  /// The next line without its end.
  func readLine() throws(ConnectionError) -> [UInt8]
  /// Fills the buffer.
  func read(into buffer: UnsafeMutableRawBufferPointer) throws(ConnectionError)
}

/// Why nothing more can be read from or written to a connection.
enum ConnectionError: Error {
  /// It has ended, or is broken.
  case ended
  case lineTooLong
}

/// A connection to a client. One thread uses it.
final class Connection: ByteSource {
  private static let bufferSize = 32 << 10

  private let socket: Int32
  private let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: bufferSize, alignment: 16)
  /// What was received and not used yet.
  private var pending = 0..<0

  /// Takes ownership of the socket.
  init(socket: Int32) {
    self.socket = socket
    // An answer is written in one piece; there is nothing that its end should wait for.
    var on: Int32 = 1
    setsockopt(socket, Int32(IPPROTO_TCP), TCP_NODELAY, &on, socklen_t(MemoryLayout<Int32>.size))
  }

  deinit {
    close(socket)
    buffer.deallocate()
  }

  /// The head of the next request, up to the empty line; nil when the client has closed the connection instead.
  func readHead() throws(ConnectionError) -> [UInt8]? {
    var head: [UInt8] = []
    while true {
      if head.isEmpty, pending.isEmpty, try !receive() { return nil }
      let line = try readLine()
      // Empty lines before a request are to be ignored (RFC 9112, 2.2).
      if line.isEmpty, head.isEmpty { continue }
      if line.isEmpty { return head }
      head += line
      head.append(UInt8(ascii: "\n"))
      if head.count > Self.bufferSize { throw .lineTooLong }
    }
  }

  func readLine() throws(ConnectionError) -> [UInt8] {
    var line: [UInt8] = []
    while true {
      if pending.isEmpty, try !receive() { throw .ended }
      let received = UnsafeRawBufferPointer(rebasing: buffer[pending])
      if let end = received.firstIndex(of: UInt8(ascii: "\n")) {
        line += received[..<end]
        pending = pending.dropFirst(end + 1)
        if line.last == UInt8(ascii: "\r") { line.removeLast() }
        return line
      }
      line += received
      pending = 0..<0
      if line.count > Self.bufferSize { throw .lineTooLong }
    }
  }

  func read(into target: UnsafeMutableRawBufferPointer) throws(ConnectionError) {
    let ready = min(target.count, pending.count)
    target.copyMemory(from: UnsafeRawBufferPointer(rebasing: buffer[pending.prefix(ready)]))
    pending = pending.dropFirst(ready)
    var done = ready
    while done < target.count {
      let rest = UnsafeMutableRawBufferPointer(rebasing: target[done...])
      // The kernel wakes this thread when all is there, not for each segment.
      let count = recv(socket, rest.baseAddress, rest.count, Int32(MSG_WAITALL))
      if count < 0, errno == EINTR { continue }
      guard count > 0 else { throw .ended }
      done += count
    }
  }

  /// Receives what is there; false when the client has closed the connection.
  private func receive() throws(ConnectionError) -> Bool {
    while true {
      let count = recv(socket, buffer.baseAddress, buffer.count, 0)
      if count < 0, errno == EINTR { continue }
      guard count >= 0 else { throw .ended }
      pending = 0..<count
      return count > 0
    }
  }

  /// Writes bytes and then regions, one after the other.
  func write(_ bytes: [UInt8], followedBy regions: [UnsafeRawBufferPointer] = []) throws(ConnectionError) {
    try bytes.withUnsafeBufferPointer { bytes throws(ConnectionError) in
      try write([UnsafeRawBufferPointer(bytes)] + regions)
    }
  }

  private func write(_ regions: [UnsafeRawBufferPointer]) throws(ConnectionError) {
    var vectors = regions.filter { !$0.isEmpty }.map {
      iovec(iov_base: UnsafeMutableRawPointer(mutating: $0.baseAddress), iov_len: $0.count)
    }
    var first = 0
    while first < vectors.count {
      // The kernel takes up to 1024 at once.
      let count = vectors[first...].prefix(256).withUnsafeBufferPointer {
        writev(socket, $0.baseAddress, Int32($0.count))
      }
      if count < 0, errno == EINTR { continue }
      guard count > 0 else { throw .ended }
      var written = count
      while first < vectors.count, written >= vectors[first].iov_len {
        written -= vectors[first].iov_len
        first += 1
      }
      if written > 0 {
        vectors[first].iov_base += written
        vectors[first].iov_len -= written
      }
    }
  }
}
