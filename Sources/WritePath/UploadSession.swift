import Basics
public import ObjectStore
import Synchronization

/// Where an upload goes and what is stored with it.
public struct UploadTarget: Hashable, Sendable {
  /// The object to make.
  public var key: ObjectKey
  /// What is stored with it.
  public var attributes: ObjectAttributes

  /// Makes a target.
  public init(key: ObjectKey, attributes: ObjectAttributes) {
    self.key = key
    self.attributes = attributes
  }
}

/// A multipart upload of a staged file and the parts the server has. Thread-safe.
///
/// Lock order: `creating` (a gate, held across the request that begins the upload), then `state`.
final class UploadSession: Sendable {
  /// A part as the server has it, and the state of the bytes it was made from.
  struct SentPart {
    var part: UploadedPart
    var change: UInt64
    var length: UInt64
  }

  private struct State {
    var upload: MultipartUpload?
    var parts: [Int: SentPart] = [:]
    var underway = 0
    var abandoned = false
    var waiters: [Semaphore] = []
  }

  let target: UploadTarget
  private let store: any ObjectStore
  private let creating = AccessGate()
  private let state = Mutex(State())
  /// Stops part uploads that nobody wants any more.
  let cancellation = Cancellation()

  init(target: UploadTarget, store: any ObjectStore) {
    self.target = target
    self.store = store
  }

  /// The upload, begun now if it was not.
  func begin() throws(ObjectStoreError) -> MultipartUpload {
    if let upload = state.withLock({ $0.upload }) { return upload }
    return try creating.exclusive { () throws(ObjectStoreError) in
      if let upload = state.withLock({ $0.upload }) { return upload }
      let upload = try store.createUpload(target.key, attributes: target.attributes, cancellation)
      state.withLock { $0.upload = upload }
      return upload
    }
  }

  /// Notes that a part is being sent; false when the session was abandoned.
  func enter() -> Bool {
    state.withLock { state in
      if state.abandoned { return false }
      state.underway += 1
      return true
    }
  }

  /// Notes that a part is no longer being sent.
  func leave() {
    let waiters = state.withLock { state in
      state.underway -= 1
      guard state.underway == 0 else { return [Semaphore]() }
      defer { state.waiters = [] }
      return state.waiters
    }
    for waiter in waiters { waiter.signal() }
  }

  /// Blocks until no part is being sent.
  func drain() {
    let waiter: Semaphore? = state.withLock { state in
      guard state.underway > 0 else { return nil }
      let waiter = Semaphore()
      state.waiters.append(waiter)
      return waiter
    }
    waiter?.wait()
  }

  func record(_ index: Int, _ part: SentPart) {
    state.withLock { $0.parts[index] = part }
  }

  /// Whether the server has the part as of `change`, with that length.
  func has(_ index: Int, change: UInt64, length: UInt64) -> Bool {
    state.withLock { $0.parts[index].map { $0.change == change && $0.length == length } ?? false }
  }

  /// The first `count` parts in order of number.
  func parts(count: Int) -> [UploadedPart] {
    state.withLock { state in (0..<count).compactMap { state.parts[$0]?.part } }
  }

  /// Stops what is being sent and frees the parts on the server, as far as it can be reached.
  func abandon() {
    state.withLock { $0.abandoned = true }
    cancellation.cancel()
    drain()
    guard let upload = state.withLock({ $0.upload }) else { return }
    // A leftover costs storage, not data; listing uploads at the next mount finds it.
    try? store.abortUpload(upload, nil)
  }
}
