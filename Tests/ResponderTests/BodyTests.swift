import Testing

@testable import waysfs_responder

/// A request in memory.
private final class MemorySource: ByteSource {
  private(set) var rest: ArraySlice<UInt8>

  init(_ text: String) { rest = Array(text.utf8)[...] }

  func readLine() throws(ConnectionError) -> [UInt8] {
    guard let end = rest.firstIndex(of: UInt8(ascii: "\n")) else { throw .ended }
    defer { rest = rest[(end + 1)...] }
    return Array(rest[..<end].filter { $0 != UInt8(ascii: "\r") })
  }

  func read(into buffer: UnsafeMutableRawBufferPointer) throws(ConnectionError) {
    guard rest.count >= buffer.count else { throw .ended }
    buffer.copyBytes(from: rest.prefix(buffer.count))
    rest = rest.dropFirst(buffer.count)
  }
}

@Suite struct BodyTests {
  private let pool: SlabPool

  init() throws {
    pool = try #require(SlabPool(limit: 8 * SlabPool.slabSize))
  }

  private func receive(_ framing: BodyFraming, _ source: MemorySource, isHashed: Bool = true) throws -> (Body, String) {
    try BodyReceiver(pool, nil, isHashed: isHashed).receive(framing, from: source)
  }

  @Test func knowsHowABodyIsFramed() throws {
    let put = "PUT /b/k HTTP/1.1"
    #expect(try BodyFraming(head(put)) == .none)
    #expect(try BodyFraming(head(put, "Content-Length: 0")) == .none)
    #expect(try BodyFraming(head(put, "Content-Length: 7")) == .length(7))
    let signed = "x-amz-content-sha256: STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
    #expect(
      try BodyFraming(head(put, "Content-Length: 99", signed, "x-amz-decoded-content-length: 7")) == .chunks(total: 7))
    #expect(
      try BodyFraming(head(put, "x-amz-content-sha256: STREAMING-UNSIGNED-PAYLOAD-TRAILER")) == .chunks(total: 0))
    #expect(try BodyFraming(head(put, "Transfer-Encoding: chunked")) == .chunks(total: 0))
    #expect(throws: Refusal.notImplemented) { try BodyFraming(head(put, signed, "Transfer-Encoding: chunked")) }
  }

  @Test func decodesSignedChunks() throws {
    let source = MemorySource(
      "5;chunk-signature=abc\r\nhello\r\nB;chunk-signature=def\r\n, wide\r\nwor\r\n2;x\r\nld\r\n"
        + "0;chunk-signature=ghi\r\n\r\nnext request")
    let (body, md5) = try receive(.chunks(total: 18), source)
    #expect(String(decoding: body.bytes, as: UTF8.self) == "hello, wide\r\nworld")
    #expect(md5 == MD5.of(Array("hello, wide\r\nworld".utf8)))
    #expect(String(decoding: source.rest, as: UTF8.self) == "next request")
  }

  @Test func leavesTrailersBehind() throws {
    let source = MemorySource(
      "3\r\nabc\r\n0\r\nx-amz-checksum-crc32:NSRBwg==\r\nx-amz-trailer-signature:00\r\n\r\nnext")
    let (body, _) = try receive(.chunks(total: 0), source)
    #expect(body.bytes == Array("abc".utf8))
    #expect(source.rest.elementsEqual("next".utf8))
  }

  @Test(arguments: [
    "x\r\n", "-1\r\n", "\r\n", "ffffffffffffffff\r\n", "2\r\nabc\r\n0\r\n\r\n", "2\r\na", "2\r\nab\r\n",
  ])
  func refusesBrokenChunks(text: String) {
    #expect(throws: BodyReceiver.Failure.self) { try receive(.chunks(total: 0), MemorySource(text)) }
    #expect(pool.used == 0)
  }

  @Test func keepsBodiesOfAnySize() throws {
    for size in [0, 1, SlabPool.slabSize / 4, SlabPool.slabSize / 4 + 1, SlabPool.slabSize, 3 * SlabPool.slabSize + 5] {
      let text = String((0..<size).map { Character(Unicode.Scalar(UInt8(33 + $0 % 89))) })
      let (body, md5) = try receive(.length(size), MemorySource(text))
      #expect(body.bytes == Array(text.utf8))
      #expect(md5 == MD5.of(Array(text.utf8)))
    }
    #expect(pool.used == 0)
  }

  @Test func readsABodyThatDoesNotFitToItsEnd() throws {
    let size = 9 * SlabPool.slabSize
    let source = MemorySource(String(repeating: "x", count: size) + "next")
    #expect {
      try receive(.length(size), source)
    } throws: { error in
      guard case .refused(let refusal, isWhole: true)? = error as? BodyReceiver.Failure else { return false }
      return refusal == .full
    }
    #expect(source.rest.elementsEqual("next".utf8))
    #expect(pool.used == 0)
  }

  @Test func sharesTheMemoryOfARange() throws {
    let size = 2 * SlabPool.slabSize + 9
    let text = String((0..<size).map { Character(Unicode.Scalar(UInt8(33 + $0 % 89))) })
    var body: Body? = try receive(.length(size), MemorySource(text), isHashed: false).0
    let used = pool.used
    var joined = Body()
    for range in [5..<7, 100..<(SlabPool.slabSize + 1), (size - 1)..<size] {
      let part = try #require(body).subrange(range)
      #expect(part.bytes == Array(Array(text.utf8)[range]))
      joined.append(part)
    }
    #expect(joined.bytes.suffix(1) == Array(text.utf8).suffix(1))
    #expect(joined.count == 2 + SlabPool.slabSize + 1 - 100 + 1)
    #expect(pool.used == used)
    body = nil
    // The small rest at the end is still in use, and so are the slabs.
    #expect(pool.used == used)
    joined = Body()
    #expect(pool.used == 0)
  }

  @Test func readsDigests() {
    #expect(Base64.bytes("XUFAKrxLKna5cZ2REBfFkg==").map { Hexadecimal.text($0) } == MD5.of(Array("hello".utf8)))
    #expect(Base64.bytes("XUFA===") == nil && Base64.bytes("!!!!") == nil)
    #expect(Hexadecimal.bytes("00fF".utf8) == [0, 255])
    #expect(Hexadecimal.bytes("0".utf8) == nil && Hexadecimal.bytes("0g".utf8) == nil)
  }
}

