/// How often and after which time a failed attempt is repeated: exponential backoff with full jitter.
public struct RetryPolicy: Hashable, Sendable {
  /// Attempts in a row without progress, the first included; at least 1.
  public var maximumAttempts: Int
  /// Upper bound of the first wait, in seconds; doubled for each further one.
  public var baseDelay: Double
  /// Upper bound of every wait, in seconds.
  public var maximumDelay: Double
  /// The longest `Retry-After` that is honoured, in seconds.
  public var maximumRetryAfter: Double

  /// Makes a policy.
  public init(
    maximumAttempts: Int = 6, baseDelay: Double = 0.1, maximumDelay: Double = 8, maximumRetryAfter: Double = 30
  ) {
    self.maximumAttempts = max(1, maximumAttempts)
    self.baseDelay = baseDelay
    self.maximumDelay = maximumDelay
    self.maximumRetryAfter = maximumRetryAfter
  }

  /// How long to wait in seconds after `failures` failed attempts (at least 1), or nil when that was the last.
  /// - Parameters:
  ///   - random: from 0..<1.
  ///   - retryAfter: what the server asked for, in seconds; never waited shorter, up to `maximumRetryAfter`.
  public func delay(afterFailures failures: Int, random: Double, retryAfter: Double? = nil) -> Double? {
    guard failures < maximumAttempts else { return nil }
    var bound = baseDelay
    var doublings = failures - 1
    while doublings > 0 && bound < maximumDelay {
      bound *= 2
      doublings -= 1
    }
    let jitter = min(bound, maximumDelay) * min(max(random, 0), 1)
    return max(jitter, min(retryAfter ?? 0, maximumRetryAfter))
  }
}

/// The tokens that retries cost and successes earn, so that an outage does not multiply the load: when most requests
/// fail, retries stop and each request is tried once. A plain value.
public struct RetryBudget: Hashable, Sendable {
  /// What a retry costs.
  public static let retryCost = 5
  /// What a retry after a timeout costs: it has held a connection for a long time.
  public static let timeoutCost = 10

  /// The most tokens it holds.
  public let capacity: Int
  /// Tokens left.
  public private(set) var tokens: Int

  /// A full budget.
  public init(capacity: Int) {
    self.capacity = max(0, capacity)
    tokens = max(0, capacity)
  }

  /// Takes the tokens for a retry; false when there are too few, and the retry must not be made.
  public mutating func withdraw(_ cost: Int) -> Bool {
    guard tokens >= cost else { return false }
    tokens -= cost
    return true
  }

  /// Gives back what the retry that succeeded had cost; a success at the first attempt earns one token.
  public mutating func succeeded(lastCost: Int?) {
    tokens = min(capacity, tokens + (lastCost ?? 1))
  }
}
