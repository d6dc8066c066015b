/// The bytes of an object or a part: slices of memory in a row. Copying a range of it shares the memory.
struct Body: Sendable {
  private struct Slice {
    var memory: Memory
    var offset: Int
    var count: Int
    /// Where it begins in the body.
    var start: Int
  }

  private var slices: [Slice] = []
  private(set) var count = 0

  init() {}

  /// Adds memory to the end, of which the first `count` bytes are used.
  mutating func append(_ memory: Memory, count: Int) {
    append(memory, offset: 0, count: count)
  }

  mutating func append(_ other: Body) {
    slices.reserveCapacity(slices.count + other.slices.count)
    for slice in other.slices { append(slice.memory, offset: slice.offset, count: slice.count) }
  }

  private mutating func append(_ memory: Memory, offset: Int, count: Int) {
    guard count > 0 else { return }
    slices.append(Slice(memory: memory, offset: offset, count: count, start: self.count))
    self.count += count
  }

  /// A range of it, with the same memory.
  func subrange(_ range: Range<Int>) -> Body {
    var result = Body()
    forEachSlice(in: range) { result.append($0, offset: $1, count: $2) }
    return result
  }

  /// The addresses of a range, which are good as long as this body lives.
  func regions(in range: Range<Int>) -> [UnsafeRawBufferPointer] {
    var regions: [UnsafeRawBufferPointer] = []
    regions.reserveCapacity(range.count / SlabPool.slabSize + 2)
    forEachSlice(in: range) { memory, offset, count in
      regions.append(UnsafeRawBufferPointer(start: memory.base + offset, count: count))
    }
    return regions
  }

  /// A copy of all bytes.
  var bytes: [UInt8] {
    withExtendedLifetime(self) { regions(in: 0..<count).flatMap { Array($0) } }
  }

  private func forEachSlice(in range: Range<Int>, _ visit: (Memory, Int, Int) -> Void) {
    guard !range.isEmpty else { return }
    var (low, high) = (0, slices.count)
    while high - low > 1 {
      let middle = (low + high) / 2
      if slices[middle].start <= range.lowerBound { low = middle } else { high = middle }
    }
    for slice in slices[low...] {
      let begin = max(range.lowerBound, slice.start)
      let end = min(range.upperBound, slice.start + slice.count)
      guard begin < end else { return }
      visit(slice.memory, slice.offset + begin - slice.start, end - begin)
    }
  }
}
