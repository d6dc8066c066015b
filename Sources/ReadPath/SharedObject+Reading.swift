import Basics
import BlockCache
import ObjectStore

/// Asking for bytes that are not there.
extension SharedObject {
  /// Starts a read that was not a hit.
  /// - Returns: where fetching beyond the asked bytes had to stop for lack of memory, nil if it did not; and whether
  ///   something had to be asked for that was not on its way.
  func start(_ read: PendingRead) -> (dropped: UInt64?, hasAsked: Bool) {
    var outbox = Outbox()
    let dropped = state.withLock { state in
      admit(read, granted: nil, &state, &outbox)
    }
    let result = (dropped, hasAsked: !outbox.submissions.isEmpty)
    deliver(outbox)
    guard let cancellation = read.cancellation else { return result }
    let token = cancellation.addHandler { self.cancel(read) }
    let isLate = state.withLock { _ in
      read.cancellationToken = token
      return read.isFinished
    }
    if isLate { cancellation.removeHandler(token) }
    return result
  }

  /// Fetches ahead, as far as there is memory for it.
  /// - Returns: where it had to stop; nil if it did not.
  func fetchAhead(_ ranges: [ByteRange], reader: UInt64) -> UInt64? {
    var outbox = Outbox()
    let dropped: UInt64? = state.withLock { state in
      guard state.readers.contains(reader) else { return nil }
      for range in ranges where range.length > 0 {
        let granules = Granules.covering(range)
        join(granules, reader: reader, isAwaited: false, &state, &outbox)
        if let dropped = request(granules, for: nil, sponsor: reader, &state, &outbox) { return dropped }
      }
      return nil
    }
    deliver(outbox)
    return dropped
  }

  /// Gets the memory for a read and asks for what is missing, or queues it for memory. `granted`: its blocks, when it
  /// has waited for them.
  private func admit(
    _ read: PendingRead, granted: [BlockHandle]?, _ state: inout State, _ outbox: inout Outbox
  ) -> UInt64? {
    var claims = Granules.blocks(read.range).map { BlockClaim(index: $0, handle: state.blocks[$0]?.handle) }
    if let granted {
      pool.settle(&claims, granted: granted, owner: self, &outbox.effects)
    } else {
      var ticket: DemandTicket?
      let span = claims.count
      let isPinned = pool.acquire(&claims, owner: self, &outbox.effects) {
        let made = DemandTicket(span: span) { self.resume(read, $0) }
        ticket = made
        return made
      }
      guard isPinned else {
        if let ticket { read.phase = .waitingForMemory(ticket) }
        return nil
      }
    }
    read.claims = claims
    read.phase = .waitingForBytes
    for claim in claims where claim.isNew {
      if let handle = claim.handle { state.blocks[claim.index] = Block(handle: handle) }
    }
    return enlist(read, &state, &outbox)
  }

  /// Registers a read whose blocks are pinned with what it misses.
  private func enlist(_ read: PendingRead, _ state: inout State, _ outbox: inout Outbox) -> UInt64? {
    let granules = read.granules
    read.missing = 0
    for claim in read.claims {
      let needed = Granules.mask(granules, in: claim.index)
      let missing = needed.subtracting(state.blocks[claim.index]?.ready ?? .none)
      guard !missing.isEmpty else { continue }
      read.missing += missing.count
      state.blocks[claim.index]?.waiters.append(read)
    }
    guard read.missing > 0 else {
      outbox.finish(read, .success(()))
      return nil
    }
    join(granules, reader: read.reader, isAwaited: true, &state, &outbox)
    return request(Granules.covering(read.demand), for: read, sponsor: read.reader, &state, &outbox)
  }

  /// The pool has the memory that `read` waited for.
  private func resume(_ read: PendingRead, _ granted: [BlockHandle]) {
    var outbox = Outbox()
    state.withLock { state in
      if read.isFinished {
        pool.unpin(granted, .none, &outbox.effects)
      } else {
        _ = admit(read, granted: granted, &state, &outbox)
      }
    }
    deliver(outbox)
  }

