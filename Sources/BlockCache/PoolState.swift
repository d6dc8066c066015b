/// Who gets which block: the decisions of the pool, without memory and without a lock of its own.
struct PoolState {
  /// How badly a block is wanted.
  enum Priority {
    /// Somebody waits for it.
    case demand
    /// It is only guessed that somebody will.
    case ahead
  }

  var table: SlotTable
  let capacity: Int
  /// Blocks that fetching ahead leaves for demand.
  let reserve: Int
  private var tickets: [DemandTicket] = []
  private var allocations: UInt64 = 0
  private(set) var reclaims: UInt64 = 0
  private(set) var epoch: UInt64 = 0
  private(set) var peakInUse = 0

  init(capacity: Int, reserve: Int) {
    self.capacity = capacity
    self.reserve = reserve
    table = SlotTable(count: capacity)
  }

  /// Blocks that hold something or are about to.
  var inUse: Int { capacity - table.count(.free) - table.count(.cold) }
  /// Blocks that nobody may take at the moment.
  var pinned: Int { inUse - table.count(.used) - table.count(.ahead) }
  var waiting: Int { tickets.count }

  /// Blocks that may still be fetched ahead.
  var headroom: Int {
    guard tickets.isEmpty else { return 0 }
    return max(0, table.count(.free) + table.count(.cold) + table.count(.used) - reserve)
  }

  private var obtainable: Int { capacity - pinned }

  // MARK: Pins

  mutating func pin(_ handle: BlockHandle) -> Bool {
    guard let slot = table.slot(of: handle) else { return false }
    table.remove(slot)
    table.update(slot) { $0.pins += 1 }
    return true
  }

  /// Lets go of one pin. `read`: somebody has used the bytes.
  mutating func unpin(_ handle: BlockHandle, read: Bool, _ effects: inout PoolEffects) {
    guard let slot = table.slot(of: handle) else { return }
    let epoch = epoch
    let (idle, owned, unread) = table.update(slot) { slot in
      if read { slot.isUnread = false }
      slot.epoch = epoch
      slot.pins = max(0, slot.pins - 1)
      return (slot.pins == 0, slot.owner != nil, slot.isUnread)
    }
    guard idle else { return }
    if owned {
      table.append(slot, to: unread ? .ahead : .used)
    } else {
      vacate(slot)
      table.append(slot, to: .free)
    }
    feed(&effects)
  }

  // MARK: Allocation

  /// Pins what is there of `claims` and allocates the rest, all or nothing. False: `ticket` is queued instead.
  mutating func acquire(
    _ claims: inout [BlockClaim], owner: any BlockOwner, orQueue ticket: () -> DemandTicket?,
    _ effects: inout PoolEffects
  ) -> Bool {
    var missing = 0
    for position in claims.indices where !pinPresent(&claims[position]) { missing += 1 }
    // Nobody overtakes those who already wait; pinning what is there needs no memory and is no overtaking.
    if missing == 0 || (tickets.isEmpty && obtainable >= missing) {
      for position in claims.indices where claims[position].handle == nil {
        guard let slot = take(.demand, &effects) else { continue }
        claims[position].handle = allocate(slot, owner: owner, index: claims[position].index, unread: false)
        claims[position].isNew = true
      }
      return true
    }
    // While it waits it must hold nothing: whoever holds a pin never waits for memory, so the queue always moves.
    for position in claims.indices {
      if let handle = claims[position].handle { unpinQuietly(handle) }
    }
    if let ticket = ticket() { tickets.append(ticket) }
    feed(&effects)
    return false
  }

  /// Spends the blocks of a granted ticket on `claims`; what is there already keeps its block. Leftovers become free.
  mutating func settle(
    _ claims: inout [BlockClaim], granted: [BlockHandle], owner: any BlockOwner, _ effects: inout PoolEffects
  ) {
    var spare = granted
    for position in claims.indices where !pinPresent(&claims[position]) {
      guard let handle = spare.popLast(), let slot = table.slot(of: handle) else { continue }
      claims[position].handle = allocate(slot, owner: owner, index: claims[position].index, unread: false)
      claims[position].isNew = true
    }
    for handle in spare { unpin(handle, read: false, &effects) }
  }

  /// A block for bytes that are only guessed to be wanted; nil when that would leave too little for demand.
  mutating func allocateAhead(owner: any BlockOwner, index: UInt64, _ effects: inout PoolEffects) -> BlockHandle? {
    demoteStale()
    guard headroom > 0, let slot = take(.ahead, &effects) else { return nil }
    return allocate(slot, owner: owner, index: index, unread: true)
  }

  /// Forgets a ticket. False: it was granted already, and its `onGrant` has been or will be called.
  mutating func withdraw(_ ticket: DemandTicket, _ effects: inout PoolEffects) -> Bool {
    guard let position = tickets.firstIndex(where: { $0 === ticket }) else { return false }
    tickets.remove(at: position)
    for handle in ticket.collected { unpin(handle, read: false, &effects) }
    ticket.collected = []
    feed(&effects)
    return true
  }

