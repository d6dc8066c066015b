import Basics
import CCurl

/// One request from `send` to its completion.
///
/// Made on the caller's thread, then used on the event thread only, which is what makes it Sendable.
final class Transfer: @unchecked Sendable {
  let request: HTTPRequest
  let target: RequestTarget
  let cancellation: Cancellation?
  private let destination: @Sendable (HTTPResponseHead) -> HTTPBodyDestination
  private let completion: Completion<HTTPResponse, HTTPError>

  // From here on: event thread only.

  var id: UInt64 = 0
  var cancellationToken: Int?
  /// There while libcurl works on it.
  var easy: EasyHandle?
  var started: UInt64 = 0
  private var stallDetector: StallDetector?
  private(set) var upload: UploadSource
  /// How often libcurl had a connection and was about to send the request.
  private var attempts = 0
  private var parser: ResponseHeadParser
  private var head: HTTPResponseHead?
  private var framing = BodyFraming.delimited
  private var sink: HTTPBodyDestination?
  private var body: [UInt8] = []
  private var received: UInt64 = 0
  /// What went wrong in a callback; it explains why libcurl then failed.
  private var failure: HTTPError?

  init(
    _ request: HTTPRequest, target: RequestTarget, maximumHeadBytes: Int, cancellation: Cancellation?,
    destination: @escaping @Sendable (HTTPResponseHead) -> HTTPBodyDestination,
    completion: @escaping Completion<HTTPResponse, HTTPError>
  ) {
    self.request = request
    self.target = target
    self.cancellation = cancellation
    self.destination = destination
    self.completion = completion
    upload = UploadSource(request.body)
    parser = ResponseHeadParser(maximumBytes: maximumHeadBytes)
  }

  /// Whom it waits with for its turn.
  var lane: AdmissionQueue.Lane { AdmissionQueue.Lane(host: target.origin, group: request.group) }

  /// Whether a connection stood, so that bytes of the request may have left.
  var wasConnected: Bool { attempts > 0 }

  func beginStallDetection(now: UInt64) {
    guard let stall = request.deadlines.stall else { return }
    stallDetector = StallDetector(
      limit: nanoseconds(stall), bytesPerSecond: request.deadlines.stallBytesPerSecond, now: now)
  }

  func isStalled(now: UInt64) -> Bool {
    guard let easy, stallDetector != nil else { return false }
    return stallDetector?.isStalled(now: now, bytes: easy.bytesMoved) == true
  }

  /// Reports. Called once, at the very end.
  func complete(_ result: Result<HTTPResponse, HTTPError>) {
    cancellation?.removeHandler(cancellationToken)
    completion(result)
  }

  /// An error with the method and the host in its message; the rest of the URL may hold a signature.
  func error(_ code: HTTPError.Code, _ reason: String) -> HTTPError {
    HTTPError(code, "\(request.method.rawValue) \(target.authority): \(reason)", neverSent: !wasConnected)
  }

  // MARK: Callbacks

  /// libcurl is about to send the request; false forbids it.
  ///
  /// When a kept connection turns out to be dead, libcurl sends the request again on a new one. A server may have
  /// acted on the first: only a request that changes nothing may be repeated without the caller's knowledge.
  func willSend(now: UInt64) -> Bool {
    attempts += 1
    guard attempts == 1 || request.method == .get || request.method == .head else {
      failure = error(.connectionLost, "the connection broke before the server answered")
      return false
    }
    beginStallDetection(now: now)
    return true
  }

  func receiveHeadLine(_ line: UnsafeRawBufferPointer) -> Bool {
    switch parser.consume(line) {
    case .more:
      return true
    case .malformed(let reason):
      failure = error(.malformed, reason)
      return false
    case .complete(let head):
      return receive(head)
    }
  }

  private func receive(_ head: HTTPResponseHead) -> Bool {
    framing = BodyFraming(head, method: request.method)
    guard framing != .malformed else {
      failure = error(.malformed, "the length of the response is not clear")
      return false
    }
    self.head = head
    let sink = destination(head)
    self.sink = sink
    if case .collect(let limit) = sink, case .length(let length) = framing {
      guard length <= UInt64(max(0, limit)) else { return refuseLargeBody(limit) }
      // Not more on the word of a server.
      body.reserveCapacity(min(Int(length), 16 << 20))
    }
    return true
  }

  func receiveBody(_ bytes: UnsafeRawBufferPointer) -> Bool {
    received += UInt64(bytes.count)
    switch sink {
    case nil:
      failure = error(.malformed, "a body came before the head of the response")
      return false
    case .collect(let limit):
      guard bytes.count <= limit - body.count else { return refuseLargeBody(limit) }
      body.append(contentsOf: bytes)
      return true
    case .deliver(let deliver):
      if deliver(bytes) { return true }
      failure = error(.rejected, "the receiver refused the body")
      return false
    }
  }

  private func refuseLargeBody(_ limit: Int) -> Bool {
    failure = error(.bodyTooLarge, "the response is larger than \(limit) bytes")
    return false
  }

  func readUpload(into buffer: UnsafeMutableRawBufferPointer) -> Int? {
    if let count = upload.read(into: buffer) { return count }
    failure = error(.bodyUnreadable, "the bytes to send could not be read")
    return nil
  }

  // MARK: Result

  /// What to report when libcurl is done with it.
  func result(_ code: CURLcode, now: UInt64) -> Result<HTTPResponse, HTTPError> {
    if let failure { return .failure(failure) }
    guard code == CURLE_OK else {
      return .failure(curlError(code, now: now))
    }
    guard let head else { return .failure(error(.malformed, "the response has no head")) }
    if case .length(let length) = framing, received != length {
      return .failure(error(.truncated, "the response has \(received) bytes of \(length)"))
    }
    // A server that says yes before it has everything cannot have stored it.
    let sent = easy?.offset(CURLINFO_SIZE_UPLOAD_T) ?? 0
    if (200..<300).contains(head.status), sent < Int64(clamping: upload.length) {
      return .failure(error(.connectionLost, "the server answered before the whole request was sent"))
    }
    return .success(HTTPResponse(head: head, body: body, bodyLength: received))
  }

  private func curlError(_ code: CURLcode, now: UInt64) -> HTTPError {
    let total = request.deadlines.total.map(nanoseconds) ?? .max
    // libcurl counts in milliseconds on its own clock, and may be a little early.
    let circumstances = TransferCircumstances(
      wasConnected: wasConnected, hasHead: head != nil,
      totalDeadlinePassed: now &- started &+ 5_000_000 >= total)
    let errorCode = circumstances.errorCode(code)
    let text = String(cString: curl_easy_strerror(code))
    // libcurl's own text says more, but once a request is under way it may quote what was sent.
    let detail = wasConnected ? "" : easy?.errorMessage ?? ""
    return error(errorCode, detail.isEmpty ? text : detail)
  }
}

/// Seconds as nanoseconds; at least a millisecond, at most about 24 days (what fits libcurl's 32-bit milliseconds).
func nanoseconds(_ seconds: Double) -> UInt64 {
  // The comparison is also false for NaN.
  guard seconds > 0.001 else { return 1_000_000 }
  return UInt64(min(seconds, 2_000_000) * 1e9)
}
