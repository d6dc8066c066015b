import Basics
import BlockCache
import ObjectStore

/// Getting from the disk what is there, and from the network the rest.
extension SharedObject {
  /// Sends a GET to the disk if that may have some of it, or else to the network.
  func submit(_ get: any ScheduledGet, _ priority: GetScheduler.Priority) {
    guard let disk, let fetch = get as? Fetch, let identity = identityToAsk(for: fetch) else {
      return scheduler.submit(get, priority)
    }
    // Known without asking the disk, most of all for what was just begun to be fetched.
    if disk.cache.lacks(fetch.granules, of: identity) {
      state.withLock { _ in fetch.stage = .network }
      scheduler.submit(fetch, priority)
    } else {
      disk.scheduler.submit(fetch, priority)
    }
  }

  /// Nil for what was sent to the network before.
  private func identityToAsk(for fetch: Fetch) -> CacheIdentity? {
    state.withLock { state in fetch.stage == .disk ? state.identity : nil }
  }

  func stage(of fetch: Fetch) -> Fetch.Stage { state.withLock { _ in fetch.stage } }

  /// Gets what the disk has of a fetch, on one of its threads; the rest goes on to the network first, since it takes
  /// longer.
  func readFromDisk(_ fetch: Fetch) {
    guard let disk, let identity = state.withLock({ $0.identity }) else { return sendToNetwork(fetch) }
    let parts = split(fetch, at: disk.cache.present(fetch.granules, of: identity))
    for part in parts where !part.isHere { sendToNetwork(part.fetch) }
    let here = parts.filter(\.isHere).map(\.fetch)
    // This thread takes the first, others what they can.
    for fetch in here.dropFirst() { disk.scheduler.submit(fetch, priority(of: fetch)) }
    if let first = here.first { readPart(first, disk, identity) }
  }

  private func priority(of fetch: Fetch) -> GetScheduler.Priority {
    state.withLock { state in fetch.starter != nil || Self.isAwaited(fetch, state) ? .demand : .ahead }
  }

  private func sendToNetwork(_ fetch: Fetch) {
    state.withLock { _ in fetch.stage = .network }
    scheduler.submit(fetch, priority(of: fetch))
  }

  private func readPart(_ fetch: Fetch, _ disk: DiskStage, _ identity: CacheIdentity) {
    var count: UInt64 = 0
    for index in Granules.blocks(fetch.granules) {
      if state.withLock({ _ in fetch.cancellation }).isCancelled { return finish(fetch, unwanted) }
      let granules = fetch.granules.clamped(to: index * Granules.perBlock..<(index + 1) * Granules.perBlock)
      let memory = pool.memory(of: fetch.blocks[Int(index - fetch.firstBlock)])
      let start = Int(granules.lowerBound % Granules.perBlock * Granules.size)
      let good = disk.cache.read(
        granules, of: identity, into: UnsafeMutableRawBufferPointer(rebasing: memory[start...]))
      count += UInt64(good)
      if good > 0 { arrived(fetch, upTo: count) }
      // What is damaged comes from the network, and with it what follows.
      if good < granules.count { return sendToNetwork(fetch) }
    }
    finish(fetch, nil)
  }

  /// Cuts a fetch into one for each block with granules that are on the disk, and one for each run that is not.
  private func split(_ fetch: Fetch, at present: [Range<UInt64>]) -> [(fetch: Fetch, isHere: Bool)] {
    var runs: [(granules: Range<UInt64>, isHere: Bool)] = []
    var next = fetch.granules.lowerBound
    for run in present {
      if run.lowerBound > next { runs.append((next..<run.lowerBound, false)) }
      for index in Granules.blocks(run) {
        runs.append((run.clamped(to: index * Granules.perBlock..<(index + 1) * Granules.perBlock), true))
      }
      next = run.upperBound
    }
    if next < fetch.granules.upperBound { runs.append((next..<fetch.granules.upperBound, false)) }
    guard runs.count > 1 else { return [(fetch, runs.first?.isHere ?? false)] }
    let parts = state.withLock { state in
      var parts: [(fetch: Fetch, isHere: Bool)] = []
      for run in runs {
        let blocks = Granules.blocks(run.granules)
        let handles = fetch.blocks[
          Int(blocks.lowerBound - fetch.firstBlock)..<Int(blocks.upperBound - fetch.firstBlock)]
        // Each holds a pin of its own on a block that two of them share.
        if let last = parts.last?.fetch, last.blocks.last == handles.first { _ = handles.first.map(pool.pin) }
        let part = Fetch(
          object: self, place: state.place, granules: run.granules, blocks: Array(handles), starter: fetch.starter,
          sponsors: fetch.sponsors)
        parts.append((part, run.isHere))
      }
      state.fetches.removeAll { $0 === fetch }
      state.fetches += parts.map(\.fetch)
      return parts
    }
    // Somebody may have found it before it was cut, and cancel it now: that means all of it.
    let cancellations = parts.map(\.fetch.cancellation)
    fetch.cancellation.addHandler { for cancellation in cancellations { cancellation.cancel() } }
    return parts
  }
}
