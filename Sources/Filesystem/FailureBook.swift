import Logging
import ObjectStore
import Synchronization
import SystemPackage

/// Failures that come in crowds, for a log that people read: the first is one line, and those like it that follow within
/// some seconds are one more, with their number. Thread-safe; its mutex is a leaf.
final class FailureBook: Sendable {
  private struct Kind: Hashable {
    var operation: String
    var code: ObjectStoreError.Code
    /// Nil stands for all objects beyond those that have lines of their own.
    var key: ObjectKey?
  }

  private struct Repeats {
    var count = 0
    var last: ObjectStoreError
  }

  /// Seconds that failures are gathered for.
  static let interval = 10.0
  /// Objects with lines of their own at a time, for one operation and code: a server that is down fails for all.
  static let objects = 16

  private let log: Logger
  private let schedule: @Sendable (_ seconds: Double, _ body: @escaping @Sendable () -> Void) -> Void
  private let recent = Mutex<[Kind: Repeats]>([:])

  /// - Parameter schedule: calls something after a number of seconds, on a thread where it must not block.
  init(
    log: Logger, schedule: @escaping @Sendable (_ seconds: Double, _ body: @escaping @Sendable () -> Void) -> Void
  ) {
    self.log = log
    self.schedule = schedule
  }

  /// Logs a failure as `Logger.report` does, or counts it, and gives the errno to answer.
  func report(_ operation: String, _ error: ObjectStoreError) -> Errno {
    if error.code == .notFound || error.code == .cancelled { return log.report(operation, error) }
    let new: Kind? = recent.withLock { recent in
      var kind = Kind(operation: operation, code: error.code, key: error.key)
      if recent[kind] == nil,
        recent.keys.count(where: { $0.operation == operation && $0.code == error.code })
          >= Self.objects
      {
        kind.key = nil
      }
      if recent[kind] != nil {
        recent[kind]?.count += 1
        recent[kind]?.last = error
        return nil
      }
      recent[kind] = Repeats(last: error)
      return kind
    }
    guard let new else { return Errno(error) }
    watch(new)
    return log.report(operation, error)
  }

  private func watch(_ kind: Kind) {
    schedule(Self.interval) { [weak self] in self?.tell(kind) }
  }

  /// Tells of what has come since, and goes on counting; or forgets it, when nothing has.
  private func tell(_ kind: Kind) {
    let repeats: Repeats? = recent.withLock { recent in
      guard let repeats = recent[kind], repeats.count > 0 else {
        recent[kind] = nil
        return nil
      }
      recent[kind]?.count = 0
      return repeats
    }
    guard let repeats else { return }
    let cause = "\(repeats.last)"
    log.warning("\(kind.operation) failed again", metadata: ["times": "\(repeats.count)", "cause": "\(cause)"])
    watch(kind)
  }
}
