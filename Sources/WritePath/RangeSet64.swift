/// A set of byte offsets, kept as sorted ranges that neither overlap nor touch.
///
/// Operations cost a search plus the number of ranges they change: files are written in few runs.
public struct RangeSet64: Hashable, Sendable {
  /// The ranges, in ascending order.
  public private(set) var ranges: [Range<UInt64>] = []

  /// The empty set.
  public init() {}

  /// Whether nothing is in the set.
  public var isEmpty: Bool { ranges.isEmpty }

  /// How many bytes are in the set.
  public var byteCount: UInt64 { ranges.reduce(0) { $0 + ($1.upperBound - $1.lowerBound) } }

  /// Adds a range, joining what it touches.
  public mutating func insert(_ range: Range<UInt64>) {
    guard !range.isEmpty else { return }
    let first = firstIndex(endingAtOrAfter: range.lowerBound)
    var last = first
    var lower = range.lowerBound
    var upper = range.upperBound
    while last < ranges.count, ranges[last].lowerBound <= range.upperBound {
      lower = min(lower, ranges[last].lowerBound)
      upper = max(upper, ranges[last].upperBound)
      last += 1
    }
    ranges.replaceSubrange(first..<last, with: CollectionOfOne(lower..<upper))
  }

  /// Removes everything at or above `offset`.
  public mutating func removeAll(from offset: UInt64) {
    while let last = ranges.last, last.upperBound > offset {
      ranges.removeLast()
      if last.lowerBound < offset { ranges.append(last.lowerBound..<offset) }
    }
  }

  /// Whether every byte of `range` is in the set.
  public func contains(_ range: Range<UInt64>) -> Bool {
    guard !range.isEmpty else { return true }
    let index = firstIndex(endingAtOrAfter: range.upperBound)
    return index < ranges.count && ranges[index].lowerBound <= range.lowerBound
  }

  /// Whether any byte of `range` is in the set.
  public func intersects(_ range: Range<UInt64>) -> Bool {
    guard !range.isEmpty else { return false }
    let index = firstIndex(endingAtOrAfter: range.lowerBound + 1)
    return index < ranges.count && ranges[index].lowerBound < range.upperBound
  }

  /// The parts of `range` that are not in the set, in ascending order.
  public func gaps(in range: Range<UInt64>) -> [Range<UInt64>] {
    var gaps: [Range<UInt64>] = []
    var position = range.lowerBound
    var index = firstIndex(endingAtOrAfter: position)
    while position < range.upperBound {
      guard index < ranges.count, ranges[index].lowerBound < range.upperBound else {
        gaps.append(position..<range.upperBound)
        break
      }
      if ranges[index].lowerBound > position { gaps.append(position..<ranges[index].lowerBound) }
      position = max(position, ranges[index].upperBound)
      index += 1
    }
    return gaps
  }

  /// Index of the first range whose end is not below `offset`.
  private func firstIndex(endingAtOrAfter offset: UInt64) -> Int {
    var low = 0
    var high = ranges.count
    while low < high {
      let middle = (low + high) / 2
      if ranges[middle].upperBound < offset { low = middle + 1 } else { high = middle }
    }
    return low
  }
}
