public import Basics
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
public struct UploadOrder: Sendable {
  /// Where it goes, and what is stored with it.
  public var target: UploadTarget
  /// What must hold in the bucket.
  public var condition: WriteCondition
  /// Makes the condition hold whatever the server can do.
  public var conditions: ConditionalWrites
  /// Keeps the writers out to the end, and the file is retired with its success: every later write fails with ESTALE.
  /// For a file whose bytes go where no later upload will follow them.
  public var retires = false
  /// Only these bytes, as told by `recordedChanges`: once they are changed the upload ends with `superseded`, and the
  /// writers never wait for it. Nil: the newest bytes, for which the writers may have to wait in the end.
  public var version: UInt64?
  /// Makes the upload end soon.
  public var cancellation: Cancellation?

  /// Makes an order.
  public init(
    _ target: UploadTarget, condition: WriteCondition, conditions: ConditionalWrites, retires: Bool = false,
    version: UInt64? = nil, _ cancellation: Cancellation? = nil
  ) {
    self.target = target
    self.condition = condition
    self.conditions = conditions
    self.retires = retires
    self.version = version
    self.cancellation = cancellation
  }
}

extension StagedFile {
  /// Puts the file into the bucket, whole; blocks until it is there.
  ///
  /// Writers may go on meanwhile. When it throws, the file is as dirty as before and nothing of it is visible in the
  /// bucket.
  public func upload(_ order: UploadOrder) throws(WriteError) -> UploadOutcome {
    try uploading.exclusive { () throws(WriteError) in
      state.withLock { $0.uploads += 1 }
      defer { state.withLock { $0.uploads -= 1 } }
      let attempts = 3
      for attempt in 1...attempts {
        do throws(WriteError) {
          if let failure { throw .incomplete(failure) }
          try requireVersion(order)
          if size <= PartLayout.firstPartSize, let outcome = try uploadWhole(order) { return outcome }
          return try uploadInParts(order)
        } catch {
          guard attempt < attempts, case .store(let cause) = error, startsAgain(after: cause) else { throw error }
          abandonSession()
        }
      }
      throw .store(ObjectStoreError(.conflict, "the upload did not come to an end", key: order.target.key))
    }
  }

  /// Fails when the bytes are not those that were ordered any more.
  func requireVersion(_ order: UploadOrder) throws(WriteError) {
    guard let version = order.version, version != state.withLock({ $0.changes }) else { return }
    throw .superseded
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
    // Before there is memory to hold: fetching takes some of its own.
    if !order.retires { try fill(0..<size, order.cancellation) }
    return try context.memory.holding(size) { () throws(WriteError) in
      if order.retires {
        return try writing.exclusive { () throws(WriteError) in
          try fill(0..<size, writersWait: true, order.cancellation)
          return try put(try snapshot(order), order)
        }
      }
      return try put(try writing.exclusive { () throws(WriteError) in try snapshot(order) }, order)
    }
  }

  private struct Snapshot {
    var bytes: [UInt8]
    var changes: UInt64
  }

  /// All bytes of a small file, while the writers are kept out.
  private func snapshot(_ order: UploadOrder) throws(WriteError) -> Snapshot? {
    try requireVersion(order)
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
    let (isRecorded, isPlain) = state.withLock { state in
      (state.recorded != nil, state.recorded.map { $0.isPlain && $0.changes == snapshot.changes } ?? false)
    }
    let tag = isRecorded ? context.store.expectedTag(of: request.body) : nil
    if let tag { expect(tag, isEvident: isPlain) }
    let result: PutResult
    do throws(WriteError) {
      result = try inStore { () throws(ObjectStoreError) in
        try order.conditions.admit(order.target.key, order.condition, completesUpload: false, order.cancellation)
        // Not cancelled once it is sent: nobody would know whether the object is there.
        return try context.store.put(request, nil)
      }
    } catch {
      // It may be there all the same.
      if tag == nil, let tag = context.store.expectedTag(of: request.body) { expect(tag) }
      throw error
    }
    return uploaded(
      order, order.target, result.etag, size: UInt64(snapshot.bytes.count), changes: snapshot.changes,
      isEvident: isPlain && result.etag == tag)
  }

