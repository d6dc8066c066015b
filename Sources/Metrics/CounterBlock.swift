import Synchronization

/// A fixed number of counters that many threads add to without a lock. Thread-safe.
///
/// Each is right by itself; a reader may see one that was added to before another and not the other.
public final class CounterBlock: @unchecked Sendable {
  // Sendable: the memory is owned by this object, and holds nothing but atomics.
  private let values: UnsafeMutablePointer<Atomic<UInt64>>
  /// How many counters there are.
  public let count: Int

  /// Counters that are all 0.
  /// - Parameter count: at least 1.
  public init(count: Int) {
    self.count = max(1, count)
    values = .allocate(capacity: self.count)
    for position in 0..<self.count { (values + position).initialize(to: Atomic(0)) }
  }

  deinit {
    values.deinitialize(count: count)
    values.deallocate()
  }

  /// Adds to one of them; wraps at 2^64, as whoever takes differences expects.
  public func add(_ amount: UInt64 = 1, to position: Int) {
    precondition(position >= 0 && position < count)
    _ = values[position].wrappingAdd(amount, ordering: .relaxed)
  }

  /// The value of one of them.
  public subscript(position: Int) -> UInt64 {
    precondition(position >= 0 && position < count)
    return values[position].load(ordering: .relaxed)
  }

  /// All values in order.
  public var all: [UInt64] { (0..<count).map { self[$0] } }
}
