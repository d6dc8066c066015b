import Basics
import ObjectStore
import Synchronization

/// Uploads in several parts.
extension StagedFile {
  /// What the parts on the server are made of.
  private struct SentState {
    var plan: UploadPlan
    var size: UInt64
    var changes: UInt64
  }

  func uploadInParts(_ order: UploadOrder) throws(WriteError) -> UploadOutcome {
    let session = sessionFor(order.target)
    try adoptParts(of: session, order)
    let rounds = 3
    for round in (order.retires ? rounds : 1)...rounds {
      if !order.retires, round < rounds || order.version != nil {
        guard let sent = try sendParts(session, order, writersWait: false) else { continue }
        // From here no part is sent, so none changes under the completion.
        session.seal()
        if try isCurrent(sent) { return try complete(session, sent, order) }
        session.reopen()
        try requireVersion(order)
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
    try requireVersion(order)
    guard let sent = try sendParts(session, order, writersWait: true) else {
      throw .store(ObjectStoreError(.conflict, "the parts could not be sent", key: order.target.key))
    }
    session.seal()
    return sent
  }

  /// Sends every part that the server does not have as it is now.
  /// - Returns: nil when one failed in a way that a write to it in the same moment explains.
  private func sendParts(
    _ session: UploadSession, _ order: UploadOrder, writersWait: Bool
  ) throws(WriteError) -> SentState? {
    let (sent, missing) = state.withLock { state in
      let plan = state.plan
      let missing = plan.parts.filter { !session.has($0, change: state.change(of: $0.range)) }
      return (SentState(plan: plan, size: state.size, changes: state.changes), missing)
    }
    // After the first failure the others are not tried: with a dead network each would wait for its deadline.
    let failure = FirstFailure()
    let _: [Result<Void, Never>] = fanOut(over: missing, limit: missing.count) { part, done in
      context.workers.submit {
        if failure.error == nil {
          do throws(WriteError) {
            try self.requireVersion(order)
            try self.send(part, session, writersWait: writersWait, order.cancellation)
          } catch {
            failure.note(error)
          }
        }
        done(.success(()))
      }
    }
    guard let error = failure.error else { return sent }
    try requireVersion(order)
    if !writersWait, error.mayComeFromAWrite { return nil }
    throw error
  }

  /// Sends one part, or has the server copy it; blocks. Nothing is done when the server has it already.
  func send(
    _ planned: UploadPlan.Part, _ session: UploadSession, writersWait: Bool, _ cancellation: Cancellation?
  ) throws(WriteError) {
    guard session.claim(planned.number) else {
      throw .store(ObjectStoreError(.cancelled, "the upload was given up"))
    }
    defer { session.release(planned.number) }
    let token = cancellation?.addHandler { session.cancellation.cancel() }
    defer { cancellation?.removeHandler(token.flatMap { $0 }) }
    let (change, base): (UInt64, StagingBase?) = state.withLock { state in
      let isClean = !state.dirty.intersects(planned.range) && planned.range.upperBound <= state.baseLimit
      return (state.change(of: planned.range), planned.isCopy && isClean ? state.base : nil)
    }
    // Whoever had the claim before has sent it.
    if session.has(planned, change: change) { return }
    // Written to since the plan was made: the next round has another plan.
    guard base != nil || !planned.isCopy else {
      throw .store(ObjectStoreError(.localReadFailed, "the part was changed meanwhile", key: session.target.key))
    }
    // While others begin the upload.
    if base == nil { try fill(planned.range, writersWait: writersWait, session.cancellation) }
    let upload = try inStore { () throws(ObjectStoreError) in try session.begin() }
    let range = ByteRange(
      offset: planned.range.lowerBound, length: planned.range.upperBound - planned.range.lowerBound)
    let part = try inStore { () throws(ObjectStoreError) in
      if let base { return try copyPart(planned.number, of: upload, from: base, range, session.cancellation) }
      let body = ObjectBody.file(entry.file, offset: range.offset, length: range.length)
      return try context.store.uploadPart(upload, number: planned.number, body: body, session.cancellation)
    }
    session.record(UploadSession.SentPart(part: part, planned: planned, change: change))
    entry.note(
      .part(
        RecordedPart(number: planned.number, range: planned.range, etag: part.etag, isCopy: planned.isCopy)))
  }

  private func copyPart(
    _ number: Int, of upload: MultipartUpload, from base: StagingBase, _ range: ByteRange, _ cancellation: Cancellation
  ) throws(ObjectStoreError) -> UploadedPart {
    do throws(ObjectStoreError) {
      return try context.store.copyPart(
        upload, number: number, from: base.key, range: range, sourceMatch: base.etag, cancellation)
    } catch {
      // A server names the object that is made; it is the one that is copied that has changed.
      guard error.code == .preconditionFailed else { throw error }
      var error = error
      error.key = base.key
      throw error
    }
  }

  /// Turns the parts of a sealed session into the object.
  private func complete(
    _ session: UploadSession, _ sent: SentState, _ order: UploadOrder
  ) throws(WriteError) -> UploadOutcome {
    do throws(WriteError) {
      guard let parts = session.parts(of: sent.plan) else {
        throw .store(ObjectStoreError(.corruptResponse, "a part is missing", key: session.target.key))
      }
      if let tag = context.store.expectedTag(ofParts: parts) { expect(tag) }
      let result = try inStore { () throws(ObjectStoreError) in
        try order.conditions.admit(session.target.key, order.condition, completesUpload: true, order.cancellation)
        return try context.store.completeUpload(
          try session.begin(), parts: parts, condition: order.condition, nil)
      }
      self.session.withLock { if $0 === session { $0 = nil } }
      if let upload = session.upload { entry.note(ended: upload) }
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

  // MARK: Parts of an earlier mount

  /// Finds out which parts of an upload that an earlier mount began are still of use: those that the server has, with the
  /// tag it gave then, and, unless it copied them itself, with exactly the bytes that are here.
  private func adoptParts(of session: UploadSession, _ order: UploadOrder) throws(WriteError) {
    guard let recorded = session.takeUnverified(), let upload = session.upload else { return }
    let stored = try inStore { () throws(ObjectStoreError) in try context.store.listParts(upload, order.cancellation) }
    let tags = Dictionary(stored.map { ($0.number, $0) }, uniquingKeysWith: { _, last in last })
    let (plan, base) = state.withLock { ($0.plan, $0.base) }
    // The last note of a part is the one that counts.
    let notes = Dictionary(recorded.map { ($0.number, $0) }, uniquingKeysWith: { _, last in last })
    for planned in plan.parts {
      guard let note = notes[planned.number], let part = tags[planned.number], note.range == planned.range,
        note.isCopy == planned.isCopy, part.etag == note.etag
      else { continue }
      if planned.isCopy {
        guard base != nil else { continue }
      } else {
        let length = planned.range.upperBound - planned.range.lowerBound
        let body = ObjectBody.file(entry.file, offset: planned.range.lowerBound, length: length)
        guard state.withLock({ $0.present.contains(planned.range) }),
          context.store.expectedTag(of: body) == part.etag
        else { continue }
      }
      session.record(UploadSession.SentPart(part: part, planned: planned, change: 0))
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
