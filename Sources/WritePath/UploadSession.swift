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
/// A part is claimed while it is sent, so that the same part never travels twice at once: the server keeps the last that
/// arrived, and nobody can tell which that was. While the upload is completed no part is sent at all.
///
/// Lock order: `creating` (a gate, held across the request that begins the upload), then `state`.
final class UploadSession: Sendable {
  /// A part as the server has it, and the state of the bytes it was made from.
  struct SentPart {
    var part: UploadedPart
    var change: UInt64
    var length: UInt64
  }

  fileprivate enum Phase { case open, sealed, abandoned }

  fileprivate struct State {
    var upload: MultipartUpload?
    var parts: [Int: SentPart] = [:]
    var phase = Phase.open
    /// Parts that are being sent now.
    var claimed: Set<Int> = []
    /// Woken by every part that was sent.
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

  /// Claims a part for the caller, who calls `release` when it was sent; blocks while another sends it.
  /// - Returns: false when the upload takes no parts now.
  func claim(_ index: Int) -> Bool {
    while true {
      let (isClaimed, other): (Bool, Semaphore?) = state.withLock { state in
        guard state.phase == .open else { return (false, nil) }
        return state.claimed.insert(index).inserted ? (true, nil) : (false, state.waiter())
      }
      guard let other else { return isClaimed }
      other.wait()
    }
  }

  /// Ends a claim.
  func release(_ index: Int) {
    let waiters = state.withLock { state in
      state.claimed.remove(index)
      defer { state.waiters = [] }
      return state.waiters
    }
    for waiter in waiters { waiter.signal() }
  }

  /// Lets no part be sent any more until `reopen`; blocks until none is.
  func seal() {
    state.withLock { if $0.phase == .open { $0.phase = .sealed } }
    waitUntilIdle()
  }

  /// Takes parts again after `seal`.
  func reopen() {
    state.withLock { if $0.phase == .sealed { $0.phase = .open } }
  }

  private func waitUntilIdle() {
    while let waiter = state.withLock({ $0.claimed.isEmpty ? nil : $0.waiter() }) { waiter.wait() }
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
    state.withLock { $0.phase = .abandoned }
    cancellation.cancel()
    waitUntilIdle()
    guard let upload = state.withLock({ $0.upload }) else { return }
    // A leftover costs storage, not data; listing uploads at the next mount finds it.
    try? store.abortUpload(upload, nil)
  }
}

extension UploadSession.State {
  fileprivate mutating func waiter() -> Semaphore {
    let waiter = Semaphore()
    waiters.append(waiter)
    return waiter
  }
}
