import BlockCache
import ObjectStore

/// What is to be done once no lock is held.
struct Outbox {
  struct Finished {
    let read: PendingRead
    let cancellationToken: Int?
    let result: Result<Void, ObjectStoreError>
  }

  var effects = PoolEffects()
  private(set) var submissions: [(any ScheduledGet, GetScheduler.Priority)] = []
  private(set) var promotions: [Fetch] = []
  private(set) var finished: [Finished] = []
  /// What goes into the disk cache, with a pin on its block.
  var kept: [DiskStage.Kept] = []

  mutating func submit(_ fetch: Fetch) {
    submissions.append((fetch, fetch.starter == nil ? .ahead : .demand))
  }

  /// For a GET that failed and may have waiters by now.
  mutating func resubmit(_ get: any ScheduledGet) {
    submissions.append((get, .demand))
  }

  mutating func promote(_ fetch: Fetch) {
    promotions.append(fetch)
  }

  mutating func finish(_ read: PendingRead, _ result: Result<Void, ObjectStoreError>) {
    read.phase = .finished
    finished.append(Finished(read: read, cancellationToken: read.cancellationToken, result: result))
  }
}

extension SharedObject {
  /// Does what was gathered. Called with no lock held.
  func deliver(_ outbox: Outbox) {
    // First, because the reader may be the last and end everything; it only takes a place in a queue.
    for kept in outbox.kept { disk?.keep(kept) }
    for finished in outbox.finished { report(finished) }
    for (get, priority) in outbox.submissions { submit(get, priority) }
    for fetch in outbox.promotions {
      scheduler.promote(fetch)
      disk?.scheduler.promote(fetch)
    }
    outbox.effects.perform()
  }

  private func report(_ finished: Outbox.Finished) {
    let read = finished.read
    read.cancellation?.removeHandler(finished.cancellationToken)
    // The read is off all lists now: nobody else touches its claims.
    let claims = read.claims
    read.claims = []
    let isSuccess: Bool
    switch finished.result {
    case .success:
      isSuccess = true
      read.completion(.success(ReadSlices(slices(read.range) { claims[$0].handle })))
    case .failure(let error):
      isSuccess = false
      read.completion(.failure(error))
    }
    var pins = PinnedBlocks()
    for case let handle? in claims.map(\.handle) { pins.append(handle) }
    let (use, last) = isSuccess ? uses(read.range, isStreaming: read.isStreaming) : (.none, .none)
    var effects = PoolEffects()
    pool.unpin(pins, use, last: last, &effects)
    effects.perform()
  }
}