  private func cancel(_ read: PendingRead) {
    var outbox = Outbox()
    let error = error(.cancelled, "The caller gave up.")
    state.withLock { state in
      if read.isFinished { return }
      if case .waitingForMemory(let ticket) = read.phase {
        // If it is granted already, `resume` finds the read finished and gives the blocks back.
        _ = pool.withdraw(ticket, &outbox.effects)
      }
      forget(read, &state)
      outbox.finish(read, .failure(error))
    }
    deliver(outbox)
  }

  /// Takes a read off the lists of the blocks it waits for.
  func forget(_ read: PendingRead, _ state: inout State) {
    for claim in read.claims {
      state.blocks[claim.index]?.waiters.removeAll { $0 === read }
    }
  }

  // MARK: GETs

  /// Records that `reader` counts on GETs that are under way for some of `granules`.
  func join(
    _ granules: Range<UInt64>, reader: UInt64, isAwaited: Bool, _ state: inout State, _ outbox: inout Outbox
  ) {
    for fetch in state.fetches where fetch.granules.overlaps(granules) {
      if !fetch.sponsors.contains(reader) { fetch.sponsors.append(reader) }
      if isAwaited, fetch.starter == nil { outbox.promote(fetch) }
    }
  }

  /// Makes GETs for those of `granules` that are neither there nor asked for. Blocks that are not there are allocated
  /// as a guess.
  /// - Returns: the first byte for which there was no memory; nil if there was enough.
  func request(
    _ granules: Range<UInt64>, for starter: PendingRead?, sponsor: UInt64, _ state: inout State,
    _ outbox: inout Outbox
  ) -> UInt64? {
    var run = Run()
    var dropped: UInt64?
    for index in Granules.blocks(granules) {
      guard let handle = hold(index, &state, &outbox) else {
        // What is asked for is pinned, so this block is not part of it; but what follows may be.
        flush(&run, starter, sponsor, &state, &outbox)
        dropped = dropped ?? max(index * Granules.blockSize, granules.lowerBound * Granules.size)
        if starter == nil { break }
        continue
      }
      let first = index * Granules.perBlock
      for granule in granules.clamped(to: first..<first + Granules.perBlock) {
        let mask = Granules.mask(granule..<granule + 1, in: index)
        guard let block = state.blocks[index], block.ready.intersection(mask).isEmpty,
          block.requested.intersection(mask).isEmpty
        else {
          flush(&run, starter, sponsor, &state, &outbox)
          continue
        }
        if UInt64(run.granules.count) * Granules.size >= maximumGet {
          flush(&run, starter, sponsor, &state, &outbox)
        }
        state.blocks[index]?.requested.insert(mask)
        if run.blocks.last != handle, pool.pin(handle) { run.blocks.append(handle) }
        run.granules = run.granules.isEmpty ? granule..<granule + 1 : run.granules.lowerBound..<granule + 1
      }
      pool.unpin(CollectionOfOne(handle), .none, &outbox.effects)
    }
    flush(&run, starter, sponsor, &state, &outbox)
    return dropped
  }

  private struct Run {
    var granules: Range<UInt64> = 0..<0
    var blocks: [BlockHandle] = []
  }

  private func flush(
    _ run: inout Run, _ starter: PendingRead?, _ sponsor: UInt64, _ state: inout State, _ outbox: inout Outbox
  ) {
    guard !run.granules.isEmpty else { return }
    let fetch = Fetch(
      object: self, place: state.place, granules: run.granules, blocks: run.blocks, starter: starter,
      sponsors: [sponsor])
    state.fetches.append(fetch)
    outbox.submit(fetch)
    run = Run()
  }

  /// Pins block `index`, which is allocated as a guess if it is not there.
  private func hold(_ index: UInt64, _ state: inout State, _ outbox: inout Outbox) -> BlockHandle? {
    if let handle = state.blocks[index]?.handle, pool.pin(handle) { return handle }
    guard let handle = pool.allocateAhead(owner: self, index: index, &outbox.effects) else { return nil }
    state.blocks[index] = Block(handle: handle)
    return handle
  }
}
