import Basics
import Logging
import ObjectStore
import Synchronization

/// Parts that leave while the file is still being written.
extension StagedFile {
  /// Hands full parts of a growing new file to the workers, so that `close` has only the tail to wait for. Blocks while
  /// more of them wait for the network than `partsAhead`.
  func stream() {
    let ready: Range<Int> = state.withLock { state in
      guard state.baseLimit == 0, state.failure == nil else { return 0..<0 }
      let first = state.nextStreamedPart
      var next = first
      // Strictly more than the part: a file of exactly one part stays a single PUT.
      while next < PartLayout.maximumPartCount, PartLayout.partStart(next + 1) < state.size,
        state.present.contains(PartLayout.range(ofPart: next, size: state.size))
      {
        next += 1
      }
      state.nextStreamedPart = next
      return first..<max(first, next)
    }
    guard !ready.isEmpty, let target = streamTarget(), let session = streamingSession(target), session.mayStream else {
      return
    }
    for index in ready {
      session.streamBegins()
      context.workers.submit {
        do throws(WriteError) {
          try self.streamPart(index, session)
          session.streamEnds(failed: false)
        } catch {
          session.streamEnds(failed: true)
          // No loss: the upload at close finds the part missing and sends it, or reports why it cannot.
          self.context.log.debug("a part did not leave early", metadata: ["part": "\(index + 1)", "cause": "\(error)"])
        }
      }
    }
    if let limit = context.partsAhead { session.waitForStream(limit: limit) }
  }

  private func streamPart(_ index: Int, _ session: UploadSession) throws(WriteError) {
    let size = state.withLock { $0.size }
    // A truncation may have overtaken this job.
    guard PartLayout.partStart(index + 1) <= size, session.mayStream else { return }
    let range = PartLayout.range(ofPart: index, size: size)
    try send(UploadPlan.Part(number: index + 1, range: range, isCopy: false), session, writersWait: false, nil)
  }

  /// The upload under way to that key, or a new one; nil when there is one that only `sessionFor` may replace: this may
  /// be a writer that was overtaken by a rename.
  private func streamingSession(_ target: UploadTarget) -> UploadSession? {
    session.withLock { current in
      if let current {
        return current.target.key == target.key && !current.cancellation.isCancelled ? current : nil
      }
      let fresh = makeSession(target)
      current = fresh
      return fresh
    }
  }

  /// The upload under way to that key, or a new one; one to another key is given up.
  func sessionFor(_ target: UploadTarget) -> UploadSession {
    let fresh = makeSession(target)
    let (session, old): (UploadSession, UploadSession?) = session.withLock { current in
      if let current, current.target.key == target.key, !current.cancellation.isCancelled { return (current, nil) }
      defer { current = fresh }
      return (fresh, current)
    }
    old.map(abandon)
    return session
  }

  private func makeSession(_ target: UploadTarget) -> UploadSession {
    UploadSession(target: target, store: context.store) { [entry] in entry.note(.upload($0)) }
  }

  func abandonSession() {
    let old = session.withLock { session in
      defer { session = nil }
      return session
    }
    old.map(abandon)
  }

  private func abandon(_ session: UploadSession) {
    // Parts that stay behind cost money, not data: the next mount frees them.
    if let upload = session.abandon(), !entry.leave(upload) { return }
    if let upload = session.upload { entry.note(ended: upload) }
  }
}
