public import Basics
import Logging
public import ObjectStore
import Synchronization

/// What an upload made.
public struct UploadOutcome: Hashable, Sendable {
  /// The new version.
  public var etag: ETag
  /// Its length in bytes.
  public var size: UInt64
  /// What was stored with it: for a file whose parts left before it was closed, the attributes of that time.
  public var attributes: ObjectAttributes
}

/// What an upload is to do.
struct UploadOrder {
  var target: UploadTarget
  var condition: WriteCondition
  var conditions: ConditionalWrites
  var cancellation: Cancellation?
  /// Keeps the writers out to the end, and the file is retired with its success.
  var retires: Bool
}

extension StagedFile {
  /// Puts the file into the bucket, whole; blocks until it is there.
  ///
  /// Writers may go on meanwhile: what they change is sent again, and if they do not stop they have to wait for a last
  /// round. When it throws, the file is as dirty as before and nothing of it is visible in the bucket.
  /// - Parameter retires: keeps the writers out all the while; once the bytes are in the bucket, every write fails with
  ///   ESTALE. For a file whose bytes go where no later upload will follow them.
  public func upload(
    to target: UploadTarget, condition: WriteCondition, conditions: ConditionalWrites,
    retires: Bool = false, _ cancellation: Cancellation? = nil
  ) throws(WriteError) -> UploadOutcome {
    let order = UploadOrder(
      target: target, condition: condition, conditions: conditions, cancellation: cancellation, retires: retires)
    return try uploading.exclusive { () throws(WriteError) in
      let attempts = 3
      for attempt in 1...attempts {
        do throws(WriteError) {
          if let failure { throw .incomplete(failure) }
          if size <= PartLayout.firstPartSize, let outcome = try uploadWhole(order) { return outcome }
          return try uploadInParts(order)
        } catch {
          guard attempt < attempts, case .store(let cause) = error, startsAgain(after: cause) else { throw error }
          abandonSession()
        }
      }
      throw .store(ObjectStoreError(.conflict, "the upload did not come to an end", key: target.key))
    }
  }

  /// Whether a new upload may succeed where this one did not.
  private func startsAgain(after error: ObjectStoreError) -> Bool {
    switch error.code {
    // S3 answers 409 to a conditional write that met another: the whole operation is to be made again.
    case .conflict, .noSuchUpload: return true
    // The server cannot copy parts. What it made of the attempt may not be replaceable, hence the new upload.
    case .unsupported:
      return state.withLock { state in
        defer { state.copiesParts = false }
        return state.copiesParts
      }
    default: return false
    }
  }

  // MARK: One PUT

  /// Nil when the file has grown past what one PUT takes.
  private func uploadWhole(_ order: UploadOrder) throws(WriteError) -> UploadOutcome? {
    abandonSession()
    if order.retires {
      return try writing.exclusive { () throws(WriteError) in
        try fill(0..<size, writersWait: true, order.cancellation)
        return try put(try snapshot(), order)
      }
    }
    try fill(0..<size, order.cancellation)
    return try put(try writing.exclusive { () throws(WriteError) in try snapshot() }, order)
  }

  private struct Snapshot {
    var bytes: [UInt8]
    var changes: UInt64
  }

  /// All bytes of a small file, while the writers are kept out.
  private func snapshot() throws(WriteError) -> Snapshot? {
    let (size, changes, failure) = state.withLock { ($0.size, $0.changes, $0.failure) }
    if let failure { throw .incomplete(failure) }
    guard size <= PartLayout.firstPartSize else { return nil }
    var bytes = [UInt8](repeating: 0, count: size.asInt)
    let count: Int
    do {
      count = try bytes.withUnsafeMutableBytes { try readHere(into: $0, at: 0) }
    } catch {
      throw error as? WriteError ?? .staging(.ioError)
    }
    // The staging file was cut by somebody else: what is left is not the file.
    guard count == bytes.count else { throw .staging(.ioError) }
    return Snapshot(bytes: bytes, changes: changes)
  }

