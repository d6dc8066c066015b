import Basics
import HTTPTransport
import ObjectStore
import Synchronization

/// The state of one GET over all its attempts: what was delivered, and what the next attempt has to ask for.
///
/// Every attempt after the first answer is pinned to the version of that answer, begins at the first byte that was not
/// delivered, and is checked against what was asked: bytes of another version, or from another place, are never passed
/// on. Thread-safe; the sink is called outside the lock, by one attempt at a time.
final class Download: Sendable {
  private struct State {
    var metadata: ObjectMetadata?
    /// The first byte not yet delivered.
    var next: UInt64
    /// One past the last byte to deliver; known with the first answer, before that what was asked.
    var end: UInt64
    /// Where in the object the next byte of the current answer belongs, and where that answer ends.
    var position: UInt64 = 0
    var answerEnd: UInt64 = 0
    /// What is wrong with the current answer.
    var problem: ObjectStoreError?
    var progressMark: UInt64

    var isComplete: Bool { metadata != nil && next == end }
  }

  /// Fewer bytes than these do not count as progress, lest a server that gives one at a time keeps us for ever.
  private static let progressBytes: UInt64 = 64 << 10

  private let request: GetRequest
  private let sink: any ObjectSink
  private let plainRequest: S3Request
  private let state: Mutex<State>

  init(_ request: GetRequest, _ sink: any ObjectSink, plain: S3Request) {
    self.request = request
    self.sink = sink
    plainRequest = plain
    let start = request.range?.offset ?? 0
    state = Mutex(State(next: start, end: request.range?.end ?? .max, progressMark: start))
  }

  func nextRequest() -> S3Request {
    let (pinned, next, end) = state.withLock { ($0.metadata?.etag ?? request.ifMatch, $0.next, $0.end) }
    var attempt = plainRequest
    if request.range != nil || next > 0 {
      attempt.headers.append(HTTPHeader("Range", "bytes=\(next)-\(end == .max ? "" : String(end - 1))"))
    }
    if let pinned { attempt.headers.append(HTTPHeader("If-Match", pinned.quoted)) }
    return attempt
  }

  /// Looks at the head of an answer and says where its body goes.
  func begin(_ head: HTTPResponseHead) -> HTTPBodyDestination {
    let beginning: Beginning?
    do throws(ObjectStoreError) {
      beginning = try state.withLock { state throws(ObjectStoreError) in
        state.problem = nil
        return try accept(head, &state)
      }
    } catch {
      state.withLock { $0.problem = error }
      return .deliver { _ in false }
    }
    if let beginning { sink.begin(metadata: beginning.metadata, range: beginning.range) }
    return .deliver { self.receive($0) }
  }

  private struct Beginning {
    var metadata: ObjectMetadata
    var range: ByteRange
  }

  /// Checks an answer against what was asked; returns what the sink has to be told, the first time.
  private func accept(_ head: HTTPResponseHead, _ state: inout State) throws(ObjectStoreError) -> Beginning? {
    let answer = try placement(head, asked: request.range != nil || state.next > 0)
    guard let metadata = MetadataParser.metadata(head, size: answer.size) else {
      throw corrupt("The tag or the date is missing.", head)
    }
    if let pinned = state.metadata?.etag ?? request.ifMatch, pinned != metadata.etag {
      throw ObjectStoreError(
        .preconditionFailed, "The object was changed while it was being read.", httpStatus: head.status)
    }
    if let known = state.metadata {
      guard known.size == metadata.size else { throw corrupt("The length changed, the tag did not.", head) }
    } else {
      let whole = ByteRange(offset: 0, length: answer.size)
      guard let range = request.range == nil ? whole : request.range?.clipped(to: answer.size) else {
        throw ObjectStoreError(
          .invalidRange, "The range begins behind the end of the object.", httpStatus: head.status)
      }
      state.end = range.end
    }
    // A part must begin where we stopped; the whole object may be given instead, and is skipped up to there.
    let isWhole = answer.range.offset == 0 && answer.range.length == answer.size
    guard isWhole || (answer.range.offset == state.next && answer.range.end <= state.end) else {
      throw corrupt("Other bytes were sent than were asked for.", head)
    }
    state.position = answer.range.offset
    state.answerEnd = answer.range.end
    guard state.metadata == nil else { return nil }
    state.metadata = metadata
    return Beginning(metadata: metadata, range: ByteRange(offset: state.next, length: state.end - state.next))
  }

  /// Which bytes an answer has, and of how many. The place counts, not the status: rclone sends parts with a 200.
  private func placement(
    _ head: HTTPResponseHead, asked: Bool
  ) throws(ObjectStoreError) -> (range: ByteRange, size: UInt64) {
    guard head.status == 200 || (head.status == 206 && asked) else {
      throw corrupt("The status is \(head.status).", head)
    }
    let length = MetadataParser.contentLength(head)
    guard let place = head["content-range"] else {
      guard head.status == 200, let length else { throw corrupt("The place or the length is missing.", head) }
      return (ByteRange(offset: 0, length: length), length)
    }
    guard let (range, size) = MetadataParser.contentRange(place), length == nil || length == range.length else {
      throw corrupt("The place of the bytes is malformed.", head)
    }
    return (range, size)
  }

  /// Passes on what belongs to the range; false ends the transfer.
  private func receive(_ bytes: UnsafeRawBufferPointer) -> Bool {
    let count = UInt64(bytes.count)
    let (piece, offset, goesOn) = state.withLock { state -> (Range<Int>, UInt64, Bool) in
      guard count <= state.answerEnd - state.position else {
        state.problem = ObjectStoreError(.corruptResponse, "The server sent more bytes than it announced.")
        return (0..<0, 0, false)
      }
      let first = min(max(state.next, state.position), state.position + count)
      let last = max(first, min(state.end, state.position + count))
      let skipped = Int(first - state.position)
      state.position += count
      if last > first { state.next = last }
      // The rest of an object that was sent whole is not worth the transfer.
      let goesOn = state.next < state.end || state.answerEnd == state.end
      return (skipped..<(skipped + Int(last - first)), first, goesOn)
    }
    if !piece.isEmpty { sink.receive(UnsafeRawBufferPointer(rebasing: bytes[piece]), at: offset) }
    return goesOn
  }

  func end(_ response: HTTPResponse) -> Outcome<ObjectMetadata> {
    let (problem, metadata, isComplete) = state.withLock { ($0.problem, $0.metadata, $0.isComplete) }
    if let problem { return .failed(problem) }
    if isComplete, let metadata { return .value(metadata) }
    return .incomplete(corrupt("It ended before the last byte.", response.head))
  }

  func salvage(_ error: HTTPError) -> Outcome<ObjectMetadata>? {
    let (problem, metadata, isComplete) = state.withLock { ($0.problem, $0.metadata, $0.isComplete) }
    if let problem { return error.code == .cancelled ? nil : .failed(problem) }
    return isComplete ? metadata.map { .value($0) } : nil
  }

  func progressed() -> Bool {
    state.withLock { state in
      guard state.next - state.progressMark >= Self.progressBytes else { return false }
      state.progressMark = state.next
      return true
    }
  }

  private func corrupt(_ reason: String, _ head: HTTPResponseHead) -> ObjectStoreError {
    HTTPResponse(head: head).corrupt(reason)
  }
}
