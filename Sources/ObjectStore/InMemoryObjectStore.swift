public import Basics
import Synchronization

/// A bucket in memory that behaves as S3 documents it: keys listed in byte order, conditional writes, multipart uploads
/// with a smallest part size, tags that depend on the bytes alone. For tests and for trying things out. Thread-safe.
public final class InMemoryObjectStore: ObjectStore {
  /// Runs a piece of work, now or later, once.
  public typealias Executor = @Sendable (@escaping @Sendable () -> Void) -> Void

  /// What a test may want different from S3.
  public struct Options: Sendable {
    /// The smallest size in bytes of every part but the last of a multipart upload.
    public var minimumPartSize: UInt64
    /// Whether writes obey their condition; false is a server that ignores the headers.
    public var honoursConditions: Bool
    /// Whether completions of multipart uploads obey theirs, too.
    public var honoursConditionsOfCompletions: Bool
    /// Whether listings without a delimiter come in the order of the names between the slashes, as those of a server whose
    /// directories are directories: `a/x` before `a-/x`.
    public var listsByNames = false
    /// Whether a listing can begin in the middle; false is a server that begins with the first key whatever it is asked.
    public var honoursStartAfter = true
    /// Pages without anything on them that a listing begins with, as S3 may send where much was deleted.
    public var emptyPages = 0
    /// Bytes of a GET that are handed to the sink at once.
    public var pieceSize: Int
    /// Where answers are delivered; nil delivers them before the call returns.
    public var executor: Executor?

    /// The options of S3 with answers delivered inline.
    public init(
      minimumPartSize: UInt64 = 5 << 20, honoursConditions: Bool = true, honoursConditionsOfCompletions: Bool = true,
      pieceSize: Int = 64 << 10, executor: Executor? = nil
    ) {
      self.minimumPartSize = minimumPartSize
      self.honoursConditions = honoursConditions
      self.honoursConditionsOfCompletions = honoursConditionsOfCompletions
      self.pieceSize = max(1, pieceSize)
      self.executor = executor
    }
  }

  /// The bucket's name.
  public let bucket: String
  let options: Options
  private let time: TimeSource
  // The only lock; nothing is called while it is held.
  private let state = Mutex(InMemoryBucket())

  /// An empty bucket.
  public init(bucket: String = "memory", options: Options = Options(), time: TimeSource = .system) {
    self.bucket = bucket
    self.options = options
    self.time = time
  }

  /// All keys, in byte order.
  public var keys: [ObjectKey] { state.withLock { $0.sortedKeys } }

  /// The bytes of an object; nil when there is none.
  public func bytes(of key: ObjectKey) -> [UInt8]? { state.withLock { $0.objects[key]?.bytes } }

  /// Multipart uploads that were neither completed nor aborted.
  public var uploadCount: Int { state.withLock { $0.uploads.count } }

  /// Reports what `work` does to the bucket, with this bucket's name in its error.
  func perform<Value: Sendable>(
    _ key: ObjectKey?, _ cancellation: Cancellation?, _ completion: @escaping StoreCompletion<Value>,
    _ work: (inout InMemoryBucket, Timestamp) throws(ObjectStoreError) -> Value
  ) {
    perform(key, cancellation, completion, deliver: { $0 }, work)
  }

  /// The same with something to hand over, outside the lock, before the operation reports.
  func perform<Found: Sendable, Value: Sendable>(
    _ key: ObjectKey?, _ cancellation: Cancellation?, _ completion: @escaping StoreCompletion<Value>,
    deliver: @escaping @Sendable (Found) -> Value,
    _ work: (inout InMemoryBucket, Timestamp) throws(ObjectStoreError) -> Found
  ) {
    let cancelled = ObjectStoreError(.cancelled, "The caller cancelled.", bucket: bucket, key: key)
    if cancellation?.isCancelled == true { return completion(.failure(cancelled)) }
    // Whole seconds, as HTTP's Last-Modified has them: HEAD and listings must tell the same.
    let now = Timestamp(seconds: time.wall.seconds)
    let result: Result<Found, ObjectStoreError> = state.withLock { contents in
      do throws(ObjectStoreError) { return .success(try work(&contents, now)) } catch {
        var error = error
        error.bucket = bucket
        error.key = error.key ?? key
        return .failure(error)
      }
    }
    let report: @Sendable () -> Void = {
      switch result {
      case .success(let found): completion(.success(deliver(found)))
      case .failure(let error): completion(.failure(error))
      }
    }
    guard let executor = options.executor else { return report() }
    executor { cancellation?.isCancelled == true ? completion(.failure(cancelled)) : report() }
  }

  /// The condition as this bucket sees it.
  func effective(_ condition: WriteCondition) -> WriteCondition {
    options.honoursConditions ? condition : .none
  }
}
