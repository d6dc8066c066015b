public import Basics
import Logging
public import ObjectStore
import Synchronization

/// Makes the conditions of a write hold, whatever the server can do.
///
/// Whether the server minds `If-Match` and `If-None-Match` on a PUT is found out on a scratch key before the first
/// write of a mount, and remembered. Where it does not, a HEAD just before the write stands in: that leaves a gap of
/// one round trip in which another writer can get lost, and one warning says so. CompleteMultipartUpload gets the HEAD as
/// well until it is known, from another scratch object, that the server minds conditions there too: some do on PUT and
/// not there.
///
/// Thread-safe. Methods block. The probe runs with a gate held, never with a mutex.
public final class ConditionalWrites: Sendable {
  private enum Support { case unknown, enforced, ignored }

  private let store: any ObjectStore
  private let journal: Journal?
  private let scratchPrefix: String
  private let random: @Sendable () -> UInt64
  private let log: Logger
  private let probing = AccessGate()
  private let wasPrepared = Atomic(false)
  private let wasCompletionPrepared = Atomic(false)
  private let support = Mutex(Support.unknown)
  private let completionSupport = Mutex(Support.unknown)

  /// Prepares to probe; sends nothing yet.
  /// - Parameters:
  ///   - journal: where the scratch key is noted, so that the next mount can remove it if this one dies in the middle.
  ///   - scratchPrefix: what the scratch key starts with: the mount's own prefix.
  ///   - random: makes the scratch key one that nobody uses.
  public init(
    store: any ObjectStore, journal: Journal?, scratchPrefix: String, random: @escaping @Sendable () -> UInt64,
    log: Logger
  ) {
    self.store = store
    self.journal = journal
    self.scratchPrefix = scratchPrefix
    self.random = random
    self.log = log
  }

  private static let scratchName = ".waysfs-probe-"

  /// Whether a name is one of a scratch object, which is no file of anybody's.
  public static func isScratch(_ name: String) -> Bool { name.utf8.starts(with: scratchName.utf8) }

  /// Finds out early what the server can do, on a worker and only once: a program that has opened a file to write to it
  /// will soon close it, and need not wait for the probe then. A probe that fails is made again when it is needed.
  public func prepare(on workers: WorkerShare) {
    guard !wasPrepared.exchange(true, ordering: .relaxed) else { return }
    workers.submit { _ = try? self.isEnforced(nil) }
  }

  /// Finds out whether the server minds conditions when an upload in parts is completed, on a worker and only once. Until
  /// that is known, and when it fails, a HEAD does it: nobody waits for this.
  public func prepareCompletion(on workers: WorkerShare) {
    guard !wasCompletionPrepared.exchange(true, ordering: .relaxed) else { return }
    workers.submit {
      guard (try? self.isEnforced(nil)) == true, let isEnforced = try? self.probeCompletion() else { return }
      self.completionSupport.withLock { $0 = isEnforced ? .enforced : .ignored }
    }
  }

  /// To be called before a PUT or a completion with that condition.
  /// - Throws: `preconditionFailed` when it is known not to hold.
  public func admit(
    _ key: ObjectKey, _ condition: WriteCondition, completesUpload: Bool, _ cancellation: Cancellation?
  ) throws(ObjectStoreError) {
    guard condition != .none else { return }
    let isCompletionEnforced = completionSupport.withLock { $0 == .enforced }
    guard try !isEnforced(cancellation) || (completesUpload && !isCompletionEnforced) else { return }
    let current: ETag?
    do throws(ObjectStoreError) {
      current = try store.head(key, cancellation).etag
    } catch {
      guard error.code == .notFound else { throw error }
      current = nil
    }
    let holds =
      switch condition {
      case .none: true
      case .ifAbsent: current == nil
      case .ifMatch(let etag): current == etag
      }
    guard holds else {
      throw ObjectStoreError(
        .preconditionFailed, "the object was changed by somebody else", bucket: store.bucket, key: key)
    }
  }

  /// Whether the server is known to ignore conditions.
  public var areIgnored: Bool { support.withLock { $0 == .ignored } }

  private func isEnforced(_ cancellation: Cancellation?) throws(ObjectStoreError) -> Bool {
    if let known { return known }
    return try probing.exclusive { () throws(ObjectStoreError) in
      if let known { return known }
      let enforced = try probe(cancellation)
      support.withLock { $0 = enforced ? .enforced : .ignored }
      if !enforced {
        log.warning(
          """
          this server ignores conditional writes; a check is made before each write instead, which cannot see a write \
          of another machine in the same moment
          """,
          metadata: ["bucket": "\(store.bucket)"])
      }
      return enforced
    }
  }

