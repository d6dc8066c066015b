public import ObjectStore

/// Decides what to fetch for the reads of one handle: a pure state machine, told about each read.
///
/// A stream that starts at the beginning of the object, or where an earlier read ended, is sequential: its window starts
/// at 1 MiB, grows to 8 MiB when that much was read, and doubles with every half window read. Everything else is a random read, for which just the surroundings
/// are fetched.
public struct ReadAheadPlanner: Sendable, Hashable {
  /// What bounds the planner. Lengths are in bytes.
  public struct Limits: Sendable, Hashable {
    /// What the first read of a sequential stream fetches.
    public var initialWindow: UInt64 = 1 << 20
    /// What the window grows to at once when the first has been read through.
    public var openWindow: UInt64 = 8 << 20
    /// The longest window.
    public var maximumWindow: UInt64 = 64 << 20
    /// The longest single GET.
    public var maximumGet: UInt64 = 8 << 20
    /// A random read fetches whole units of this alignment.
    public var randomUnit: UInt64 = 128 << 10
    /// An object of at most this length is fetched whole.
    public var wholeObject: UInt64 = 256 << 10
    /// Streams that are told apart, at least 1.
    public var maximumStreams = 8

    /// The defaults.
    public init() {}
  }

  /// What to do for a read.
  public struct Plan: Sendable, Hashable {
    /// The bytes to fetch now, as far as they are not there: at least what was asked for.
    public var demand: ByteRange
    /// Whether `demand` reaches beyond what was asked for because more reads are expected there: then its rest is to be
    /// fetched even if the asked bytes are at hand.
    public var extends = false
    /// Whether the reader goes through the object in order and will hardly come back.
    public var isStreaming = false
    /// The bytes to fetch ahead, a GET each, in order.
    public var ahead: [ByteRange]
  }

  private let size: UInt64
  private let limits: Limits
  private var streams: [ReadStream] = []
  private var reads: UInt64 = 0

  /// A stream unused for that many reads may be forgotten for a new one even though it was sequential.
  private static let stale: UInt64 = 64
  private static let block: UInt64 = 1 << 20

  /// A planner for an object of `size` bytes.
  public init(size: UInt64, limits: Limits = Limits()) {
    // Far beyond any object, and far from where rounding up would overflow.
    self.size = min(size, 1 << 60)
    self.limits = limits
  }

  /// The plan for a read.
  /// - Parameters:
  ///   - offset: first byte, less than the object's size.
  ///   - count: bytes, at least 1; what reaches past the end is clipped.
  ///   - memory: bytes that may be fetched ahead at the moment. One stream takes at most this for its window, so that
  ///     several that compete for memory end up with equal shares and leave one share free.
  public mutating func plan(offset: UInt64, count: UInt64, memory: UInt64) -> Plan {
    guard offset < size, count > 0 else { return Plan(demand: ByteRange(offset: offset, length: 0), ahead: []) }
    let end = offset + min(count, size - offset)
    reads += 1
    let index = streamIndex(offset: offset, end: end)
    guard streams[index].window > 0 else {
      return Plan(demand: surroundings(offset, end), ahead: [])
    }
    return sequentialPlan(&streams[index], offset: offset, end: end, memory: memory)
  }

  /// Tells that what was planned from `offset` on could not be fetched ahead for lack of memory.
  public mutating func aheadDropped(from offset: UInt64) {
    // Other threads may have read on meanwhile, so the stream may stand beyond the place already.
    for index in streams.indices where streams[index].expects(offset) {
      streams[index].ahead = max(offset, streams[index].position)
      streams[index].window = max(limits.initialWindow, streams[index].window / 2)
    }
  }

  /// Tells that nothing was there or on its way at `offset` where a read had to be answered, although it was fetched ahead
  /// or planned to be: others needed the memory more. Without that each read up to the end of the window would wait.
  /// - Returns: the bytes to fetch ahead now.
  public mutating func aheadLost(at offset: UInt64, memory: UInt64) -> [ByteRange] {
    for index in streams.indices where streams[index].window > 0 && streams[index].expects(offset) {
      streams[index].ahead = streams[index].position
      return chunks(&streams[index], window: min(streams[index].window, memory), memory: memory)
    }
    return []
  }

  // MARK: Inside

