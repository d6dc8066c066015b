/// Work that becomes due at a time; a binary heap. Entries for the same time come out in the order they went in.
struct TimerQueue<Work> {
  private struct Entry {
    var deadline: UInt64
    var sequence: UInt64
    var work: Work

    func isBefore(_ other: Entry) -> Bool { (deadline, sequence) < (other.deadline, other.sequence) }
  }

  private var heap: [Entry] = []
  private var nextSequence: UInt64 = 0

  /// When the next entry is due, in nanoseconds of the monotonic clock.
  var nextDeadline: UInt64? { heap.first?.deadline }

  /// Adds work that is due at `deadline`, in nanoseconds of the monotonic clock.
  mutating func add(deadline: UInt64, _ work: Work) {
    heap.append(Entry(deadline: deadline, sequence: nextSequence, work: work))
    nextSequence += 1
    var child = heap.count - 1
    while child > 0 {
      let parent = (child - 1) / 2
      guard heap[child].isBefore(heap[parent]) else { break }
      heap.swapAt(child, parent)
      child = parent
    }
  }

  /// Takes the earliest entry if it is due at `now`.
  mutating func take(dueAt now: UInt64) -> Work? {
    guard let first = heap.first, first.deadline <= now else { return nil }
    let last = heap.removeLast()
    if !heap.isEmpty {
      heap[0] = last
      siftDown()
    }
    return first.work
  }

  private mutating func siftDown() {
    var parent = 0
    while true {
      var smallest = parent
      for child in (2 * parent + 1)...(2 * parent + 2) where child < heap.count {
        if heap[child].isBefore(heap[smallest]) { smallest = child }
      }
      guard smallest != parent else { return }
      heap.swapAt(parent, smallest)
      parent = smallest
    }
  }
}
