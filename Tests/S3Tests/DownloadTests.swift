import Basics
import HTTPTransport
import ObjectStore
import Synchronization
import Testing

@testable import S3

/// A sink that writes down what it was told, and in which order.
final class RecordingSink: ObjectSink {
  private struct State {
    var begins: [ByteRange] = []
    var offsets: [UInt64] = []
    var bytes: [UInt8] = []
  }
  private let state = Mutex(State())

  var begins: [ByteRange] { state.withLock { $0.begins } }
  var offsets: [UInt64] { state.withLock { $0.offsets } }
  var bytes: [UInt8] { state.withLock { $0.bytes } }

  func begin(metadata: ObjectMetadata, range: ByteRange) { state.withLock { $0.begins.append(range) } }

  func receive(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) {
    state.withLock { state in
      state.offsets.append(offset)
      state.bytes += Array(bytes)
    }
  }
}

/// Answers like a server that has one object; `change` makes an answer worse.
private func server(
  _ object: [UInt8], _ change: @escaping @Sendable (_ answer: inout ScriptedHTTP.Answer, _ number: Int) -> Void
) -> ScriptedHTTP {
  ScriptedHTTP { request, number in
    var answer = ScriptedHTTP.Answer()
    if let text = request.header("range")?.dropFirst(6) {
      let bounds = text.split(separator: "-").compactMap { Int($0) }
      let end = min(object.count, bounds.count > 1 ? bounds[1] + 1 : object.count)
      answer.status = 206
      answer.body = Array(object[bounds[0]..<end])
      answer.headers = objectHeaders(
        length: answer.body.count, range: "bytes \(bounds[0])-\(end - 1)/\(object.count)")
    } else {
      answer.body = object
      answer.headers = objectHeaders(length: object.count)
    }
    change(&answer, number)
    return answer
  }
}

@Suite struct DownloadTests {
  static let object: [UInt8] = (0..<200).map { UInt8($0) }

  private func get(
    _ http: ScriptedHTTP, range: ByteRange? = nil, ifMatch: ETag? = nil
  ) throws -> (sink: RecordingSink, result: Result<ObjectMetadata, ObjectStoreError>) {
    let bucket = try scriptedBucket(http)
    let sink = RecordingSink()
    let result = Result { () throws(ObjectStoreError) in
      try waitFor { bucket.get(GetRequest("key", range: range, ifMatch: ifMatch), into: sink, nil, $0) }
    }
    return (sink, result)
  }

