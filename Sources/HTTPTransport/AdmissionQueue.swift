import Basics

/// Who may start now, when only so many transfers may be under way for one host and in all.
///
/// Of several groups of transfers the one with the fewest under way goes first, and none takes more than its share
/// (`SharedPlaces`); within a group it is first come, first served, except that a host at its limit does not hold up the
/// others. libcurl has limits too, but there the deadlines of a transfer run while it waits. A pure value: it names
/// transfers by ascending numbers.
struct AdmissionQueue {
  /// The transfers of one group to one host.
  struct Lane: Hashable {
    var host: String
    var group = ""
  }

  private struct Waiting {
    var numbers: [UInt64] = []
    // Where the queue begins; taking from the front of an array would move the rest each time.
    var head = 0

    var first: UInt64? { head < numbers.count ? numbers[head] : nil }

    mutating func removeFirst() {
      head += 1
      if head == numbers.count || head > 256 {
        numbers.removeFirst(head)
        head = 0
      }
    }
  }

  private let perHost: Int
  /// Transfers under way by group.
  private var groups: SharedPlaces<String>
  /// The same by host.
  private var hosts: [String: Int] = [:]
  private var lanes: [Lane: Waiting] = [:]

  /// Limits below 1 count as 1.
  /// - Parameter isShared: whether there may be several groups; one alone may have all.
  init(perHost: Int, total: Int, isShared: Bool = false) {
    self.perHost = max(1, perHost)
    groups = SharedPlaces(total, isShared: isShared)
  }

  /// Appends a transfer; `id` must be larger than every one before.
  mutating func enqueue(_ id: UInt64, _ lane: Lane) { lanes[lane, default: Waiting()].numbers.append(id) }

  /// Takes the next transfer that may start, and counts it as active.
  mutating func admit() -> UInt64? {
    guard !lanes.isEmpty, groups.hasRoom() else { return nil }
    var next: (active: Int, id: UInt64, lane: Lane)?
    for (lane, waiting) in lanes where hosts[lane.host] ?? 0 < perHost && groups.allows(lane.group) {
      guard let first = waiting.first else { continue }
      let active = groups[lane.group]
      if let next, (next.active, next.id) < (active, first) { continue }
      next = (active, first, lane)
    }
    guard let next else { return nil }
    groups.take(next.lane.group)
    hosts[next.lane.host, default: 0] += 1
    lanes[next.lane]?.removeFirst()
    forgetIfEmpty(next.lane)
    return next.id
  }

  /// An admitted transfer is over.
  mutating func finish(_ lane: Lane) {
    guard groups[lane.group] > 0, let active = hosts[lane.host] else { return }
    groups.giveBack(lane.group)
    hosts[lane.host] = active > 1 ? active - 1 : nil
  }

  /// Takes a transfer out that still waits; false when it does not.
  mutating func remove(_ id: UInt64, _ lane: Lane) -> Bool {
    guard let waiting = lanes[lane] else { return false }
    var low = waiting.head
    var high = waiting.numbers.count
    while low < high {
      let middle = (low + high) / 2
      if waiting.numbers[middle] < id { low = middle + 1 } else { high = middle }
    }
    guard low < waiting.numbers.count, waiting.numbers[low] == id else { return false }
    lanes[lane]?.numbers.remove(at: low)
    forgetIfEmpty(lane)
    return true
  }

  private mutating func forgetIfEmpty(_ lane: Lane) {
    if lanes[lane]?.first == nil { lanes[lane] = nil }
  }
}
