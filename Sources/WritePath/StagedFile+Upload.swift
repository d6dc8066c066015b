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

extension StagedFile {
  /// Puts the file into the bucket, whole; blocks until it is there.
  ///
  /// Writers may go on meanwhile: what they change is sent again, and if they do not stop they have to wait for a last
  /// round. When it throws, the file is as dirty as before and nothing of it is visible in the bucket.
  public func upload(
    to target: UploadTarget, condition: WriteCondition, conditions: ConditionalWrites,
    _ cancellation: Cancellation? = nil
  ) throws(WriteError) -> UploadOutcome {
    try uploading.exclusive { () throws(WriteError) in
      if let failure { throw .incomplete(failure) }
      let attempts = 3
      for attempt in 1...attempts {
        do throws(WriteError) {
          if size <= PartLayout.firstPartSize {
            return try uploadWhole(target, condition, conditions, cancellation)
          }
          return try uploadInParts(target, condition, conditions, cancellation)
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

  private func uploadWhole(
    _ target: UploadTarget, _ condition: WriteCondition, _ conditions: ConditionalWrites,
    _ cancellation: Cancellation?
  ) throws(WriteError) -> UploadOutcome {
    abandonSession()
    try fill(0..<size, cancellation)
    let snapshot = try writing.exclusive { () throws(WriteError) in
      let (size, changes) = state.withLock { ($0.size, $0.changes) }
      var bytes = [UInt8](repeating: 0, count: size.asInt)
      do {
        _ = try bytes.withUnsafeMutableBytes { try readHere(into: $0, at: 0) }
      } catch {
        throw error as? WriteError ?? .staging(.ioError)
      }
      return (bytes: bytes, changes: changes)
    }
    let request = PutRequest(
      target.key, body: .bytes(snapshot.bytes), attributes: target.attributes, condition: condition)
    let result = try inStore { () throws(ObjectStoreError) in
      try conditions.admit(target.key, condition, completesUpload: false, cancellation)
      return try store.put(request, cancellation)
    }
    return uploaded(
      target, etag: result.etag, size: UInt64(snapshot.bytes.count), changes: snapshot.changes,
      attributes: target.attributes)
  }

  // MARK: Parts

  private func uploadInParts(
    _ target: UploadTarget, _ condition: WriteCondition, _ conditions: ConditionalWrites,
    _ cancellation: Cancellation?
  ) throws(WriteError) -> UploadOutcome {
    let session = sessionFor(target)
    let rounds = 3
    for round in 1...rounds {
      let snapshot: (size: UInt64, changes: UInt64)
      if round < rounds {
        snapshot = try sendParts(session, writersWait: false, cancellation)
      } else {
        snapshot = try writing.exclusive { () throws(WriteError) in
          try sendParts(session, writersWait: true, cancellation)
        }
      }
      guard state.withLock({ $0.changes == snapshot.changes }) || round == rounds else { continue }
      return try complete(session, snapshot, condition, conditions, cancellation)
    }
    throw .store(ObjectStoreError(.conflict, "the file was changed all the while", key: target.key))
  }

  /// Sends every part that the server does not have as it is now.
  private func sendParts(
    _ session: UploadSession, writersWait: Bool, _ cancellation: Cancellation?
  ) throws(WriteError) -> (size: UInt64, changes: UInt64) {
    session.drain()
    let snapshot = state.withLock { (size: $0.size, changes: $0.changes) }
    let missing = (0..<PartLayout.partCount(size: snapshot.size)).filter { index in
      let range = PartLayout.range(ofPart: index, size: snapshot.size)
      let change = state.withLock { $0.partChanges[index] ?? 0 }
      return !session.has(index, change: change, length: range.upperBound - range.lowerBound)
    }
    let results: [Result<Void, WriteError>] = fanOut(over: missing, limit: missing.count) { index, done in
      workers.submit {
        done(
          Result { () throws(WriteError) in
            try self.sendPart(index, size: snapshot.size, session, writersWait: writersWait, cancellation)
          })
      }
    }
    for result in results { try result.get() }
    return snapshot
  }

  private func sendPart(
    _ index: Int, size: UInt64, _ session: UploadSession, writersWait: Bool, _ cancellation: Cancellation?
  ) throws(WriteError) {
    guard session.enter() else { throw .store(ObjectStoreError(.cancelled, "the upload was given up")) }
    defer { session.leave() }
    let token = cancellation?.addHandler { session.cancellation.cancel() }
    defer { cancellation?.removeHandler(token.flatMap { $0 }) }
    let range = PartLayout.range(ofPart: index, size: size)
    let (change, base): (UInt64, StagingBase?) = state.withLock { state in
      let copies = state.copiesParts && !state.dirty.intersects(range) && range.upperBound <= state.baseLimit
      return (state.partChanges[index] ?? 0, copies ? state.base : nil)
    }
    let upload = try inStore { () throws(ObjectStoreError) in try session.begin() }
    if base == nil { try fill(range, writersWait: writersWait, session.cancellation) }
    let part = try inStore { () throws(ObjectStoreError) in
      if let base { return try copyPart(index, range, of: base, upload, session) }
      return try store.uploadPart(
        upload, number: index + 1,
        body: .file(file, offset: range.lowerBound, length: range.upperBound - range.lowerBound),
        session.cancellation)
    }
    session.record(
      index, UploadSession.SentPart(part: part, change: change, length: range.upperBound - range.lowerBound))
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

  private func complete(
    _ session: UploadSession, _ snapshot: (size: UInt64, changes: UInt64), _ condition: WriteCondition,
    _ conditions: ConditionalWrites, _ cancellation: Cancellation?
  ) throws(WriteError) -> UploadOutcome {
    let count = PartLayout.partCount(size: snapshot.size)
    let parts = session.parts(count: count)
    guard parts.count == count else {
      throw .store(ObjectStoreError(.corruptResponse, "a part is missing", key: session.target.key))
    }
    do throws(WriteError) {
      let result = try inStore { () throws(ObjectStoreError) in
        try conditions.admit(session.target.key, condition, completesUpload: true, cancellation)
        return try store.completeUpload(try session.begin(), parts: parts, condition: condition, cancellation)
      }
      self.session.withLock { $0 = nil }
      return uploaded(
        session.target, etag: result.etag, size: snapshot.size, changes: snapshot.changes,
        attributes: session.target.attributes)
    } catch {
      if case .store(let cause) = error, cause.code == .preconditionFailed { abandonSession() }
      throw error
    }
  }

  private func uploaded(
    _ target: UploadTarget, etag: ETag, size: UInt64, changes: UInt64, attributes: ObjectAttributes
  ) -> UploadOutcome {
    state.withLock { state in
      state.uploadedChanges = changes
      state.base = StagingBase(key: target.key, etag: etag, size: size)
      state.nextStreamedPart = 0
      // With changes since, what was dirty stays so: which of it the new version has is not known in ranges, and
      // sending it again is right.
      guard state.changes == changes else { return }
      state.baseLimit = size
      state.dirty = RangeSet64()
      state.partChanges = [:]
    }
    return UploadOutcome(etag: etag, size: size, attributes: attributes)
  }

  // MARK: Streaming

  /// Hands full parts of a growing new file to the workers, so that `close` has only the tail to wait for.
  func stream() {
    let ready: Range<Int> = state.withLock { state in
      guard state.baseLimit == 0, state.failure == nil else { return 0..<0 }
      let first = state.nextStreamedPart
      var next = first
      // Strictly more than the part: a file of exactly one part stays a single PUT.
      while next < 10_000, PartLayout.partStart(next + 1) < state.size,
        state.present.contains(PartLayout.range(ofPart: next, size: state.size))
      {
        next += 1
      }
      state.nextStreamedPart = next
      return first..<max(first, next)
    }
    guard !ready.isEmpty, let target = streamTarget() else { return }
    let session = sessionFor(target)
    for index in ready where session.enter() {
      workers.submit {
        defer { session.leave() }
        do throws(WriteError) {
          try self.streamPart(index, session)
        } catch {
          // No loss: the upload at close finds the part missing and sends it, or reports why it cannot.
          self.log.debug("a part did not leave early", metadata: ["part": "\(index + 1)", "cause": "\(error)"])
        }
      }
    }
  }

  private func streamPart(_ index: Int, _ session: UploadSession) throws(WriteError) {
    let size = state.withLock { $0.size }
    // A truncation may have overtaken this job.
    guard PartLayout.partStart(index + 1) <= size, !session.cancellation.isCancelled else { return }
    try sendPart(index, size: size, session, writersWait: false, nil)
  }

  /// The upload under way to that key, or a new one; one to another key is given up.
  func sessionFor(_ target: UploadTarget) -> UploadSession {
    let fresh = UploadSession(target: target, store: store)
    let (session, old): (UploadSession, UploadSession?) = session.withLock { current in
      if let current, current.target.key == target.key, !current.cancellation.isCancelled { return (current, nil) }
      defer { current = fresh }
      return (fresh, current)
    }
    old?.abandon()
    return session
  }

  func abandonSession() {
    let old = session.withLock { session in
      defer { session = nil }
      return session
    }
    old?.abandon()
  }

  private func inStore<Value>(_ body: () throws(ObjectStoreError) -> Value) throws(WriteError) -> Value {
    do throws(ObjectStoreError) {
      return try body()
    } catch {
      throw .store(error)
    }
  }
}
