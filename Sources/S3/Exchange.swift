import Basics
import HTTPTransport
import ObjectStore
import Synchronization

/// Works through one operation: attempts, waits between them, and one report at the end.
///
/// Thread-safe. `state` is the only lock; nothing is called while it is held. The report is made when no attempt is
/// under way any more, so that nobody writes into a sink whose owner was told that it is over.
final class Exchange<Value: Sendable>: Sendable {
  /// Gets the result, and whether an attempt before the last one may have been applied although it failed.
  typealias Report = @Sendable (Result<Value, ObjectStoreError>, _ mayBeApplied: Bool) -> Void

  private struct State {
    var report: Report?
    var attempts = 0
    var failures = 0
    var lastCost: Int?
    var mayBeApplied = false
    var clockCorrected = false
    var renewals = 0
    var isWaiting = false
    var token: Int?
  }

  /// How often one operation goes on with other credentials: more than one change while it runs is rare, and a server
  /// that refuses all must not be asked for ever.
  private static var maximumRenewals: Int { 3 }

  private let core: ClientCore
  private let counters: RequestCounters?
  private let operation: Operation<Value>
  private let cancellation: Cancellation?
  private let state: Mutex<State>

  private init(
    _ core: ClientCore, _ counters: RequestCounters?, _ operation: Operation<Value>, _ cancellation: Cancellation?,
    _ report: @escaping Report
  ) {
    self.core = core
    self.counters = counters
    self.operation = operation
    self.cancellation = cancellation
    state = Mutex(State(report: report))
  }

  /// Starts an operation.
  static func run(
    _ core: ClientCore, _ metrics: RequestMetrics?, _ operation: Operation<Value>, _ cancellation: Cancellation?,
    _ report: @escaping Report
  ) {
    let exchange = Exchange(core, metrics?.counters(operation.kind), operation, cancellation, report)
    let token = cancellation?.addHandler { exchange.cancelWait() }
    exchange.state.withLock { $0.token = token }
    exchange.attempt()
  }

  private func attempt() {
    if cancellation?.isCancelled == true { return finish(.failure(cancelled)) }
    let credentials: S3Credentials
    do throws(ObjectStoreError) { credentials = try core.credentials.credentials() } catch {
      return finish(.failure(error))
    }
    let offset = core.serverOffset
    let request = operation.request()
    let refused = RefusedBody()
    let operation = operation
    let isRepeated = state.withLock { state in
      state.attempts += 1
      return state.attempts > 1
    }
    let meter = counters.map { AttemptMeter($0, core.time, request, isRepeated: isRepeated) }
    core.http.send(
      core.builder.signed(request, credentials, at: core.serverTime(offset: offset)), cancellation: cancellation,
      destination: { head in
        let destination =
          (200..<300).contains(head.status) ? operation.destination(head) : refused.destination(head)
        return meter?.began(destination) ?? destination
      },
      completion: { result in
        let outcome = Self.outcome(result, refused, operation)
        let failure = self.failure(outcome, offset)
        meter?.ended(result, failure?.error.code)
        self.attemptEnded(outcome, failure, credentials)
      })
  }

  private static func outcome(
    _ result: Result<HTTPResponse, HTTPError>, _ refused: RefusedBody, _ operation: Operation<Value>
  ) -> Result<Outcome<Value>, HTTPError> {
    // A refusal whose body broke off is still that refusal.
    if let refusal = refused.refusal, result.failureCode != .cancelled { return .success(.refused(refusal)) }
    switch result {
    case .success(let response): return .success(operation.read(response))
    case .failure(let error): return operation.salvage(error).map { .success($0) } ?? .failure(error)
    }
  }

  /// What was wrong with an attempt; nil when it was a success.
  /// - Parameter offset: that of the clock by which it was dated. Since then other requests may have corrected it, and a
  ///   body may have taken long to send.
  private func failure(
    _ outcome: Result<Outcome<Value>, HTTPError>, _ offset: Int64
  ) -> AttemptFailure? {
    switch outcome {
    case .success(.value): nil
    case .success(.refused(let refusal)):
      AttemptFailure(
        refusal, region: core.builder.region, forKey: operation.key != nil, now: core.serverTime(offset: offset),
        alsoRetried: operation.alsoRetried)
    case .success(.incomplete(let error)): AttemptFailure(incomplete: error)
    case .success(.failed(let error)): AttemptFailure(final: error)
    case .failure(let error): AttemptFailure(error)
    }
  }

  private func attemptEnded(
    _ outcome: Result<Outcome<Value>, HTTPError>, _ failure: AttemptFailure?, _ credentials: S3Credentials
  ) {
    if let failure { return repeatAfter(failure, credentials) }
    guard case .success(.value(let value)) = outcome else { return }
    core.credentials.noteAccepted(credentials, for: operation.bucket)
    let lastCost = state.withLock { $0.lastCost }
    core.noteSuccess(operation.bucket, lastCost: lastCost)
    finish(.success(value))
  }

  private func repeatAfter(_ failure: AttemptFailure, _ credentials: S3Credentials) {
    if cancellation?.isCancelled == true { return finish(.failure(cancelled)) }
    let progressed = operation.progressed()
    if let serverTime = failure.serverTime, mayCorrectClock() {
      core.correctClock(serverTime: serverTime)
      log(failure, "again with the server's clock")
      return attempt()
    }
    switch failure.remedy {
    case .giveUp: return finish(.failure(failure.error))
    case .renewCredentials(let kind): renewCredentials(failure, kind, credentials)
    case .retry(let cost): retry(failure, cost, progressed: progressed)
    }
  }