  private func put(_ snapshot: Snapshot?, _ order: UploadOrder) throws(WriteError) -> UploadOutcome? {
    guard let snapshot else { return nil }
    let request = PutRequest(
      order.target.key, body: .bytes(snapshot.bytes), attributes: order.target.attributes, condition: order.condition)
    let result = try inStore { () throws(ObjectStoreError) in
      try order.conditions.admit(order.target.key, order.condition, completesUpload: false, order.cancellation)
      return try store.put(request, order.cancellation)
    }
    return uploaded(order, order.target, result.etag, size: UInt64(snapshot.bytes.count), changes: snapshot.changes)
  }

  // MARK: Parts

  private func uploadInParts(_ order: UploadOrder) throws(WriteError) -> UploadOutcome {
    let session = sessionFor(order.target)
    let rounds = 3
    for round in (order.retires ? rounds : 1)...rounds {
      if round < rounds {
        guard let sent = try sendParts(session, writersWait: false, order.cancellation) else { continue }
        // From here no part is sent, so none changes under the completion.
        session.seal()
        if try isCurrent(sent) { return try complete(session, sent, order) }
        session.reopen()
      } else if order.retires {
        return try writing.exclusive { () throws(WriteError) in
          try complete(session, try sendLastParts(session, order), order)
        }
      } else {
        let sent = try writing.exclusive { () throws(WriteError) in try sendLastParts(session, order) }
        return try complete(session, sent, order)
      }
    }
    throw .store(ObjectStoreError(.conflict, "the file was changed all the while", key: order.target.key))
  }

  /// What the parts on the server are made of.
  private struct SentState {
    var size: UInt64
    var changes: UInt64
  }

  /// Whether the bytes are still those that were sent. Waits for writes under way: one that has put only some of its
  /// bytes into the staging file, and may fail yet, is not part of any version.
  private func isCurrent(_ sent: SentState) throws(WriteError) -> Bool {
    let (changes, failure) = writing.exclusive { state.withLock { ($0.changes, $0.failure) } }
    if let failure {
      abandonSession()
      throw .incomplete(failure)
    }
    return changes == sent.changes
  }

  private func sendLastParts(_ session: UploadSession, _ order: UploadOrder) throws(WriteError) -> SentState {
    if let failure { throw .incomplete(failure) }
    guard let sent = try sendParts(session, writersWait: true, order.cancellation) else {
      throw .store(ObjectStoreError(.conflict, "the parts could not be sent", key: order.target.key))
    }
    session.seal()
    return sent
  }

  /// Sends every part that the server does not have as it is now.
  /// - Returns: nil when one failed in a way that a write to it in the same moment explains.
  private func sendParts(
    _ session: UploadSession, writersWait: Bool, _ cancellation: Cancellation?
  ) throws(WriteError) -> SentState? {
    let sent = state.withLock { SentState(size: $0.size, changes: $0.changes) }
    let missing = (0..<PartLayout.partCount(size: sent.size)).filter { index in
      let range = PartLayout.range(ofPart: index, size: sent.size)
      let change = state.withLock { $0.partChanges[index] ?? 0 }
      return !session.has(index, change: change, length: range.upperBound - range.lowerBound)
    }
    // After the first failure the others are not tried: with a dead network each would wait for its deadline.
    let failure = FirstFailure()
    let _: [Result<Void, Never>] = fanOut(over: missing, limit: missing.count) { index, done in
      workers.submit {
        if failure.error == nil {
          do throws(WriteError) {
            try self.sendPart(index, size: sent.size, session, writersWait: writersWait, cancellation)
          } catch {
            failure.note(error)
          }
        }
        done(.success(()))
      }
    }
    guard let error = failure.error else { return sent }
    if !writersWait, error.mayComeFromAWrite { return nil }
    throw error
  }

