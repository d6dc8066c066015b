import Synchronization

/// Runs asynchronous operations over a list with a bounded number under way, and blocks until all have reported.
///
/// - Parameters:
///   - items: what to work on; taken in order.
///   - limit: how many may be under way at once (at least 1).
///   - start: starts one operation; its completion may be called from any thread, exactly once.
/// - Returns: the results, in the order of `items`.
public func fanOut<Item: Sendable, Value: Sendable, Failure: Error>(
  over items: [Item], limit: Int, _ start: (Item, @escaping Completion<Value, Failure>) -> Void
) -> [Result<Value, Failure>] {
  let slots = Semaphore(value: UInt32(clamping: max(1, min(limit, items.count))))
  let finished = Semaphore()
  let collected = FanOutResults<Value, Failure>(count: items.count)
  for (index, item) in items.enumerated() {
    slots.wait()
    start(item) { result in
      collected.results.withLock { $0[index] = result }
      slots.signal()
      finished.signal()
    }
  }
  for _ in items { finished.wait() }
  return collected.results.withLock { $0.compactMap(\.self) }
}

private final class FanOutResults<Value: Sendable, Failure: Error>: Sendable {
  let results: Mutex<[Result<Value, Failure>?]>

  init(count: Int) {
    results = Mutex(Array(repeating: nil, count: count))
  }
}
