/// What tells that a mount gets on with its work even where it does not answer at the moment.
struct EngineLoad: Hashable, Sendable {
  /// Whether every thread for requests is at work, so that a further request has to wait.
  var isSaturated = false
  /// Requests that were ever taken up.
  var requests: UInt64 = 0
}

/// Whether a mount is alive, decided from checks that go the way of a request and may not come back: a value without I/O,
/// whose caller has the clock.
///
/// An answer is the proof. Without one, a mount whose threads are not even all busy is stuck. If they are, they may well
/// wait for a server that is away, which is no reason to be killed: then it lives as long as something moves (requests
/// that end let others be taken up; bytes that are sent get fewer), and for a while without that.
struct Watchdog: Hashable, Sendable {
  /// Seconds for which nothing may move while all threads are busy: longer than a request is tried on a server that is
  /// away, with all its attempts.
  static let patience = 600.0

  private struct Signs: Hashable, Sendable {
    var requests: UInt64
    var pending: UInt64?
  }

  private var last: Signs?
  private var lastMove = 0.0

  /// - Parameters:
  ///   - answered: whether the last check has come back.
  ///   - pending: bytes that are not in the bucket yet, where known.
  ///   - now: in seconds.
  mutating func isAlive(answered: Bool, load: EngineLoad, pending: UInt64?, at now: Double) -> Bool {
    let signs = Signs(requests: load.requests, pending: pending)
    let moves = answered || signs != last
    last = signs
    if moves { lastMove = now }
    if answered { return true }
    return load.isSaturated && now - lastMove < Self.patience
  }
}

/// For how long the manager is asked to wait while uploads are being finished: a value without I/O, whose caller has the
/// clock.
struct StopExtension: Hashable, Sendable {
  /// Seconds that are asked for each time.
  static let request = 60.0
  /// Seconds without any progress after which no more time is asked for.
  static let patience = 300.0

  private struct Left: Hashable, Sendable {
    var files: Int
    var bytes: UInt64
  }

  private var last: Left?
  private var lastMove: Double?

  /// The time to ask for, in seconds; nil when nothing has moved for too long.
  mutating func request(pending: PendingUploads?, at now: Double) -> Double? {
    // Another error, or another file that cannot be sent, is no progress.
    let left = pending.map { Left(files: $0.files, bytes: $0.bytes) }
    if lastMove == nil || left != last { lastMove = now }
    last = left
    return now - (lastMove ?? now) < Self.patience ? Self.request : nil
  }
}
