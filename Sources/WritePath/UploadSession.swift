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
    var planned: UploadPlan.Part
    /// The last change of its bytes; of no meaning for a copy.
    var change: UInt64
  }

  fileprivate enum Phase { case open, sealed, abandoned }

  fileprivate struct State {
    var upload: MultipartUpload?
    /// By number.
    var parts: [Int: SentPart] = [:]
    var phase = Phase.open
    /// Parts that are being sent now.
    var claimed: Set<Int> = []
    /// Woken by every part that was sent.
    var waiters: [Semaphore] = []
    /// Parts that were handed to the workers while the file grows, and are not sent yet.
    var streaming = 0
    /// One of them could not be sent: no more leave before the file is closed.
    var streamFailed = false
    /// Parts that an earlier mount sent; nil when there are none, or when it was found out which of them count.
    var unverified: [RecordedPart]?
  }

  let target: UploadTarget
  private let store: any ObjectStore
  /// Told of the upload as soon as there is one, before any part is sent.
  private let began: @Sendable (MultipartUpload) -> Void
  private let creating = AccessGate()
  private let state = Mutex(State())
  /// Stops part uploads that nobody wants any more.
  let cancellation = Cancellation()

  init(
    target: UploadTarget, store: any ObjectStore, began: @escaping @Sendable (MultipartUpload) -> Void = { _ in }
  ) {
    self.target = target
    self.store = store
    self.began = began
  }

  /// An upload that an earlier mount began.
  init(resuming recorded: RecordedUpload, _ target: UploadTarget, _ store: any ObjectStore) {
    self.target = target
    self.store = store
    began = { _ in }
    state.withLock { state in
      state.upload = recorded.upload
      state.unverified = recorded.parts
    }
  }

  /// The upload; nil when it was not begun.
  var upload: MultipartUpload? { state.withLock { $0.upload } }

  /// The parts of an earlier mount, to be verified; they are given out once.
  func takeUnverified() -> [RecordedPart]? {
    state.withLock { state in
      defer { state.unverified = nil }
      return state.unverified
    }
  }

  /// The upload, begun now if it was not.
  func begin() throws(ObjectStoreError) -> MultipartUpload {
    if let upload = state.withLock({ $0.upload }) { return upload }
    return try creating.exclusive { () throws(ObjectStoreError) in
      if let upload = state.withLock({ $0.upload }) { return upload }
      let upload = try store.createUpload(target.key, attributes: target.attributes, cancellation)
      state.withLock { $0.upload = upload }
      began(upload)
      return upload
    }
  }

  /// Claims a part for the caller, who calls `release` when it was sent; blocks while another sends it.
  /// - Returns: false when the upload takes no parts now.
  func claim(_ number: Int) -> Bool {
    while true {
      let (isClaimed, other): (Bool, Semaphore?) = state.withLock { state in
        guard state.phase == .open else { return (false, nil) }
        return state.claimed.insert(number).inserted ? (true, nil) : (false, state.waiter())
      }
      guard let other else { return isClaimed }
      other.wait()
    }
  }

  /// Ends a claim.
  func release(_ number: Int) {
    let waiters = state.withLock { state in
      state.claimed.remove(number)
      return state.takeWaiters()
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

  func record(_ part: SentPart) {
    state.withLock { $0.parts[part.planned.number] = part }
  }

  /// Whether the server has the part as planned, of the bytes as of `change`.
  func has(_ planned: UploadPlan.Part, change: UInt64) -> Bool {
    state.withLock { $0.parts[planned.number]?.isOf(planned, change: change) ?? false }
  }

  /// All parts of a plan in order of number; nil when one is missing.
  func parts(of plan: UploadPlan) -> [UploadedPart]? {
    state.withLock { state in
      let parts = plan.parts.compactMap { planned in
        state.parts[planned.number].flatMap { $0.planned == planned ? $0.part : nil }
      }
      return parts.count == plan.parts.count ? parts : nil
    }
  }

  /// Bytes in parts that the server has, and whether any is on its way.
  var progress: (sent: UInt64, isSending: Bool) {
    state.withLock { state in
      let sent = state.parts.values.reduce(0) { $0 + UInt64($1.planned.range.count) }
      return (sent, !state.claimed.isEmpty)
    }
  }

  // MARK: Streaming

  /// Notes that a part was handed to the workers.
  func streamBegins() { state.withLock { $0.streaming += 1 } }

  /// Notes that a part handed to the workers was sent, or could not be.
  func streamEnds(failed: Bool) {
    let waiters = state.withLock { state in
      state.streaming -= 1
      if failed { state.streamFailed = true }
      return state.takeWaiters()
    }
    for waiter in waiters { waiter.signal() }
  }

  /// Whether parts may leave before the file is closed.
  var mayStream: Bool { state.withLock { $0.phase == .open && !$0.streamFailed } }

  /// Blocks while more than `limit` parts wait for the network, unless it is of no use to wait.
  func waitForStream(limit: Int) {
    while true {
      let waiter: Semaphore? = state.withLock { state in
        guard state.streaming > limit, !state.streamFailed, state.phase == .open else { return nil }
        return state.waiter()
      }
      guard let waiter else { return }
      waiter.wait()
    }
  }

  /// Stops what is being sent and frees the parts on the server, as far as it can be reached.
  /// - Returns: the upload, when the server still has it.
  func abandon() -> MultipartUpload? {
    let waiters = state.withLock { state in
      state.phase = .abandoned
      return state.takeWaiters()
    }
    for waiter in waiters { waiter.signal() }
    cancellation.cancel()
    waitUntilIdle()
    guard let upload else { return nil }
    do throws(ObjectStoreError) {
      try store.abortUpload(upload, nil)
      return nil
    } catch {
      return upload
    }
  }
}

extension UploadSession.SentPart {
  /// Whether it is what the plan asks for, of the newest bytes.
  fileprivate func isOf(_ planned: UploadPlan.Part, change: UInt64) -> Bool {
    self.planned == planned && (planned.isCopy || self.change == change)
  }
}

extension UploadSession.State {
  fileprivate mutating func takeWaiters() -> [Semaphore] {
    defer { waiters = [] }
    return waiters
  }

  fileprivate mutating func waiter() -> Semaphore {
    let waiter = Semaphore()
    waiters.append(waiter)
    return waiter
  }
}