  private var known: Bool? {
    switch support.withLock({ $0 }) {
    case .unknown: nil
    case .enforced: true
    case .ignored: false
    }
  }

  /// Two writes that must be refused: a second creation, and a change of a version that never was.
  private func probe(_ cancellation: Cancellation?) throws(ObjectStoreError) -> Bool {
    try withScratchObject(cancellation) { key throws(ObjectStoreError) in
      guard try isRefused(key, .ifAbsent, cancellation) else { return false }
      return try isRefused(key, .ifMatch(Self.wrongVersion), cancellation)
    } ?? false
  }

  private static let wrongVersion = ETag("00000000000000000000000000000000")

  /// The same by an upload of one byte.
  private func probeCompletion() throws(ObjectStoreError) -> Bool? {
    try withScratchObject(nil) { key throws(ObjectStoreError) in
      let upload = try store.createUpload(key, attributes: ObjectAttributes(), nil)
      defer {
        do throws(ObjectStoreError) {
          try store.abortUpload(upload, nil)
        } catch {
          // One that was completed against its condition is gone.
          if error.code != .noSuchUpload { journal?.noteAbandoned(upload) }
        }
      }
      let part = try store.uploadPart(upload, number: 1, body: .bytes([0]), nil)
      for condition in [WriteCondition.ifAbsent, .ifMatch(Self.wrongVersion)] {
        let isRefused = try isRefused { () throws(ObjectStoreError) in
          _ = try store.completeUpload(upload, parts: [part], condition: condition, nil)
        }
        guard isRefused else { return false }
      }
      return true
    }
  }

  /// Does something with an object that nobody needs, and removes it.
  /// - Returns: nil when the server refuses the header that is needed to make it.
  private func withScratchObject<Value>(
    _ cancellation: Cancellation?, _ body: (ObjectKey) throws(ObjectStoreError) -> Value
  ) throws(ObjectStoreError) -> Value? {
    let attempts = 4
    for _ in 0..<attempts {
      let key = ObjectKey("\(scratchPrefix)\(Self.scratchName)\(String(random(), radix: 16))")
      let noted = journal?.note(scratch: key)
      do throws(ObjectStoreError) {
        try store.put(PutRequest(key, body: .bytes([]), condition: .ifAbsent), cancellation)
      } catch {
        // Somebody's object has that name. It is not ours to write to, let alone to delete.
        if error.code == .preconditionFailed {
          noted?.done()
          continue
        }
        // The answer may be what was lost, and the object be there.
        remove(key, noted)
        if error.code == .unsupported || error.code == .invalidRequest { return nil }
        throw Self.probeFailure(error)
      }
      defer { remove(key, noted) }
      return try body(key)
    }
    throw ObjectStoreError(.serverError, "no scratch key is free for the probe", bucket: store.bucket)
  }

  private func remove(_ key: ObjectKey, _ noted: ScratchObject?) {
    do throws(ObjectStoreError) {
      try store.delete(key, nil)
      noted?.done()
    } catch {
      log.debug("a scratch object is left to the next mount", metadata: ["key": "\(key)", "cause": "\(error)"])
    }
  }

  /// A probe that fails says nothing about the key that is to be written: none of it may look like a conflict there.
  private static func probeFailure(_ error: ObjectStoreError) -> ObjectStoreError {
    guard [.conflict, .notFound, .noSuchUpload].contains(error.code) else { return error }
    var error = error
    error.code = .serverError
    return error
  }

  private func isRefused(
    _ key: ObjectKey, _ condition: WriteCondition, _ cancellation: Cancellation?
  ) throws(ObjectStoreError) -> Bool {
    try isRefused { () throws(ObjectStoreError) in
      try store.put(PutRequest(key, body: .bytes([0]), condition: condition), cancellation)
    }
  }

  private func isRefused(_ write: () throws(ObjectStoreError) -> Void) throws(ObjectStoreError) -> Bool {
    do throws(ObjectStoreError) {
      try write()
      return false
    } catch {
      switch error.code {
      case .preconditionFailed, .conflict: return true
      case .unsupported, .invalidRequest: return false
      default: throw Self.probeFailure(error)
      }
    }
  }
}
