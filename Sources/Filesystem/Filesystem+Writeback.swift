import Basics
import Logging
import ObjectStore
import SystemPackage
import WritePath

/// Write-back mode: `close` and `fsync` bring a file into the journal, and a queue brings it into the bucket.
extension Filesystem {
  /// Brings what was written into the journal, and asks for its upload.
  /// - Parameters:
  ///   - kind: what the program did.
  ///   - isDurable: waits until the disk has it.
  func keepAndSend(
    _ inode: InodeID, _ content: FileContent, as kind: JournalRecord.State, durable isDurable: Bool
  ) throws(Errno) {
    // Not with the names held: an upload may keep the writers of this file waiting for the network, and all its bytes may
    // have to go to the disk.
    content.staged?.waitForWriting()
    if let staged = content.staged, content.isDirty, isDurable || staged.isRecordDurable { staged.syncAhead() }
    do throws(WriteError) {
      try naming.shared { () throws(WriteError) in
        guard content.isDirty, let staged = content.staged, let view = tree.view(inode), let path = view.path else {
          return
        }
        let plan = commitPlan(view, content, path)
        try staged.record(for: plan.target, condition: plan.condition, as: kind, durable: isDurable)
      }
    } catch {
      if case .incomplete = error {
        // Its bytes go with the descriptor.
        journal?.space.beginFreeing()
        endFreeing()
        throw log.report("close", key: tree.view(inode)?.path.map(key), error)
      }
      log.warning("the journal cannot take a file; it is uploaded at once", metadata: ["cause": "\(error)"])
      return try commit(inode, content)
    }
    guard content.awaitsUpload else { return }
    queueUpload(inode, content, after: configuration.uploadDelay)
  }

  /// Asks for an upload in the background, unless one was asked for already.
  private func queueUpload(_ inode: InodeID, _ content: FileContent, after seconds: Double) {
    let (isNew, hasFailed) = content.withState { state in
      defer { state.background.isQueued = true }
      return (!state.background.isQueued, state.background.failures > 0)
    }
    guard isNew else { return }
    // A writer for whom the journal is full may hope, but not for what has just failed.
    let space = hasFailed ? nil : journal?.space
    space?.beginFreeing()
    uploads.add(after: seconds) { [self] in
      uploadInBackground(inode, content)
      space?.endFreeing()
    }
  }

  private func uploadInBackground(_ inode: InodeID, _ content: FileContent) {
    let cancellation = Cancellation()
    content.withState { state in
      state.background.isQueued = false
      state.background.cancellation = cancellation
    }
    let result: Errno?
    do throws(Errno) {
      try commit(inode, content, inBackground: cancellation)
      result = nil
    } catch {
      result = error
    }
    let isOver = content.isOrphaned || !content.awaitsUpload || content.isBroken
    let failures = content.withState { state in
      state.background.cancellation = nil
      // A cancelled one says nothing of the server: what it was cancelled for has failed, and it is tried again.
      guard let result, !isOver, result != .interrupted else { return 0 }
      state.background.failures += 1
      state.background.error = result
      state.background.isUntold = true
      return state.background.failures
    }
    if isOver {
      tree.dropContent(inode, content).map(discard)
    } else if result != nil {
      queueUpload(inode, content, after: Self.delay(afterFailures: failures))
    }
  }

  /// Seconds before the next try: doubling to a minute.
  static func delay(afterFailures failures: Int) -> Double {
    let longest = 60.0
    return min(longest, Double(1 << min(max(0, failures - 1), 6)))
  }

  /// The error that a close has to return, once: of an upload in the background that failed since the last.
  func untoldError(of content: FileContent) -> Errno? {
    content.withState { state in
      guard state.background.isUntold else { return nil }
      state.background.isUntold = false
      return state.background.error
    }
  }

  /// The error that an fsync has to return until an upload succeeds.
  func standingError(of content: FileContent) -> Errno? {
    content.withState { state in
      state.background.isUntold = false
      return state.background.error
    }
  }

  /// Brings files into the bucket, several at once.
  /// - Returns: the errors, with the files they are about.
  func uploadAll(_ files: [NodeView]) -> [(file: NodeView, error: Errno)] {
    forEach(files, on: workers.flushes) { [self] view throws(Errno) in
      guard let content = view.content else { return }
      try commit(view.id, content)
      // Nobody has it open perhaps.
      tree.dropContent(view.id, content).map(discard)
    }
  }

  /// Does something that takes an upload for several files at once.
  /// - Parameter workers: do it; `flushes` only for who holds no claim.
  func forEach(
    _ files: [NodeView], on workers: WorkerShare,
    _ body: @escaping @Sendable (NodeView) throws(Errno) -> Void
  ) -> [(file: NodeView, error: Errno)] {
    guard !files.isEmpty else { return [] }
    let results: [Result<Void, Errno>] = fanOut(over: files, limit: files.count) { view, done in
      workers.submit { done(Result { () throws(Errno) in try body(view) }) }
    }
    return zip(files, results).compactMap { file, result in
      guard case .failure(let error) = result else { return nil }
      return (file, error)
    }
  }
}
