import Basics
import HTTPTransport
import ObjectStore
import Synchronization
import Testing

@testable import S3

/// A generator that gives the same numbers for the same seed.
struct SeededRandom: RandomNumberGenerator, Sendable {
  var state: UInt64

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var mixed = state
    mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
    return mixed ^ (mixed >> 31)
  }
}

/// Whatever a server does, the bytes that arrive are those of one version, from where they were asked for.
@Suite struct RandomFaultTests {
  /// A server with one object that misbehaves at random.
  private static func answer(
    _ request: HTTPRequest, _ object: [UInt8], _ random: inout SeededRandom
  ) -> ScriptedHTTP.Answer {
    var answer = ScriptedHTTP.Answer()
    let bounds = request.header("range").map { $0.dropFirst(6).split(separator: "-").compactMap { Int($0) } } ?? []
    if bounds.isEmpty || Int.random(in: 0..<5, using: &random) == 0 {
      answer.body = object
      answer.headers = objectHeaders(length: object.count)
    } else {
      let first = bounds[0]
      guard first < object.count else { return .refusal(416, "InvalidRange") }
      let end = bounds.count > 1 ? min(object.count, bounds[1] + 1) : object.count
      answer.status = Int.random(in: 0..<5, using: &random) == 0 ? 200 : 206
      answer.body = Array(object[first..<end])
      answer.headers = objectHeaders(length: end - first, range: "bytes \(first)-\(end - 1)/\(object.count)")
    }
    switch Int.random(in: 0..<14, using: &random) {
    case 0...3:
      answer.body = Array(answer.body.prefix(Int.random(in: 0...answer.body.count, using: &random)))
      answer.error = HTTPError([.truncated, .connectionLost, .stalled].randomElement(using: &random) ?? .stalled, "x")
    case 4: answer.body = Array(answer.body.prefix(Int.random(in: 0...answer.body.count, using: &random)))
    case 5: return .refusal(503, "SlowDown")
    case 6: return .failure(.connectionLost)
    case 7:
      // Another version with other bytes, on a server that ignores If-Match.
      answer.headers[0] = HTTPHeader("ETag", "\"v2\"")
      answer.body = answer.body.map { ~$0 }
    case 8: answer.body += [0xEE, 0xEE]
    case 9: answer.headers.removeAll { $0.name == ["ETag", "Content-Range"].randomElement(using: &random) }
    default: break
    }
    return answer
  }

  @Test(arguments: 0..<400)
  func onlyTheRightBytesArrive(_ seed: Int) throws {
    var random = SeededRandom(state: UInt64(seed))
    let object = (0..<Int.random(in: 1...400, using: &random)).map { UInt8(truncatingIfNeeded: $0 &* 7 &+ 1) }
    let range: ByteRange? =
      seed.isMultiple(of: 4)
      ? nil
      : ByteRange(
        offset: UInt64.random(in: 0..<UInt64(object.count), using: &random),
        length: UInt64.random(in: 1...500, using: &random))
    let source = Mutex(random)
    let http = ScriptedHTTP { request, _ in source.withLock { Self.answer(request, object, &$0) } }
    let bucket = try scriptedBucket(http)
    let sink = RecordingSink()
    let result = Result { () throws(ObjectStoreError) in
      try waitFor { bucket.get(GetRequest("key", range: range), into: sink, nil, $0) }
    }
    let wanted = (range ?? ByteRange(offset: 0, length: UInt64(object.count))).clipped(to: UInt64(object.count))
    let expected = wanted.map { Array(object[Int($0.offset)..<Int($0.end)]) } ?? []
    let inverse = expected.map { ~$0 }
    // The first answer may be of the other version: then all bytes are of that one.
    #expect(expected.starts(with: sink.bytes) || inverse.starts(with: sink.bytes))
    #expect(sink.begins.count <= 1)
    if case .success = result { #expect(sink.bytes.count == expected.count) }
  }

  @Test(arguments: 0..<300)
  func damagedDocumentsNeverCrash(_ seed: Int) {
    var random = SeededRandom(state: UInt64(seed))
    var bytes = Array(
      """
      <?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><EncodingType>url</EncodingType>
      <Contents><Key>p/a%20b</Key><LastModified>2009-10-12T17:50:30.000Z</LastModified><ETag>"e"</ETag><Size>5</Size></Contents>
      <CommonPrefixes><Prefix>p/d/</Prefix></CommonPrefixes><IsTruncated>false</IsTruncated></ListBucketResult>
      """.utf8)
    for _ in 0..<Int.random(in: 1...6, using: &random) {
      let place = Int.random(in: 0..<bytes.count, using: &random)
      switch Int.random(in: 0..<4, using: &random) {
      case 0: bytes[place] = UInt8.random(in: 0...255, using: &random)
      case 1: bytes.remove(at: place)
      case 2: bytes.insert(contentsOf: bytes[place..<min(bytes.count, place + 40)], at: place)
      default: bytes.removeSubrange(place...)
      }
      if bytes.isEmpty { break }
    }
    let page = try? parseXML(bytes, into: ListingHandler()).finish(ListRequest(prefix: "p/", delimited: true))
    for entry in page?.entries ?? [] { #expect(entry.key.hasPrefix("p/")) }
  }
}
