/// Values by key, in order.
///
/// A list of sorted leaves of limited length: an insertion moves the entries of one leaf only, where one sorted array
/// of a hundred thousand keys would move megabytes.
struct SortedMap<Value: Sendable>: Sendable {
  typealias Entry = (key: Key, value: Value)

  /// What a visitor wants next.
  enum Step {
    case next
    /// Go on at the first key that is not before this one, which must lie ahead.
    case seek(Key)
    case stop
  }

  private static var leafLimit: Int { 512 }

  /// Never empty; only a sole leaf has no entries.
  private var leaves: [[Entry]] = [[]]
  private(set) var count = 0

  var isEmpty: Bool { count == 0 }

  subscript(key: Key) -> Value? {
    let (leaf, index) = position(of: key)
    guard index < leaves[leaf].count, leaves[leaf][index].key == key else { return nil }
    return leaves[leaf][index].value
  }

  /// Sets the value, and returns the one it replaces.
  @discardableResult
  mutating func set(_ key: Key, _ value: Value) -> Value? {
    let (leaf, index) = position(of: key)
    if index < leaves[leaf].count, leaves[leaf][index].key == key {
      let old = leaves[leaf][index].value
      leaves[leaf][index].value = value
      return old
    }
    leaves[leaf].insert((key, value), at: index)
    count += 1
    if leaves[leaf].count > Self.leafLimit {
      let half = leaves[leaf].count / 2
      leaves.insert(Array(leaves[leaf][half...]), at: leaf + 1)
      leaves[leaf].removeSubrange(half...)
    }
    return nil
  }

  @discardableResult
  mutating func remove(_ key: Key) -> Value? {
    let (leaf, index) = position(of: key)
    guard index < leaves[leaf].count, leaves[leaf][index].key == key else { return nil }
    let old = leaves[leaf].remove(at: index).value
    count -= 1
    if leaves[leaf].isEmpty, leaves.count > 1 { leaves.remove(at: leaf) }
    return old
  }

  /// Visits entries in order, beginning with the first whose key is not before `key`.
  func visit(from key: Key, _ visitor: (Entry) -> Step) {
    var (leaf, index) = position(of: key)
    while leaf < leaves.count {
      guard index < leaves[leaf].count else {
        (leaf, index) = (leaf + 1, 0)
        continue
      }
      switch visitor(leaves[leaf][index]) {
      case .next: index += 1
      case .seek(let key): (leaf, index) = position(of: key)
      case .stop: return
      }
    }
  }

  /// Where the key is, or is to be inserted. Within the leaf the index may be behind its last entry.
  private func position(of key: Key) -> (leaf: Int, index: Int) {
    // The last leaf whose first key is not behind it.
    var (low, high) = (0, leaves.count)
    while high - low > 1 {
      let middle = (low + high) / 2
      if key < leaves[middle][0].key { high = middle } else { low = middle }
    }
    let leaf = low
    (low, high) = (0, leaves[leaf].count)
    while low < high {
      let middle = (low + high) / 2
      if leaves[leaf][middle].key < key { low = middle + 1 } else { high = middle }
    }
    return (leaf, low)
  }
}