@Suite struct DocumentTests {
  @Test func readsWhatCompletesAnUpload() throws {
    let text = """
      <?xml version="1.0"?><CompleteMultipartUpload xmlns="http://s3.amazonaws.com/doc/2006-03-01/">
      <Part><ETag>&quot;abc&#34;</ETag><PartNumber>1</PartNumber></Part>
      <Part><PartNumber>20</PartNumber><ETag>"def"</ETag></Part></CompleteMultipartUpload>
      """
    let parts = [Store.NamedPart(number: 1, etag: "abc"), Store.NamedPart(number: 20, etag: "def")]
    #expect(try Service.namedParts(Array(text.utf8)) == parts)
    #expect(throws: Refusal.malformedXML) { try Service.namedParts(Array("<Part><ETag>x</ETag></Part>".utf8)) }
  }

  @Test func readsBackWhatItWrites() {
    let text = "a<b>&\"'\r\n\u{1}é"
    let document = XMLWriter.document("R") { $0.element("Key", text) }
    #expect(XMLReader.text(of: "Key", in: document[...]) == Array(text.utf8))
    #expect(XMLReader.text(of: "K", in: document[...]) == nil)
  }

  @Test func writesTimes() {
    #expect(HTTPDate.text(784_111_777) == "Sun, 06 Nov 1994 08:49:37 GMT")
    #expect(HTTPDate.iso(784_111_777) == "1994-11-06T08:49:37.000Z")
  }

  @Test func encodesKeys() {
    var out: [UInt8] = []
    PercentCoding.encode(Array("a b/ü+%~".utf8), into: &out)
    #expect(String(decoding: out, as: UTF8.self) == "a+b/%C3%BC%2B%25%7E")
    #expect(PercentCoding.decode(out, plusIsSpace: true) == Array("a b/ü+%~".utf8))
  }
}

@Suite struct ShaperTests {
  @Test func pacesBytes() {
    var pacer = Pacer(bytesPerSecond: 1_000_000)
    let second: UInt64 = 1_000_000_000
    // Two at the same time come one after the other; 5 ms may be caught up on.
    #expect(pacer.reserve(bytes: 500_000, now: 10 * second) == 10 * second + 495_000_000)
    #expect(pacer.reserve(bytes: 500_000, now: 10 * second) == 10 * second + 995_000_000)
    #expect(pacer.reserve(bytes: 1_000, now: 20 * second) == 20 * second - 4_000_000)
    var open = Pacer()
    #expect(open.reserve(bytes: 1 << 40, now: 7) == 7)
  }

  @Test func readsSettings() {
    #expect(SettingText.duration("20ms") == 20_000_000 && SettingText.duration("1.5s") == 1_500_000_000)
    #expect(SettingText.duration("0") == 0 && SettingText.duration("20") == nil && SettingText.duration("-1ms") == nil)
    #expect(SettingText.bandwidth("1Gbit/s") == 125_000_000 && SettingText.bandwidth("200Mbit/s") == 25_000_000)
    #expect(SettingText.size("4G") == 4 << 30 && SettingText.size("512M") == 512 << 20)
    #expect(SettingText.size("nanG") == nil && SettingText.size("infG") == nil && SettingText.size("") == nil)
  }
}
