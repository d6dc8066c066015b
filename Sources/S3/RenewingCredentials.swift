import Basics
public import ObjectStore
import Synchronization

/// Credentials that are fetched anew when the server no longer accepts them: once for all requests that were refused.
///
/// Thread-safe. `state` is the only lock, taken alone; nothing is called while it is held. The fetch blocks a thread of
/// its own, which lives no longer than that.
public final class RenewingCredentials: CredentialsProvider {
  private struct State {
    var current: S3Credentials
    var accepted: S3Credentials?
    /// Who waits for the fetch that is under way; nil when none is.
    var waiting: [@Sendable (CredentialRenewal) -> Void]?
    /// The buckets that have let somebody in.
    var open: Set<String> = []
    var quiet: [Refused: Quiet] = [:]

    func refused(_ forbidden: String?) -> Refused {
      guard let forbidden else { return .credentials }
      return open.contains(forbidden) ? .bucket(forbidden) : .otherBuckets
    }
  }

  /// What a refusal may be about. Fetches that brought nothing new are counted for each, since a bucket that may not be
  /// read must not keep a new pair from the others; but all that have let nobody in yet are counted as one, since there
  /// may be hundreds of them.
  private enum Refused: Hashable {
    case credentials
    case bucket(String)
    case otherBuckets

    /// The longest time in which nobody is asked again, in seconds. The first request to a bucket may be the first of
    /// all after a change.
    var longestQuiet: Double { self == .otherBuckets ? 30 : 300 }
  }

  /// A time in which nobody is asked again.
  private struct Quiet {
    /// What the last fetch came to, and until when on the monotonic clock (nanoseconds) that is believed.
    var last = CredentialRenewal.unchanged
    var until: UInt64 = 0
    /// The length of the next quiet time, in seconds.
    var length = firstQuiet

    mutating func begin(_ renewal: CredentialRenewal, now: UInt64, longest: Double) {
      last = renewal
      until = now + UInt64((renewal == .unchanged ? length : firstQuiet) * 1e9)
      if renewal == .unchanged { length = min(2 * length, longest) }
    }
  }

  /// For how long nobody is asked again after an answer that brought nothing new, in seconds; doubled with each further
  /// one. Requests that are refused for another reason must not become a stream of questions.
  private static let firstQuiet = 1.0

  private let state: Mutex<State>
  private let time: TimeSource
  private let fetch: @Sendable () -> S3Credentials?

  /// Makes a provider.
  /// - Parameters:
  ///   - first: the credentials to begin with.
  ///   - fetch: gets those that count now; nil when nobody can be asked. It may block.
  public init(_ first: S3Credentials, time: TimeSource = .system, fetch: @escaping @Sendable () -> S3Credentials?) {
    state = Mutex(State(current: first))
    self.time = time
    self.fetch = fetch
  }

  /// Those that were fetched last.
  public func credentials() throws(ObjectStoreError) -> S3Credentials { state.withLock { $0.current } }

  /// See `CredentialsProvider.noteAccepted`.
  public func noteAccepted(_ credentials: S3Credentials, for bucket: String?) {
    state.withLock { state in
      if state.accepted != credentials { state.accepted = credentials }
      if let bucket, !state.open.contains(bucket) { state.open.insert(bucket) }
    }
  }

  /// See `CredentialsProvider.wereAccepted`.
  public func wereAccepted(_ credentials: S3Credentials) -> Bool { state.withLock { $0.accepted == credentials } }

  /// See `CredentialsProvider.renew`.
  public func renew(
    _ refused: S3Credentials, forbidden: String?, _ completion: @escaping @Sendable (CredentialRenewal) -> Void
  ) {
    enum Step { case report(CredentialRenewal), start, wait }
    let now = time.monotonic
    let step = state.withLock { state -> Step in
      // Somebody was quicker.
      guard state.current == refused else { return .report(.renewed) }
      if state.waiting != nil {
        state.waiting?.append(completion)
        return .wait
      }
      if let quiet = state.quiet[state.refused(forbidden)], now < quiet.until { return .report(quiet.last) }
      state.waiting = [completion]
      return .start
    }
    switch step {
    case .report(let renewal): completion(renewal)
    case .wait: break
    case .start:
      let thread = Thread.start(name: "waysfs-keys") { self.end(self.fetch(), forbidden) }
      guard let thread else { return end(nil, forbidden) }
      thread.detach()
    }
  }

  private func end(_ fetched: S3Credentials?, _ forbidden: String?) {
    let now = time.monotonic
    let (renewal, waiting) = state.withLock { state in
      defer { state.waiting = nil }
      let renewal: CredentialRenewal
      switch fetched {
      case nil: renewal = .failed
      case state.current?: renewal = .unchanged
      case let fetched?:
        renewal = .renewed
        state.current = fetched
        state.quiet = [:]
      }
      if renewal != .renewed {
        let refused = state.refused(forbidden)
        state.quiet[refused, default: Quiet()].begin(renewal, now: now, longest: refused.longestQuiet)
      }
      return (renewal, state.waiting ?? [])
    }
    for completion in waiting { completion(renewal) }
  }
}
