import Glibc
import Synchronization

/// The memory that holds objects: slabs of one size in one mapping that is made at the start.
///
/// A page that is touched for the first time costs several microseconds, more than a network needs to fill it. So
/// memory is touched before it is needed (`touch`), slabs are used again, the last returned first, and never given back.
final class SlabPool: @unchecked Sendable {
  /// Small enough to still be in the processor's cache when it is hashed after it was received.
  static let slabSize = 256 << 10

  private struct State {
    /// The numbers of slabs that were used before.
    var free: [Int] = []
    /// Slabs that were never used begin here.
    var untouched = 0
    /// Bytes in use outside of slabs.
    var small = 0

    /// Bytes in use.
    var used: Int { (untouched - free.count) * slabSize + small }
  }

  // Written once; what it points to belongs to whoever has taken the slab.
  private let base: UnsafeMutableRawPointer
  private let limit: Int
  private let state: Mutex<State>

  /// - Parameter limit: how many bytes may be in use at once; a multiple of the size of a slab is used.
  init?(limit: Int) {
    self.limit = limit / Self.slabSize * Self.slabSize
    // Reserved beyond that, so that it can be aligned to the size of huge pages: these cost a fault each 2 MiB only.
    let huge = 2 << 20
    let flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE
    guard limit > 0, let region = mmap(nil, self.limit + huge, PROT_READ | PROT_WRITE, flags, -1, 0),
      region != MAP_FAILED
    else { return nil }
    base = region.alignedUp(toMultipleOf: huge)
    madvise(base, self.limit, 14 /* MADV_HUGEPAGE, which glibc hides behind _GNU_SOURCE */)
    state = Mutex(State())
  }

  /// Touches the first `bytes` before they are used.
  func touch(_ bytes: Int) {
    for offset in stride(from: 0, to: min(bytes, limit), by: 4096) {
      base.storeBytes(of: 0, toByteOffset: offset, as: UInt8.self)
    }
  }

  /// Bytes that are in use.
  var used: Int {
    state.withLock { $0.used }
  }

  /// Memory for up to `count` bytes, less when a slab is smaller; nil when the limit is reached.
  func take(_ count: Int) -> Memory? {
    // Many objects are far smaller than a slab.
    if count <= Self.slabSize / 4 { return takeSmall(count) }
    let slab: Int? = state.withLock { state in
      guard state.used + Self.slabSize <= limit else { return nil }
      if let slab = state.free.popLast() { return slab }
      state.untouched += 1
      return state.untouched - 1
    }
    return slab.map { Memory(base + $0 * Self.slabSize, Self.slabSize, .slab(self)) }
  }

  private func takeSmall(_ count: Int) -> Memory? {
    let isThere = state.withLock { state in
      guard state.used + count <= limit else { return false }
      state.small += count
      return true
    }
    guard isThere else { return nil }
    return Memory(.allocate(byteCount: count, alignment: 16), count, .small(self))
  }

  fileprivate func giveBack(_ slab: UnsafeMutableRawPointer) {
    let number = (slab - base) / Self.slabSize
    state.withLock { $0.free.append(number) }
  }

  fileprivate func giveBackSmall(_ memory: UnsafeMutableRawPointer, _ count: Int) {
    memory.deallocate()
    state.withLock { $0.small -= count }
  }

  deinit { munmap(base, limit) }
}

/// A piece of memory, which goes back to where it came from with its last user.
///
/// Only the thread that took it writes to it, before anybody else sees it.
final class Memory: @unchecked Sendable {
  fileprivate enum Origin {
    case slab(SlabPool)
    case small(SlabPool)
  }

  let base: UnsafeMutableRawPointer
  let count: Int
  private let origin: Origin

  fileprivate init(_ base: UnsafeMutableRawPointer, _ count: Int, _ origin: Origin) {
    self.base = base
    self.count = count
    self.origin = origin
  }

  deinit {
    switch origin {
    case .slab(let pool): pool.giveBack(base)
    case .small(let pool): pool.giveBackSmall(base, count)
    }
  }
}