  func sendPart(
    _ index: Int, size: UInt64, _ session: UploadSession, writersWait: Bool, _ cancellation: Cancellation?
  ) throws(WriteError) {
    guard session.claim(index) else { throw .store(ObjectStoreError(.cancelled, "the upload was given up")) }
    defer { session.release(index) }
    let token = cancellation?.addHandler { session.cancellation.cancel() }
    defer { cancellation?.removeHandler(token.flatMap { $0 }) }
    let range = PartLayout.range(ofPart: index, size: size)
    let length = range.upperBound - range.lowerBound
    let (change, base): (UInt64, StagingBase?) = state.withLock { state in
      let copies = state.copiesParts && !state.dirty.intersects(range) && range.upperBound <= state.baseLimit
      return (state.partChanges[index] ?? 0, copies ? state.base : nil)
    }
    // Whoever had the claim before has sent it.
    if session.has(index, change: change, length: length) { return }
    let upload = try inStore { () throws(ObjectStoreError) in try session.begin() }
    if base == nil { try fill(range, writersWait: writersWait, session.cancellation) }
    let part = try inStore { () throws(ObjectStoreError) in
      if let base { return try copyPart(index, range, of: base, upload, session) }
      return try store.uploadPart(
        upload, number: index + 1, body: .file(file, offset: range.lowerBound, length: length), session.cancellation)
    }
    session.record(index, UploadSession.SentPart(part: part, change: change, length: length))
  }

  /// Has the server copy an unchanged part from the base.
  private func copyPart(
    _ index: Int, _ range: Range<UInt64>, of base: StagingBase, _ upload: MultipartUpload, _ session: UploadSession
  ) throws(ObjectStoreError) -> UploadedPart {
    try store.copyPart(
      upload, number: index + 1, from: base.key,
      range: ByteRange(offset: range.lowerBound, length: range.upperBound - range.lowerBound),
      sourceMatch: base.etag, session.cancellation)
  }

  /// Turns the parts of a sealed session into the object.
  private func complete(
    _ session: UploadSession, _ sent: SentState, _ order: UploadOrder
  ) throws(WriteError) -> UploadOutcome {
    do throws(WriteError) {
      let count = PartLayout.partCount(size: sent.size)
      let parts = session.parts(count: count)
      guard parts.count == count else {
        throw .store(ObjectStoreError(.corruptResponse, "a part is missing", key: session.target.key))
      }
      let result = try inStore { () throws(ObjectStoreError) in
        try order.conditions.admit(session.target.key, order.condition, completesUpload: true, order.cancellation)
        return try store.completeUpload(
          try session.begin(), parts: parts, condition: order.condition, order.cancellation)
      }
      self.session.withLock { if $0 === session { $0 = nil } }
      return uploaded(order, session.target, result.etag, size: sent.size, changes: sent.changes)
    } catch {
      switch error {
      // With what the server has, the same would be refused again.
      case .store(let cause) where [.preconditionFailed, .invalidRequest, .invalidSize].contains(cause.code):
        abandonSession()
      default: session.reopen()
      }
      throw error
    }
  }

  private func uploaded(
    _ order: UploadOrder, _ target: UploadTarget, _ etag: ETag, size: UInt64, changes: UInt64
  ) -> UploadOutcome {
    state.withLock { state in
      state.uploadedChanges = changes
      state.base = StagingBase(key: target.key, etag: etag, size: size)
      state.nextStreamedPart = 0
      if order.retires { state.isRetired = true }
      // With changes since, what was dirty stays so: which of it the new version has is not known in ranges, and
      // sending it again is right.
      guard state.changes == changes else { return }
      state.baseLimit = size
      state.dirty = RangeSet64()
      state.partChanges = [:]
    }
    return UploadOutcome(etag: etag, size: size, attributes: target.attributes)
  }

  private func inStore<Value>(_ body: () throws(ObjectStoreError) -> Value) throws(WriteError) -> Value {
    do throws(ObjectStoreError) {
      return try body()
    } catch {
      throw .store(error)
    }
  }
}

/// The first error of many jobs. Thread-safe.
private final class FirstFailure: Sendable {
  private let first = Mutex<WriteError?>(nil)

  var error: WriteError? { first.withLock { $0 } }

  func note(_ error: WriteError) { first.withLock { if $0 == nil { $0 = error } } }
}

extension WriteError {
  /// Whether a part can fail like this because it was changed between being hashed and being sent, or cut off.
  fileprivate var mayComeFromAWrite: Bool {
    guard case .store(let error) = self else { return false }
    switch error.code {
    case .localReadFailed, .invalidRequest, .corruptResponse, .invalidSize: return true
    default: return false
    }
  }
}
