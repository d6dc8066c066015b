import Basics
import ObjectStore
import Synchronization

/// Attributes of several names, asked at once with a bounded number of requests under way. Thread-safe.
final class AttributeFetch: Sendable {
  private struct State {
    var waiting: [(position: Int, key: ObjectKey)]
    var results: [Int: Result<ObjectMetadata?, ObjectStoreError>] = [:]
    var waiters: [(position: Int, wake: Semaphore)] = []
  }

  private let state: Mutex<State>

  /// When the questions were put (monotonic).
  let askedAt: UInt64

  /// - Parameter keys: what to ask for, in the order in which the reader will come to them.
  init(_ keys: [(Int, ObjectKey)], askedAt: UInt64) {
    self.askedAt = askedAt
    state = Mutex(State(waiting: keys.reversed().map { (position: $0.0, key: $0.1) }))
  }

  /// Starts as many requests as may be under way; each one that ends starts the next.
  func start(_ source: DirectorySource) {
    for _ in 0..<source.parallelRequests { startNext(source) }
  }

  /// Blocks until the answer for a position is there; nil inside means that the object is gone.
  /// - Parameter cancellation: ends the wait with `cancelled`; the answer comes all the same, for the next call.
  func wait(
    for position: Int, _ cancellation: Cancellation? = nil
  ) -> Result<ObjectMetadata?, ObjectStoreError> {
    var mayWait = true
    while true {
      let wake = Semaphore()
      let result: Result<ObjectMetadata?, ObjectStoreError>? = state.withLock { state in
        if let result = state.results[position] { return result }
        state.waiters.append((position, wake))
        return nil
      }
      if let result { return result }
      guard mayWait else { return .failure(.interrupted) }
      wake.wait(cancellation)
      mayWait = cancellation?.isCancelled != true
    }
  }

  private func startNext(_ source: DirectorySource) {
    guard let next = state.withLock({ $0.waiting.popLast() }) else { return }
    source.store.head(next.key, nil) { answer in
      self.finish(next.position, Self.orAbsent(answer))
      self.startNext(source)
    }
  }

  private func finish(_ position: Int, _ result: Result<ObjectMetadata?, ObjectStoreError>) {
    let awake: [Semaphore] = state.withLock { state in
      state.results[position] = result
      let awake = state.waiters.filter { $0.position == position }.map(\.wake)
      state.waiters.removeAll { $0.position == position }
      return awake
    }
    for wake in awake { wake.signal() }
  }

  private static func orAbsent(
    _ answer: Result<ObjectMetadata, ObjectStoreError>
  ) -> Result<ObjectMetadata?, ObjectStoreError> {
    switch answer {
    case .success(let metadata): .success(metadata)
    case .failure(let error) where error.code == .notFound: .success(nil)
    case .failure(let error): .failure(error)
    }
  }
}