  private mutating func streamIndex(offset: UInt64, end: UInt64) -> Int {
    var best: Int?
    for index in streams.indices where streams[index].reaches(offset) {
      if let found = best, streams[found].distance(to: offset) <= streams[index].distance(to: offset) { continue }
      best = index
    }
    if let best {
      streams[best].note(offset: offset, end: end, use: reads, initialWindow: limits.initialWindow)
      return best
    }
    let window = offset == 0 || startsNearBeginning(offset) ? limits.initialWindow : 0
    let stream = ReadStream(offset: offset, end: end, window: window, use: reads)
    if streams.count < max(1, limits.maximumStreams) {
      streams.append(stream)
      return streams.count - 1
    }
    let victim = leastUseful()
    streams[victim] = stream
    return victim
  }

  /// The kernel's first pieces may arrive in any order: one of them is as good as the one at 0.
  private func startsNearBeginning(_ offset: UInt64) -> Bool { reads == 1 && offset < limits.initialWindow }

  /// Streams that never proved sequential go first, so that random reads do not push out sequential ones.
  private func leastUseful() -> Int {
    streams.indices.min { left, right in
      rank(streams[left]) < rank(streams[right])
    } ?? 0
  }

  private func rank(_ stream: ReadStream) -> (Int, UInt64) {
    (stream.window > 0 && reads - stream.lastUse < Self.stale ? 1 : 0, stream.lastUse)
  }

  private func surroundings(_ offset: UInt64, _ end: UInt64) -> ByteRange {
    guard size > limits.wholeObject else { return ByteRange(offset: 0, length: size) }
    return range(from: down(offset, limits.randomUnit), to: up(end, limits.randomUnit))
  }

  private func sequentialPlan(
    _ stream: inout ReadStream, offset: UInt64, end: UInt64, memory: UInt64
  ) -> Plan {
    if stream.position - min(stream.position, stream.grownAt) >= stream.window / 2 {
      resize(&stream, memory: memory)
      stream.grownAt = stream.position
    }
    let window = min(stream.window, memory)

    var demand = surroundings(offset, end)
    let extends = end > stream.ahead
    if extends {
      // Nothing is under way here: one GET for the asked bytes and what follows them to the end of a block.
      let reach = up(offset + max(end - offset, min(stream.window, limits.initialWindow)), limits.randomUnit)
      demand = range(from: startsNearBeginning(offset) ? 0 : demand.offset, to: max(demand.end, reach))
      stream.ahead = demand.end
    }
    let isStreaming = stream.window > limits.initialWindow
    return Plan(
      demand: demand, extends: extends, isStreaming: isStreaming,
      ahead: chunks(&stream, window: window, memory: memory))
  }

  /// Lets the window grow, or shrink where memory is short: at the pace of the stream, since the memory that is free at one
  /// moment says little, and of several streams the last to ask would fall back to nothing each time.
  private func resize(_ stream: inout ReadStream, memory: UInt64) {
    if memory < stream.window / 2 {
      stream.window = max(limits.initialWindow, stream.window / 2)
      return
    }
    // Who has read through the first window goes on for longer: the pipe is full some round trips earlier.
    let isFirst = stream.window < limits.openWindow && stream.consumedSinceOpen >= limits.initialWindow
    stream.window = min(max(stream.window * 2, isFirst ? limits.openWindow : 0), limits.maximumWindow)
  }

  /// Whole pieces that fit between what is asked for already and the end of the window.
  private func chunks(_ stream: inout ReadStream, window: UInt64, memory: UInt64) -> [ByteRange] {
    let target = min(stream.position + window, size)
    // An eighth of the window each: enough GETs at once to hide the latency, none so small that it costs a round trip
    // for little.
    let chunk = max(Self.block, min(down(window / 8, Self.block), limits.maximumGet))
    var ranges: [ByteRange] = []
    var left = memory
    while stream.ahead < target {
      let end = min(down(stream.ahead, chunk) + chunk, size)
      guard end <= target, end - stream.ahead <= left else { break }
      ranges.append(range(from: stream.ahead, to: end))
      left -= end - stream.ahead
      stream.ahead = end
    }
    return ranges
  }

  private func range(from: UInt64, to: UInt64) -> ByteRange {
    let end = min(to, size)
    return ByteRange(offset: from, length: end - min(from, end))
  }

  private func down(_ value: UInt64, _ unit: UInt64) -> UInt64 { value - value % max(1, unit) }
  private func up(_ value: UInt64, _ unit: UInt64) -> UInt64 { down(value + max(1, unit) - 1, unit) }
}
