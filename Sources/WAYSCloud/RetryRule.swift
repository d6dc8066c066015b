import HTTPTransport

/// Decides whether and when a call is tried again. Times are in seconds.
struct RetryRule: Sendable {
  /// How often a call is sent at most.
  var attempts = 4
  /// The upper end of the first wait; doubled with each further one.
  var firstWait = 0.2
  /// The upper end of any wait.
  var longestWait = 5.0
  /// A caller who waits would take a longer one for a hang: it is reported instead.
  var longestRetryAfter = 30.0

  /// Whether a call that changes something may only be repeated when it certainly was not applied.
  enum Kind: Sendable {
    case idempotent
    case change
  }

  /// How long to wait before the next attempt after a failed transfer; nil to give up.
  /// - Parameters:
  ///   - attempt: how often it was sent, from 1.
  ///   - random: a number in 0..<1.
  func wait(afterAttempt attempt: Int, _ kind: Kind, _ error: HTTPError, random: Double) -> Double? {
    guard attempt < attempts else { return nil }
    switch error.code {
    case .unresolved, .unreachable, .connectTimedOut, .connectionLost, .truncated, .stalled: break
    // The rest would fail the same way again, or is over.
    case .invalidRequest, .tls, .timedOut, .malformed, .bodyTooLarge, .rejected, .bodyUnreadable, .cancelled,
      .shutDown:
      return nil
    }
    guard kind == .idempotent || error.neverSent else { return nil }
    return jitter(attempt, random)
  }

  /// How long to wait before the next attempt after an answer; nil to take it as it is.
  func wait(afterAttempt attempt: Int, _ kind: Kind, _ head: HTTPResponseHead, random: Double) -> Double? {
    guard attempt < attempts else { return nil }
    switch head.status {
    // Refused before anything was done (RFC 6585), so that a change can be repeated, too.
    case 429: break
    case 500, 502, 503, 504: guard kind == .idempotent else { return nil }
    default: return nil
    }
    guard let asked = retryAfter(head) else { return jitter(attempt, random) }
    guard asked <= longestRetryAfter else { return nil }
    // A little later than asked, so that not all clients come back at once.
    return asked + jitter(1, random)
  }

  private func jitter(_ attempt: Int, _ random: Double) -> Double {
    var limit = firstWait
    for _ in 1..<max(attempt, 1) where limit < longestWait { limit *= 2 }
    return min(limit, longestWait) * random
  }
}
