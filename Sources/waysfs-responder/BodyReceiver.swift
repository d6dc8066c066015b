import Glibc

/// How the body of a request is framed.
///
///     Content-Length: N                      N bytes
///     x-amz-content-sha256: STREAMING-...    chunks, each with a signature; then trailers, if any
///     Transfer-Encoding: chunked             the same without signatures
///
///     10000;chunk-signature=...\r\n          the size in hexadecimal digits
///     (65536 bytes)\r\n
///     0;chunk-signature=...\r\n              the last chunk has no bytes
///     x-amz-checksum-crc32c:...\r\n          trailers
///     \r\n
enum BodyFraming: Equatable, Sendable {
  case none
  case length(Int)
  /// With the length of all chunks together, where the client tells it.
  case chunks(total: Int)

  init(_ head: RequestHead) throws(Refusal) {
    let isStreaming = head["x-amz-content-sha256"]?.hasPrefix("STREAMING-") == true
    let isChunked = head["transfer-encoding"] != nil
    // Chunks within chunks: no client here sends that.
    if isStreaming, isChunked { throw .notImplemented }
    if isStreaming || isChunked {
      self = .chunks(total: try head.number("x-amz-decoded-content-length") ?? 0)
    } else if let length = try head.number("content-length"), length > 0 {
      self = .length(length)
    } else {
      self = .none
    }
  }

  /// The size that a line before a chunk tells.
  static func chunkSize(_ line: [UInt8]) throws(Refusal) -> Int {
    let digits = line.prefix { $0 != UInt8(ascii: ";") && $0 != UInt8(ascii: " ") }
    guard let size = Int(String(decoding: digits, as: UTF8.self), radix: 16), (0...(5 << 30)).contains(size) else {
      throw .invalidRequest("A chunk has no size.")
    }
    return size
  }
}

/// Receives the body of a request straight into the memory that keeps it.
struct BodyReceiver: ~Copyable {
  /// Either the client is gone, or it gets an answer.
  enum Failure: Error {
    case connection(ConnectionError)
    /// The body was read to its end, if `isWhole`: otherwise the connection cannot be used any more.
    case refused(Refusal, isWhole: Bool)
  }

  private let pool: SlabPool
  private let shaper: Shaper?
  private var body = Body()
  private var memory: Memory?
  private var filled = 0
  /// How many bytes are still to come, as far as known.
  private var expected = 0
  private var digest: MD5?
  private var isFull = false

  /// - Parameters:
  ///   - shaper: limits how fast it comes; nil for as fast as it can.
  ///   - isHashed: whether to compute the MD5 of the body.
  init(_ pool: SlabPool, _ shaper: Shaper?, isHashed: Bool) {
    self.pool = pool
    self.shaper = shaper
    digest = isHashed ? MD5() : nil
  }

  /// Reads the body. Its MD5 is empty unless it was asked for.
  consuming func receive(_ framing: BodyFraming, from source: some ByteSource) throws(Failure) -> (Body, md5: String) {
    switch framing {
    case .none: break
    case .length(let count): try read(count, from: source)
    case .chunks(let total):
      expected = total
      try readChunks(from: source)
    }
    finishMemory()
    if isFull { throw .refused(.full, isWhole: true) }
    return (body, digest.take()?.finish() ?? "")
  }

  private mutating func readChunks(from source: some ByteSource) throws(Failure) {
    while true {
      let line = try line(source)
      let size: Int
      do throws(Refusal) { size = try BodyFraming.chunkSize(line) } catch { throw .refused(error, isWhole: false) }
      if size == 0 { break }
      try read(size, from: source)
      guard try self.line(source).isEmpty else {
        throw .refused(.invalidRequest("A chunk is longer than it says."), isWhole: false)
      }
    }
    // Trailers: checksums, which are not checked.
    while try !self.line(source).isEmpty {}
  }

  private func line(_ source: some ByteSource) throws(Failure) -> [UInt8] {
    do throws(ConnectionError) { return try source.readLine() } catch { throw .connection(error) }
  }

  private mutating func read(_ count: Int, from source: some ByteSource) throws(Failure) {
    var rest = count
    while rest > 0 {
      let region = nextRegion(rest)
      do throws(ConnectionError) { try source.read(into: region) } catch { throw .connection(error) }
      digest?.update(UnsafeRawBufferPointer(region))
      shaper?.wait(.inbound, bytes: region.count)
      filled += region.count
      rest -= region.count
      expected -= region.count
    }
  }

  /// Where to put the next bytes, `rest` at most.
  private mutating func nextRegion(_ rest: Int) -> UnsafeMutableRawBufferPointer {
    if memory.map({ filled == $0.count || isFull }) ?? true {
      finishMemory()
      if let next = isFull ? nil : pool.take(max(rest, expected)) {
        memory = next
      } else {
        // What does not fit is received all the same: the client would not read the answer before it has sent all.
        isFull = true
        body = Body()
      }
    }
    let piece = min(rest, shaper?.piece ?? rest)
    guard let memory, !isFull else {
      return UnsafeMutableRawBufferPointer(rebasing: Self.bin[..<min(piece, Self.bin.count)])
    }
    return UnsafeMutableRawBufferPointer(start: memory.base + filled, count: min(piece, memory.count - filled))
  }

  private mutating func finishMemory() {
    if let memory, !isFull { body.append(memory, count: filled) }
    memory = nil
    filled = 0
  }

  /// Bytes that nobody wants; many threads write here at once, and none reads.
  private nonisolated(unsafe) static let bin = UnsafeMutableRawBufferPointer.allocate(
    byteCount: 64 << 10, alignment: 16)
}
