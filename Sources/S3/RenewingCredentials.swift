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
    /// What the last fetch came to, and until when on the monotonic clock (nanoseconds) that is believed.
    var last = CredentialRenewal.unchanged
    var quietUntil: UInt64 = 0
    /// The length of the next quiet time, in seconds.
    var quiet = firstQuiet
  }

  /// For how long nobody is asked again after an answer that brought nothing new, in seconds; doubled with each further
  /// one. Requests that are refused for another reason must not become a stream of questions.
  private static let firstQuiet = 1.0
  private static let longestQuiet = 300.0

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
  public func noteAccepted(_ credentials: S3Credentials) {
    state.withLock { if $0.accepted != credentials { $0.accepted = credentials } }
  }

  /// See `CredentialsProvider.wereAccepted`.
  public func wereAccepted(_ credentials: S3Credentials) -> Bool { state.withLock { $0.accepted == credentials } }

  /// See `CredentialsProvider.renew`.
  public func renew(_ refused: S3Credentials, _ completion: @escaping @Sendable (CredentialRenewal) -> Void) {
    enum Step { case report(CredentialRenewal), start, wait }
    let now = time.monotonic
    let step = state.withLock { state -> Step in
      // Somebody was quicker.
      guard state.current == refused else { return .report(.renewed) }
      if state.waiting != nil {
        state.waiting?.append(completion)
        return .wait
      }
      guard now >= state.quietUntil else { return .report(state.last) }
      state.waiting = [completion]
      return .start
    }
    switch step {
    case .report(let renewal): completion(renewal)
    case .wait: break
    case .start:
      guard let thread = Thread.start(name: "waysfs-keys", { self.end(self.fetch()) }) else { return end(nil) }
      thread.detach()
    }
  }

  private func end(_ fetched: S3Credentials?) {
    let now = time.monotonic
    let (renewal, waiting) = state.withLock { state in
      defer { state.waiting = nil }
      let renewal: CredentialRenewal
      switch fetched {
      case nil:
        renewal = .failed
        state.quietUntil = now + UInt64(Self.firstQuiet * 1e9)
      case state.current?:
        renewal = .unchanged
        state.quietUntil = now + UInt64(state.quiet * 1e9)
        state.quiet = min(2 * state.quiet, Self.longestQuiet)
      case let fetched?:
        renewal = .renewed
        state.current = fetched
        state.quiet = Self.firstQuiet
        state.quietUntil = 0
      }
      state.last = renewal
      return (renewal, state.waiting ?? [])
    }
    for completion in waiting { completion(renewal) }
  }
}
