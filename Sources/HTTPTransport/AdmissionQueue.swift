/// Who may start now, when only so many transfers may be under way for one host and in all.
///
/// First come, first served, except that a host at its limit does not hold up the others. libcurl has such limits too,
/// but there the deadlines of a transfer run while it waits. A pure value: it names transfers by ascending numbers.
struct AdmissionQueue {
  private struct Host {
    var active = 0
    var waiting: [UInt64] = []
    // Where the queue begins in `waiting`; taking from the front of an array would move the rest each time.
    var head = 0

    var first: UInt64? { head < waiting.count ? waiting[head] : nil }
    var isUnused: Bool { active == 0 && head == waiting.count }

    mutating func removeFirst() {
      head += 1
      if head == waiting.count || head > 256 {
        waiting.removeFirst(head)
        head = 0
      }
    }
  }

  private let perHost: Int
  private let total: Int
  private var active = 0
  private var hosts: [String: Host] = [:]

  /// Limits below 1 count as 1.
  init(perHost: Int, total: Int) {
    self.perHost = max(1, perHost)
    self.total = max(1, total)
  }

  /// Appends a transfer; `id` must be larger than every one before.
  mutating func enqueue(_ id: UInt64, host: String) {
    hosts[host, default: Host()].waiting.append(id)
  }

  /// Takes the transfer that has waited longest among those that may start, and counts it as active.
  mutating func admit() -> UInt64? {
    guard active < total else { return nil }
    var next: (id: UInt64, host: String)?
    for (name, host) in hosts where host.active < perHost {
      if let first = host.first, first < next?.id ?? .max { next = (first, name) }
    }
    guard let next else { return nil }
    active += 1
    hosts[next.host]?.active += 1
    hosts[next.host]?.removeFirst()
    return next.id
  }

  /// An admitted transfer is over.
  mutating func finish(host: String) {
    guard let entry = hosts[host], entry.active > 0 else { return }
    active -= 1
    hosts[host]?.active -= 1
    forgetIfUnused(host)
  }

  /// Takes a transfer out that still waits; false when it does not.
  mutating func remove(_ id: UInt64, host: String) -> Bool {
    guard let entry = hosts[host] else { return false }
    var low = entry.head
    var high = entry.waiting.count
    while low < high {
      let middle = (low + high) / 2
      if entry.waiting[middle] < id { low = middle + 1 } else { high = middle }
    }
    guard low < entry.waiting.count, entry.waiting[low] == id else { return false }
    hosts[host]?.waiting.remove(at: low)
    forgetIfUnused(host)
    return true
  }

  private mutating func forgetIfUnused(_ host: String) {
    if hosts[host]?.isUnused == true { hosts[host] = nil }
  }
}