  /// Queues a ticket for memory without an owner.
  mutating func enqueue(_ ticket: DemandTicket, _ effects: inout PoolEffects) {
    tickets.append(ticket)
    feed(&effects)
  }

  /// What was fetched ahead into these blocks is no longer expected to be read.
  mutating func abandon(_ handles: [BlockHandle]) {
    for handle in handles {
      guard let slot = table.slot(of: handle) else { continue }
      table.update(slot) { $0.isUnread = false }
      if table.slots[slot].list == .ahead { table.prepend(slot, to: .used) }
    }
  }

  /// The owner gives up a block that holds nothing. False: it is pinned or not there any more.
  mutating func discard(_ handle: BlockHandle, _ effects: inout PoolEffects) -> Bool {
    guard let slot = table.slot(of: handle), table.slots[slot].pins == 0 else { return false }
    vacate(slot)
    table.append(slot, to: .free)
    feed(&effects)
    return true
  }

  // MARK: Trimming

  /// Reclaims what was not used since the last call and takes all resident free slots off their list; the caller gives
  /// their pages back and then calls `returnCold`.
  mutating func beginTrim(_ effects: inout PoolEffects) -> [BlockHandle] {
    for list in [SlotTable.List.used, .ahead] {
      var candidate = table.first(list)
      while let slot = candidate {
        let next = table.slots[slot].next
        candidate = next >= 0 ? next : nil
        guard table.slots[slot].epoch < epoch else { continue }
        reclaim(slot, &effects)
        table.append(slot, to: .free)
      }
    }
    epoch += 1
    var taken: [BlockHandle] = []
    while let slot = table.first(.free) {
      table.remove(slot)
      table.update(slot) { $0.pins = 1 }
      taken.append(table.handle(slot))
    }
    return taken
  }

  mutating func returnCold(_ handles: [BlockHandle], _ effects: inout PoolEffects) {
    for handle in handles {
      guard let slot = table.slot(of: handle) else { continue }
      vacate(slot)
      table.append(slot, to: .cold)
    }
    feed(&effects)
  }

  // MARK: Inside

  private mutating func pinPresent(_ claim: inout BlockClaim) -> Bool {
    claim.isNew = false
    guard let handle = claim.handle else { return false }
    if pin(handle) { return true }
    claim.handle = nil
    return false
  }

  private mutating func unpinQuietly(_ handle: BlockHandle) {
    guard let slot = table.slot(of: handle) else { return }
    let (idle, unread) = table.update(slot) { slot in
      slot.pins = max(0, slot.pins - 1)
      return (slot.pins == 0, slot.isUnread)
    }
    if idle { table.append(slot, to: unread ? .ahead : .used) }
  }

  /// A slot that is on no list and owned by nobody.
  private mutating func take(_ priority: Priority, _ effects: inout PoolEffects) -> Int? {
    if let slot = table.last(.free) ?? table.first(.cold) {
      table.remove(slot)
      return slot
    }
    guard let slot = table.first(.used) ?? (priority == .demand ? table.first(.ahead) : nil) else { return nil }
    reclaim(slot, &effects)
    return slot
  }

  private mutating func allocate(_ slot: Int, owner: any BlockOwner, index: UInt64, unread: Bool) -> BlockHandle {
    allocations += 1
    let (born, epoch) = (allocations, epoch)
    table.update(slot) { slot in
      slot.owner = owner
      slot.index = index
      slot.pins = 1
      slot.isUnread = unread
      slot.born = born
      slot.epoch = epoch
    }
    peakInUse = max(peakInUse, inUse)
    return table.handle(slot)
  }

  private mutating func reclaim(_ slot: Int, _ effects: inout PoolEffects) {
    let handle = table.handle(slot)
    if let owner = table.slots[slot].owner {
      effects.reclaimed.append(PoolEffects.Reclaimed(owner: owner, handle: handle, index: table.slots[slot].index))
    }
    reclaims += 1
    table.remove(slot)
    vacate(slot)
  }

  private mutating func vacate(_ slot: Int) {
    table.update(slot) { slot in
      slot.generation += 1
      slot.owner = nil
      slot.pins = 0
      slot.isUnread = false
    }
  }

  /// A block fetched ahead that nobody read while a whole budget's worth of others came in was a wrong guess.
  private mutating func demoteStale() {
    while let slot = table.first(.ahead), table.slots[slot].born + UInt64(capacity) < allocations {
      table.update(slot) { $0.isUnread = false }
      table.prepend(slot, to: .used)
    }
  }

  /// Hands blocks to the first in the queue. Only the first collects, so two waiters never hold what the other needs.
  private mutating func feed(_ effects: inout PoolEffects) {
    while let ticket = tickets.first {
      while ticket.collected.count < ticket.span, let slot = take(.demand, &effects) {
        table.update(slot) { $0.pins = 1 }
        ticket.collected.append(table.handle(slot))
      }
      guard ticket.collected.count == ticket.span else { break }
      tickets.removeFirst()
      effects.granted.append(ticket)
    }
    peakInUse = max(peakInUse, inUse)
  }
}
