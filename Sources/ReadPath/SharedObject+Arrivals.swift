import Basics
import BlockCache
import ObjectStore

/// What GETs bring, and how they end.
extension SharedObject {
  /// A GET is about to start: where to, what is there of it already, and how to cancel it.
  func begin(_ fetch: Fetch) -> (ObjectPlace, arrived: UInt64, Cancellation) {
    state.withLock { state in
      fetch.place = state.place
      return (state.place, fetch.arrived, fetch.cancellation)
    }
  }

  /// The first `count` granules of `fetch` are there.
  func arrived(_ fetch: Fetch, upTo count: UInt64) {
    var outbox = Outbox()
    state.withLock { state in
      let new = fetch.granules.lowerBound + fetch.arrived..<fetch.granules.lowerBound + count
      fetch.arrived = count
      for index in Granules.blocks(new) {
        let mask = Granules.mask(new, in: index)
        state.blocks[index]?.ready.insert(mask)
        state.blocks[index]?.requested.remove(mask)
        wake(index, mask, &state, &outbox)
        if new.upperBound >= min((index + 1) * Granules.perBlock, fetch.granules.upperBound) {
          letGo(fetch, of: index, state, &outbox)
        }
      }
    }
    deliver(outbox)
  }

  /// A fetch has brought all it was to bring of a block: its pin goes on to the disk cache, or ends.
  private func letGo(_ fetch: Fetch, of index: UInt64, _ state: State, _ outbox: inout Outbox) {
    let handle = fetch.blocks[Int(index - fetch.firstBlock)]
    if fetch.stage == .network, let identity = state.identity {
      let granules = fetch.granules.clamped(to: index * Granules.perBlock..<(index + 1) * Granules.perBlock)
      outbox.kept.append(DiskStage.Kept(identity: identity, granules: granules, block: handle))
    } else {
      pool.unpin(CollectionOfOne(handle), .none, &outbox.effects)
    }
  }

  private func wake(_ index: UInt64, _ mask: GranuleMask, _ state: inout State, _ outbox: inout Outbox) {
    guard let waiters = state.blocks[index]?.waiters, !waiters.isEmpty else { return }
    for read in waiters {
      read.missing -= Granules.mask(read.granules, in: index).intersection(mask).count
      guard read.missing <= 0 else { continue }
      forget(read, &state)
      outbox.finish(read, .success(()))
    }
  }

  /// A GET has ended. What arrived stays; what did not can be asked for again.
  func finish(_ fetch: Fetch, _ failure: ObjectStoreError?) {
    var outbox = Outbox()
    if let failure, failure.code != .cancelled { log.debug("a GET failed", metadata: ["error": "\(failure)"]) }
    state.withLock { state in
      if let failure, repeats(fetch, after: failure, from: fetch.place, &state, &outbox) {
        fetch.cancellation = Cancellation()
        return
      }
      state.fetches.removeAll { $0 === fetch }
      guard let failure else { return }
      let lost = fetch.granules.lowerBound + fetch.arrived..<fetch.granules.upperBound
      let waiters = release(lost, of: fetch, &state, &outbox)
      settle(waiters, fetch, failure, &state, &outbox)
    }
    deliver(outbox)
  }

  /// Whether a GET failed only because the object has another name now, and is sent there instead.
  func repeats(
    _ get: any ScheduledGet, after error: ObjectStoreError, from place: ObjectPlace, _ state: inout State,
    _ outbox: inout Outbox
  ) -> Bool {
    guard error.code == .notFound || error.code == .preconditionFailed else { return false }
    if place != state.place {
      outbox.resubmit(get)
    } else if state.moving > 0 {
      state.parked.append(get)
    } else {
      return false
    }
    return true
  }

  /// Takes back the claim of `fetch` on granules that did not arrive, and tells who waits for them.
  private func release(
    _ lost: Range<UInt64>, of fetch: Fetch, _ state: inout State, _ outbox: inout Outbox
  ) -> [PendingRead] {
    var waiters: [PendingRead] = []
    for index in Granules.blocks(lost) {
      let mask = Granules.mask(lost, in: index)
      state.blocks[index]?.requested.remove(mask)
      for read in state.blocks[index]?.waiters ?? [] where !waiters.contains(where: { $0 === read }) {
        if !Granules.mask(read.granules, in: index).intersection(mask).isEmpty { waiters.append(read) }
      }
      let handle = fetch.blocks[Int(index - fetch.firstBlock)]
      pool.unpin(CollectionOfOne(handle), .none, &outbox.effects)
      // An empty block would count as fetched ahead until it is the oldest.
      if let block = state.blocks[index], block.ready.isEmpty, block.requested.isEmpty, block.waiters.isEmpty,
        pool.discard(block.handle, &outbox.effects)
      {
        state.blocks[index] = nil
      }
    }
    return waiters
  }

  /// Fails the reads that a failed GET leaves without their bytes, or asks once more for them.
  private func settle(
    _ waiters: [PendingRead], _ fetch: Fetch, _ error: ObjectStoreError, _ state: inout State,
    _ outbox: inout Outbox
  ) {
    for read in waiters {
      // Who caused the GET had its chance, and the store its retries. Who merely joined in gets a GET of its own, and
      // a body that was rejected here is asked for again, because the store could not know.
      let deserves = fetch.starter !== read || error.code == .corruptResponse
      if deserves, !read.hasRetried, Self.isPassing(error) {
        read.hasRetried = true
        join(read.granules, reader: read.reader, isAwaited: true, &state, &outbox)
        _ = request(read.granules, for: read, sponsor: read.reader, &state, &outbox)
      } else {
        forget(read, &state)
        outbox.finish(read, .failure(error))
      }
    }
  }

  /// Whether asking again may help.
  private static func isPassing(_ error: ObjectStoreError) -> Bool {
    switch error.code {
    case .throttled, .serverError, .connectionFailed, .timedOut, .corruptResponse, .cancelled, .conflict: true
    default: false
    }
  }
}
