import Basics
import Synchronization

/// A store that passes everything on to another one, except where a script says what goes wrong, and that keeps a record
/// of what it was asked. For tests. Thread-safe.
public final class FailingObjectStore: ObjectStore {
  /// Which operation of the protocol.
  public enum Kind: String, Hashable, Sendable, CaseIterable {
    case headBucket, head, get, list, put, delete, deleteMany, copy
    case createUpload, uploadPart, copyPart, completeUpload, abortUpload, listParts, listUploads
  }

  /// One call of the store.
  public struct Operation: Hashable, Sendable {
    /// What was asked.
    public var kind: Kind
    /// The object it is about (the destination of a copy; the first of many); nil for listings and the bucket.
    public var key: ObjectKey?
    /// The object a copy reads.
    public var source: ObjectKey?
    /// The bytes a GET or the copy of a part asked for; nil for all.
    public var range: ByteRange?
    /// The prefix of a listing.
    public var prefix: String?
    /// The number of the part.
    public var part: Int?
    /// How many of this kind came before, this one included: 1 for the first.
    public var ordinal: Int
  }

  /// What goes wrong with an operation.
  public enum Fault: Sendable {
    /// It fails, and nothing was done.
    case fail(ObjectStoreError.Code)
    /// It is done, and then fails: the answer was lost.
    case loseAnswer(ObjectStoreError.Code)
    /// A GET delivers this many bytes and then fails. For other operations, `fail`.
    case truncate(after: UInt64, ObjectStoreError.Code)
    /// It waits at the gate and then is done.
    case hold(Gate)
    /// It is done, and its answer waits at the gate. For a GET the same as `hold`.
    case holdAnswer(Gate)
    /// It waits at the gate and then fails, and nothing was done.
    case holdThenFail(Gate, ObjectStoreError.Code)
  }

  /// Decides what goes wrong; nil is nothing. Called outside any lock, on the caller's thread.
  public typealias Rule = @Sendable (Operation) -> Fault?

  private struct State {
    var rule: Rule
    var operations: [Operation] = []
    var counts: [Kind: Int] = [:]
  }

  let wrapped: any ObjectStore
  // The only lock; nothing is called while it is held.
  private let state: Mutex<State>

  /// Wraps a store. Without a rule nothing goes wrong.
  public init(wrapping store: any ObjectStore, rule: @escaping Rule = { _ in nil }) {
    wrapped = store
    state = Mutex(State(rule: rule))
  }

  /// The bucket of the wrapped store.
  public var bucket: String { wrapped.bucket }

  /// Everything that was asked so far, in order.
  public var operations: [Operation] { state.withLock { $0.operations } }

  /// How many operations of a kind were asked.
  public func count(_ kind: Kind) -> Int { state.withLock { $0.counts[kind] ?? 0 } }

  /// Replaces the rule for operations to come.
  public func setRule(_ rule: @escaping Rule) { state.withLock { $0.rule = rule } }

  /// Forgets what was asked; ordinals start at 1 again.
  public func forgetOperations() {
    state.withLock {
      $0.operations = []
      $0.counts = [:]
    }
  }

  /// Writes the operation down and asks the rule.
  func fault(
    for kind: Kind, key: ObjectKey? = nil, source: ObjectKey? = nil, range: ByteRange? = nil, prefix: String? = nil,
    part: Int? = nil
  ) -> Fault? {
    let (operation, rule) = state.withLock { state in
      let ordinal = (state.counts[kind] ?? 0) + 1
      state.counts[kind] = ordinal
      let operation = Operation(
        kind: kind, key: key, source: source, range: range, prefix: prefix, part: part, ordinal: ordinal)
      state.operations.append(operation)
      return (operation, state.rule)
    }
    return rule(operation)
  }

  func error(_ code: ObjectStoreError.Code, _ key: ObjectKey?) -> ObjectStoreError {
    ObjectStoreError(code, "The test made this fail.", bucket: bucket, key: key)
  }

  /// Lets `start` run as the fault says.
  func run<Value: Sendable>(
    _ fault: Fault?, _ key: ObjectKey?, _ cancellation: Cancellation?, _ completion: @escaping StoreCompletion<Value>,
    _ start: @escaping @Sendable (@escaping StoreCompletion<Value>) -> Void
  ) {
    switch fault {
    case nil: start(completion)
    case .fail(let code), .truncate(_, let code): completion(.failure(error(code, key)))
    case .loseAnswer(let code):
      let lost = error(code, key)
      start { _ in completion(.failure(lost)) }
    case .hold(let gate):
      let cancelled = error(.cancelled, key)
      gate.pass(cancellation) { passed in
        if passed { start(completion) } else { completion(.failure(cancelled)) }
      }
    case .holdThenFail(let gate, let code):
      let (cancelled, failed) = (error(.cancelled, key), error(code, key))
      gate.pass(cancellation) { completion(.failure($0 ? failed : cancelled)) }
    case .holdAnswer(let gate):
      let cancelled = error(.cancelled, key)
      start { result in gate.pass(cancellation) { completion($0 ? result : .failure(cancelled)) } }
    }
  }
}