  /// Remembers a version that the object is about to get, also beyond the end of this process if the file is to be sent
  /// by the next mount then.
  /// - Parameters:
  ///   - isEvident: the next mount can tell from the record and its bytes: they need not be noted.
  ///   - isInherited: an upload of another file makes it.
  func expect(_ tag: ETag, isEvident: Bool = false, isInherited: Bool = false) {
    let version = ExpectedVersion(tag, isInherited: isInherited)
    state.withLock { if !$0.expected.contains(version) { $0.expected.append(version) } }
    if isRecorded, !isEvident { noteExpected() }
  }

  /// Whether there were uploads of this file of which nobody heard how they ended.
  public var mayHaveUploads: Bool { state.withLock { !$0.expected.isEmpty || $0.expectsOwnTag } }

  /// Whether an upload of this file of which nobody heard how it ended would have made that version; may block to hash
  /// the file.
  public func mayHaveMade(_ etag: ETag) -> Bool {
    let (isExpected, expectsOwnTag, plan, size) = state.withLock { state in
      (state.expected.contains { $0.etag == etag }, state.expectsOwnTag, state.plan, state.size)
    }
    return isExpected || (expectsOwnTag && tag(of: plan, size) == etag)
  }

  /// Takes over what another file may have made of the object that this one is about to replace.
  public func inheritExpected(from other: StagedFile) {
    for version in other.state.withLock({ $0.expected }) { expect(version.etag, isInherited: true) }
  }

  /// Takes note of an object that is, beyond doubt, this file as it is now; blocks to hash it.
  /// - Returns: nil, and nothing is changed, when it is not, or when that cannot be told.
  public func confirmStored(_ found: ObjectMetadata, under key: ObjectKey) -> UploadOutcome? {
    let (own, plan) = state.withLock { ($0, $0.plan) }
    guard own.size == found.size, own.present.contains(0..<own.size), tag(of: plan, own.size) == found.etag else {
      return nil
    }
    let isStill = state.withLock { state in
      guard state.changes == own.changes else { return false }
      state.uploaded(key, found.etag, size: found.size, changes: own.changes)
      return true
    }
    guard isStill else { return nil }
    abandonSession()
    return UploadOutcome(
      etag: found.etag, size: found.size,
      attributes: ObjectAttributes(
        contentType: found.contentType, headers: found.headers, userMetadata: found.userMetadata))
  }

  /// The version that an upload of what is here would make.
  private func tag(of plan: UploadPlan, _ size: UInt64) -> ETag? {
    func tag(_ range: Range<UInt64>) -> ETag? {
      context.store.expectedTag(
        of: .file(entry.file, offset: range.lowerBound, length: range.upperBound - range.lowerBound))
    }
    if size <= PartLayout.firstPartSize { return tag(0..<size) }
    let parts = plan.parts.compactMap { part in tag(part.range).map { UploadedPart(number: part.number, etag: $0) } }
    return parts.count == plan.parts.count ? context.store.expectedTag(ofParts: parts) : nil
  }

  /// Notes that the bucket has the bytes as of `changes`.
  func uploaded(
    _ order: UploadOrder, _ target: UploadTarget, _ etag: ETag, size: UInt64, changes: UInt64, isEvident: Bool = false
  ) -> UploadOutcome {
    state.withLock { state in
      state.uploaded(target.key, etag, size: size, changes: changes)
      if order.retires { state.isRetired = true }
    }
    // Should the record not go in time, the next mount must not take the object for somebody else's.
    if isRecorded, !isEvident || entry.hasNotes { entry.note(.stored(etag)) }
    return UploadOutcome(etag: etag, size: size, attributes: target.attributes)
  }

  func inStore<Value>(_ body: () throws(ObjectStoreError) -> Value) throws(WriteError) -> Value {
    do throws(ObjectStoreError) {
      return try body()
    } catch {
      throw .store(error)
    }
  }
}