  /// True once.
  private func mayCorrectClock() -> Bool {
    state.withLock { state in
      defer { state.clockCorrected = true }
      return !state.clockCorrected
    }
  }

  private func retry(_ failure: AttemptFailure, _ cost: Int, progressed: Bool) {
    let failures = state.withLock { state in
      state.failures = progressed ? 1 : state.failures + 1
      return state.failures
    }
    let delay = core.retry.delay(
      afterFailures: failures, random: core.random(), retryAfter: failure.retryAfter)
    guard let delay, core.mayRetry(operation.bucket, cost) else { return finish(.failure(failure.error)) }
    log(failure, "again in \(Int(delay * 1000)) ms")
    wait(delay, cost, failure)
  }

  /// The bodies of requests are bytes or ranges of files, so that every request can be sent again.
  private func renewCredentials(
    _ failure: AttemptFailure, _ kind: Refusal.OfCredentials, _ credentials: S3Credentials
  ) {
    let wasProven = core.credentials.wereAccepted(credentials)
    let isReplaced = (try? core.credentials.credentials()) != credentials
    let renewals = state.withLock { $0.renewals }
    // Somebody who never got in, and is told that this is not allowed, is refused for what was asked. Not so with a pair
    // that this request was given just now: it may have been replaced again before anybody could use it.
    let isSuspect = kind == .certain || renewals > 0
    guard isSuspect || wasProven || isReplaced else { return finish(.failure(failure.error)) }
    state.withLock { $0.isWaiting = true }
    guard renewals < Self.maximumRenewals else { return finish(.failure(failure.error)) }
    let forbidden = kind == .certain ? nil : operation.bucket ?? ""
    core.credentials.renew(credentials, forbidden: forbidden) { renewal in
      let isOver = self.state.withLock { state in
        state.isWaiting = false
        if renewal == .renewed { state.renewals += 1 }
        return state.report == nil
      }
      if isOver { return }
      switch renewal {
      case .renewed:
        self.log(failure, "again with other credentials")
        self.attempt()
      // They were right a moment ago, or are brand new: one side may not have heard of the change yet.
      case .failed where isSuspect, .unchanged where isSuspect && (wasProven || renewals > 0):
        self.retry(failure, RetryBudget.retryCost, progressed: false)
      case .failed, .unchanged, .impossible: self.finish(.failure(failure.error))
      }
    }
    // The handler may have run before the wait began.
    if cancellation?.isCancelled == true { cancelWait() }
  }

  private func wait(_ delay: Double, _ cost: Int, _ failure: AttemptFailure) {
    state.withLock { state in
      state.lastCost = cost
      state.mayBeApplied = state.mayBeApplied || failure.mayBeApplied
      state.isWaiting = true
    }
    core.http.schedule(after: delay) {
      let goesOn = self.state.withLock { state in
        state.isWaiting = false
        return state.report != nil
      }
      if goesOn { self.attempt() }
    }
    // The handler may have run before the wait began.
    if cancellation?.isCancelled == true { cancelWait() }
  }

  private func cancelWait() {
    if state.withLock({ $0.isWaiting }) { finish(.failure(cancelled)) }
  }

  private func finish(_ result: Result<Value, ObjectStoreError>) {
    let (report, token, mayBeApplied) = state.withLock { state in
      defer { state.report = nil }
      return (state.report, state.token, state.mayBeApplied)
    }
    guard let report else { return }
    cancellation?.removeHandler(token)
    report(result.mapError { $0.about(operation.bucket, operation.key) }, mayBeApplied)
  }

  private var cancelled: ObjectStoreError { ObjectStoreError(.cancelled, "The caller cancelled.") }

  private func log(_ failure: AttemptFailure, _ next: String) {
    core.log.debug(
      "\(operation.kind.rawValue) failed, \(next): \(failure.error.about(operation.bucket, operation.key).description)")
  }
}

extension ObjectStoreError {
  /// The error with bucket and key filled in where they are missing.
  func about(_ bucket: String?, _ key: ObjectKey?) -> ObjectStoreError {
    var error = self
    error.bucket = error.bucket ?? bucket
    error.key = error.key ?? key
    return error
  }
}

extension Result where Failure == HTTPError {
  fileprivate var failureCode: HTTPError.Code? {
    if case .failure(let error) = self { error.code } else { nil }
  }
}

/// The head and the first bytes of the body of an answer that is not a success. Thread-safe.
private final class RefusedBody: Sendable {
  private struct State {
    var head: HTTPResponseHead?
    var body: [UInt8] = []
    var seen = 0
  }

  /// An error document has a few hundred bytes.
  private static let keptBytes = 64 << 10
  /// What is read for the sake of keeping the connection.
  private static let readBytes = 1 << 20

  private let state = Mutex(State())

  var refusal: Refusal? {
    let (head, body) = state.withLock { ($0.head, $0.body) }
    return head.map { Refusal(head: $0, body: body) }
  }

  func destination(_ head: HTTPResponseHead) -> HTTPBodyDestination {
    state.withLock { $0.head = head }
    return .deliver { bytes in
      self.state.withLock { state in
        state.body.append(contentsOf: bytes.prefix(Self.keptBytes - state.body.count))
        state.seen += bytes.count
        return state.seen <= Self.readBytes
      }
    }
  }
}