  @Test(arguments: [nil, ByteRange(offset: 10, length: 150), ByteRange(offset: 10, length: .max)])
  func brokenBodiesAreResumedWhereTheyStopped(_ range: ByteRange?) throws {
    let http = server(Self.object) { answer, number in
      guard number < 5 else { return }
      answer.body = Array(answer.body.prefix(20))
      answer.error = HTTPError(number.isMultiple(of: 2) ? .truncated : .stalled, "broke")
    }
    let (sink, result) = try get(http, range: range)
    #expect(try result.get().size == 200)
    let wanted = (range ?? ByteRange(offset: 0, length: 200)).clipped(to: 200) ?? ByteRange(offset: 0, length: 0)
    #expect(sink.begins == [wanted])
    #expect(sink.bytes == Array(Self.object[Int(wanted.offset)..<Int(wanted.end)]))
    #expect(sink.offsets == sink.offsets.sorted())
    #expect(http.requests.count == 5)
    #expect(http.requests[0].header("if-match") == nil)
    for request in http.requests.dropFirst() { #expect(request.header("if-match") == "\"v1\"") }
    #expect(http.requests[1].header("range")?.hasPrefix("bytes=\(wanted.offset + 20)-") == true)
  }

  @Test func aBodyShorterThanItsRangeIsCompleted() throws {
    // The framing was kept, but the server gave less than it said.
    let http = server(Self.object) { answer, number in
      if number == 1 { answer.body.removeLast(50) }
    }
    let (sink, result) = try get(http, range: ByteRange(offset: 0, length: 100))
    #expect(throws: Never.self) { try result.get() }
    #expect(sink.bytes == Array(Self.object[..<100]))
  }

  @Test func anIgnoredRangeStillGivesTheRightBytes() throws {
    for range in [
      ByteRange(offset: 33, length: 20), ByteRange(offset: 150, length: 1000), ByteRange(offset: 0, length: 1),
    ] {
      let http = ScriptedHTTP(
        ScriptedHTTP.Answer(headers: objectHeaders(length: 200), body: Self.object))
      let (sink, result) = try get(http, range: range)
      #expect(try result.get().size == 200)
      let end = Int(min(200, range.end))
      #expect(sink.bytes == Array(Self.object[Int(range.offset)..<end]))
      #expect(sink.offsets.first == range.offset)
    }
    let http = ScriptedHTTP(ScriptedHTTP.Answer(headers: objectHeaders(length: 200), body: Self.object))
    let (sink, result) = try get(http, range: ByteRange(offset: 200, length: 1))
    #expect(failure { () throws(ObjectStoreError) in try result.get() }?.code == .invalidRange)
    #expect(sink.bytes.isEmpty && sink.begins.isEmpty)
  }

  @Test func aResumeThatIsAnsweredWithTheWholeObjectRepeatsNothing() throws {
    let whole = ScriptedHTTP.Answer(headers: objectHeaders(length: 200), body: Self.object)
    let http = ScriptedHTTP { _, number in
      var answer = whole
      if number < 4 {
        answer.body = Array(answer.body.prefix(number * 31))
        answer.error = HTTPError(.connectionLost, "broke")
      }
      return answer
    }
    let (sink, result) = try get(http)
    #expect(throws: Never.self) { try result.get() }
    #expect(sink.bytes == Self.object)
    #expect(sink.begins.count == 1)
  }

  @Test func bytesOfAnotherVersionAreNeverPassedOn() throws {
    // The server ignores If-Match, and the object was replaced between the attempts.
    let http = server(Self.object) { answer, number in
      if number == 1 {
        answer.body = Array(answer.body.prefix(20))
        answer.error = HTTPError(.connectionLost, "broke")
      } else {
        answer.headers[0] = HTTPHeader("ETag", "\"v2\"")
      }
    }
    let (sink, result) = try get(http)
    #expect(failure { () throws(ObjectStoreError) in try result.get() }?.code == .preconditionFailed)
    #expect(sink.bytes == Array(Self.object[..<20]))
    let (other, refused) = try get(server(Self.object) { _, _ in }, ifMatch: ETag("v0"))
    #expect(failure { () throws(ObjectStoreError) in try refused.get() }?.code == .preconditionFailed)
    #expect(other.bytes.isEmpty)
  }

  typealias Change = @Sendable (inout ScriptedHTTP.Answer) -> Void
  static let corruptions: [Change] = [
    { $0.headers = objectHeaders(length: 100, range: "bytes 1-100/200") },
    { $0.headers = objectHeaders(length: 100, range: "bytes 0-150/200") },
    { $0.headers = objectHeaders(length: 100, range: "bytes 0-99/*") },
    { $0.headers = objectHeaders(length: 100) },
    { $0.headers = objectHeaders(length: 99, range: "bytes 0-99/200") },
    { answer in
      answer.status = 200
      answer.headers = objectHeaders(length: 100, range: "bytes 50-149/200")
    },
    { $0.headers = [HTTPHeader("Content-Range", "bytes 0-99/200")] },
    { $0.headers = objectHeaders(etag: "\"\"", length: 100, range: "bytes 0-99/200") },
    { $0.headers = [HTTPHeader("ETag", "\"v1\""), HTTPHeader("Content-Range", "bytes 0-99/200")] },
    { $0.body += [1, 2, 3] },
    { $0.status = 204 },
    { $0.status = 203 },
    { answer in
      answer.status = 200
      answer.headers = objectHeaders()
    },
  ]

  @Test(arguments: corruptions.indices)
  func whatWasNotAskedForIsRefused(_ index: Int) throws {
    let http = server(Self.object) { answer, _ in Self.corruptions[index](&answer) }
    let (sink, result) = try get(http, range: ByteRange(offset: 0, length: 100))
    #expect(failure { () throws(ObjectStoreError) in try result.get() }?.code == .corruptResponse)
    #expect(Self.object.starts(with: sink.bytes))
  }

  @Test func aPartWithTheStatus200IsTakenForWhatItIs() throws {
    let http = server(Self.object) { answer, _ in answer.status = 200 }
    let (sink, result) = try get(http, range: ByteRange(offset: 20, length: 30))
    #expect(try result.get().size == 200)
    #expect(sink.bytes == Array(Self.object[20..<50]))
  }

  @Test func anUnasked206IsRefused() throws {
    let http = ScriptedHTTP(
      ScriptedHTTP.Answer(
        status: 206, headers: objectHeaders(length: 5, range: "bytes 0-4/200"), body: Array(Self.object[..<5])))
    let (sink, result) = try get(http)
    #expect(failure { () throws(ObjectStoreError) in try result.get() }?.code == .corruptResponse)
    #expect(sink.begins.isEmpty)
  }

  @Test func progressRenewsThePatience() throws {
    let object = [UInt8](repeating: 7, count: 2 << 20)
    let http = server(object) { answer, _ in
      guard answer.body.count > 100_000 else { return }
      answer.body = Array(answer.body.prefix(100_000))
      answer.error = HTTPError(.connectionLost, "broke")
    }
    let (sink, result) = try get(http)
    #expect(throws: Never.self) { try result.get() }
    #expect(sink.bytes.count == object.count)
    #expect(http.requests.count == 21)
    // One byte at a time is not progress.
    let slow = server(object) { answer, _ in
      answer.body = [7]
      answer.error = HTTPError(.connectionLost, "broke")
    }
    let (_, slowResult) = try get(slow)
    #expect(failure { () throws(ObjectStoreError) in try slowResult.get() } != nil)
    #expect(slow.requests.count == 6)
  }

  @Test func anErrorAfterTheLastByteIsNone() throws {
    let http = server(Self.object) { answer, _ in answer.error = HTTPError(.connectionLost, "late") }
    let (sink, result) = try get(http, range: ByteRange(offset: 100, length: 100))
    #expect(throws: Never.self) { try result.get() }
    #expect(sink.bytes == Array(Self.object[100...]))
    #expect(http.requests.count == 1)
  }

  @Test func refusalsNeverReachTheSink() throws {
    let (sink, result) = try get(ScriptedHTTP(.refusal(404, "NoSuchKey")))
    #expect(failure { () throws(ObjectStoreError) in try result.get() }?.code == .notFound)
    #expect(sink.begins.isEmpty && sink.bytes.isEmpty)
  }

  @Test func headsWithMissingFieldsAreCorrupt() throws {
    for headers in [[], objectHeaders(), [HTTPHeader("Content-Length", "5")], objectHeaders(length: -5)] {
      let bucket = try scriptedBucket(ScriptedHTTP(.ok(headers)))
      #expect(failure { () throws(ObjectStoreError) in try bucket.head("key") }?.code == .corruptResponse)
    }
    let weak = try scriptedBucket(ScriptedHTTP(.ok(objectHeaders(etag: "W/\"v1\"", length: 5)))).head("key")
    #expect(weak.etag == ETag("v1"))
  }
}
