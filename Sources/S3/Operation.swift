import Basics
import HTTPTransport
import ObjectStore

/// What the answer to an attempt comes to.
enum Outcome<Value: Sendable>: Sendable {
  /// The operation is done.
  case value(Value)
  /// The server refused, perhaps in the body of a 200.
  case refused(Refusal)
  /// The answer stopped early; asking again may help.
  case incomplete(ObjectStoreError)
  /// The operation has failed for good.
  case failed(ObjectStoreError)
}

/// An operation on the server, as a description that the exchange works through.
struct Operation<Value: Sendable>: Sendable {
  var kind: RequestKind
  var bucket: String?
  var key: ObjectKey?
  /// The request of the next attempt. Called for each attempt.
  var request: @Sendable () -> S3Request
  /// Where the body of a 2xx answer goes.
  var destination: @Sendable (HTTPResponseHead) -> HTTPBodyDestination
  /// What a complete 2xx answer means.
  var read: @Sendable (HTTPResponse) -> Outcome<Value>
  /// What an answer that broke off may still be good for; nil is nothing.
  var salvage: @Sendable (HTTPError) -> Outcome<Value>? = { _ in nil }
  /// Whether the last attempt came further than those before: then failures are counted from the start again.
  var progressed: @Sendable () -> Bool = { false }
  /// Server codes that are worth another attempt for this operation beside the usual ones.
  var alsoRetried: Set<String> = []
}

extension Operation {
  /// An operation whose answer is collected in memory.
  init(
    _ kind: RequestKind, _ request: S3Request, limit: Int, read: @escaping @Sendable (HTTPResponse) -> Outcome<Value>
  ) {
    self.init(
      kind: kind, bucket: request.bucket, key: request.key, request: { request },
      destination: { _ in .collect(limit: limit) }, read: read)
  }
}

/// Why an attempt failed, and what may be done about it. A plain value.
struct AttemptFailure: Sendable {
  /// What to do next.
  enum Remedy: Hashable, Sendable {
    case giveUp
    /// Wait and send the same again; it costs so much of the retry budget.
    case retry(cost: Int)
    /// Send the same again with other credentials, if there are any.
    case renewCredentials(Refusal.OfCredentials)
  }

  var error: ObjectStoreError
  /// The server's time, when the refusal comes, or may come, from our clock being wrong: then the same is to be sent again
  /// at once, dated by it, if that was not tried. The remedy is for when it was.
  var serverTime: Timestamp?
  var remedy: Remedy
  /// Whether the server may have done what was asked all the same.
  var mayBeApplied: Bool
  /// Seconds the server asks to wait.
  var retryAfter: Double?

  init(_ error: HTTPError) {
    self.error = ObjectStoreError(error)
    mayBeApplied = !error.neverSent
    remedy = .giveUp
    if error.isTransient {
      remedy = .retry(cost: error.isTimeout ? RetryBudget.timeoutCost : RetryBudget.retryCost)
    }
  }

  init(incomplete error: ObjectStoreError) {
    self.error = error
    mayBeApplied = true
    remedy = .retry(cost: RetryBudget.retryCost)
  }

  init(final error: ObjectStoreError) {
    self.error = error
    mayBeApplied = true
    remedy = .giveUp
  }

  /// - Parameter now: the time at which the answer came, by the clock that has dated the request.
  init(_ refusal: Refusal, region: String, forKey: Bool, now: Timestamp, alsoRetried: Set<String>) {
    error = refusal.error(asked: region, forKey: forKey)
    // A refusal is an answer, but a server that fails may do so after the work.
    mayBeApplied = refusal.status >= 500 || refusal.status < 300 || refusal.status == 408
    serverTime = refusal.clockCorrection(now: now)
    remedy = .giveUp
    if refusal.isTransient || refusal.code.map(alsoRetried.contains) == true {
      remedy = .retry(cost: RetryBudget.retryCost)
      retryAfter = refusal.secondsToWait(now: now)
    } else if let kind = refusal.ofCredentials {
      remedy = .renewCredentials(kind)
    }
  }
}

extension Refusal {
  /// How far a refusal is about the credentials.
  enum OfCredentials: Hashable, Sendable {
    /// It says that it does not know or trust them.
    case certain
    /// It may also be about what was asked.
    case possible
  }

  /// Whether other credentials may help.
  var ofCredentials: OfCredentials? {
    switch code {
    case "RequestTimeTooSkewed", "RequestExpired": nil
    case "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "TokenRefreshRequired": .certain
    // An answer to HEAD has no code.
    default: status == 401 ? .certain : status == 403 ? .possible : nil
    }
  }

  /// The server's time, when its refusal comes, or may come, from our clock being wrong.
  func clockCorrection(now: Timestamp) -> Timestamp? {
    guard let serverTime = date.flatMap(parseHTTPDate) else { return nil }
    if code == "RequestTimeTooSkewed" || code == "RequestExpired" { return serverTime }
    // An answer to HEAD has no code, and rclone's is AccessDenied. S3 allows 15 minutes; nobody is minutes off by
    // accident of the network, and one more attempt with the right date does no harm.
    let isFarOff = abs(serverTime.seconds - now.seconds) > 240
    return isFarOff && (status == 403 || status == 400) ? serverTime : nil
  }

  /// What `Retry-After` says (RFC 9110, section 10.2.3): seconds, or a date.
  func secondsToWait(now: Timestamp) -> Double? {
    guard let retryAfter else { return nil }
    if let seconds = UInt32(retryAfter) { return Double(seconds) }
    guard let until = parseHTTPDate(retryAfter) else { return nil }
    let base = date.flatMap(parseHTTPDate) ?? now
    return Double(max(0, until.seconds - base.seconds))
  }
}
