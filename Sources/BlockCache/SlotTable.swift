/// The slots of a pool and the lists they are on: plain bookkeeping, no memory and no locks.
struct SlotTable {
  /// The list a slot is on. One that is pinned, or on its way to be given back to the system, is on none.
  enum List: Int, CaseIterable {
    /// Memory that nobody owns and that is still resident; last in, first out, because it is warm.
    case free
    /// Memory that nobody owns and that the system has back (or never gave).
    case cold
    /// Blocks that a stream has read to their end and will hardly read again; oldest use first.
    case passed
    /// Other blocks that have been read; oldest use first.
    case used
    /// Blocks that were fetched ahead and not read yet; oldest first.
    case ahead
  }

  struct Slot {
    var generation: UInt64 = 0
    var pins = 0
    var list: List?
    var previous = -1
    var next = -1
    var owner: (any BlockOwner)?
    var index: UInt64 = 0
    /// Whether it was fetched on a guess and nobody has read it yet.
    var isUnread = false
    /// Whether its last use was the end of a stream's way through it.
    var isPassed = false
    /// The number of allocations there had been when it was allocated.
    var born: UInt64 = 0
    /// The epoch (see `BlockPool.trim`) in which it was last used.
    var epoch: UInt64 = 0
  }

  private struct Ends {
    var first = -1
    var last = -1
    var count = 0
  }

  private(set) var slots: [Slot]
  private var ends = [Ends](repeating: Ends(), count: List.allCases.count)

  init(count: Int) {
    slots = Array(repeating: Slot(), count: count)
    for slot in slots.indices { append(slot, to: .cold) }
  }

  func count(_ list: List) -> Int { ends[list.rawValue].count }

  func first(_ list: List) -> Int? {
    let first = ends[list.rawValue].first
    return first >= 0 ? first : nil
  }

  func last(_ list: List) -> Int? {
    let last = ends[list.rawValue].last
    return last >= 0 ? last : nil
  }

  /// The slot a handle stands for, unless it is stale.
  func slot(of handle: BlockHandle) -> Int? {
    guard slots.indices.contains(handle.slot), slots[handle.slot].generation == handle.generation else { return nil }
    return handle.slot
  }

  func handle(_ slot: Int) -> BlockHandle { BlockHandle(slot: slot, generation: slots[slot].generation) }

  mutating func update<Value>(_ slot: Int, _ change: (inout Slot) -> Value) -> Value { change(&slots[slot]) }

  mutating func append(_ slot: Int, to list: List) {
    remove(slot)
    let last = ends[list.rawValue].last
    slots[slot].list = list
    slots[slot].previous = last
    slots[slot].next = -1
    if last >= 0 { slots[last].next = slot } else { ends[list.rawValue].first = slot }
    ends[list.rawValue].last = slot
    ends[list.rawValue].count += 1
  }

  mutating func prepend(_ slot: Int, to list: List) {
    remove(slot)
    let first = ends[list.rawValue].first
    slots[slot].list = list
    slots[slot].previous = -1
    slots[slot].next = first
    if first >= 0 { slots[first].previous = slot } else { ends[list.rawValue].last = slot }
    ends[list.rawValue].first = slot
    ends[list.rawValue].count += 1
  }

  /// Takes a slot off whatever list it is on.
  mutating func remove(_ slot: Int) {
    guard let list = slots[slot].list else { return }
    let (previous, next) = (slots[slot].previous, slots[slot].next)
    if previous >= 0 { slots[previous].next = next } else { ends[list.rawValue].first = next }
    if next >= 0 { slots[next].previous = previous } else { ends[list.rawValue].last = previous }
    ends[list.rawValue].count -= 1
    slots[slot].list = nil
    slots[slot].previous = -1
    slots[slot].next = -1
  }
}
