import Basics
import ObjectStore
import Synchronization

/// What a change claims for itself while it is under way.
enum KeyClaim: Hashable, Sendable {
  /// One object, or the marker of one directory: the path without a slash at its end.
  case one(String)
  /// A path and everything below it.
  case tree(String)

  func overlaps(_ other: KeyClaim) -> Bool {
    switch (self, other) {
    case (.one(let left), .one(let right)): left.utf8.elementsEqual(right.utf8)
    case (.tree(let root), .one(let path)), (.one(let path), .tree(let root)): Self.contains(root, path)
    case (.tree(let left), .tree(let right)): Self.contains(left, right) || Self.contains(right, left)
    }
  }

  private static func contains(_ root: String, _ path: String) -> Bool {
    guard path.utf8.starts(with: root.utf8) else { return false }
    let rest = path.utf8.dropFirst(root.utf8.count)
    return rest.isEmpty || root.isEmpty || rest.first == UInt8(ascii: "/")
  }
}

/// Makes changes of the same object go one after the other: an upload and a rename of one file, or a rename of a
/// directory and a removal below it, never overlap.
///
/// All claims of a change are taken at once, in the order of asking, so nobody holds one and waits for another. Held
/// across requests; no mutex is. Not recursive. Thread-safe.
final class KeyLocks: Sendable {
  private struct State {
    var held: [Int: [KeyClaim]] = [:]
    var waiting: [(id: Int, claims: [KeyClaim], wake: Semaphore)] = []
    var nextID = 0
  }

  private let state = Mutex(State())

  /// Runs `body` when nobody who came before holds or waits for anything that overlaps; waits for that however long it
  /// takes.
  func withClaims<Value, Failure: Error>(
    _ claims: [KeyClaim], _ body: () throws(Failure) -> Value
  ) throws(Failure) -> Value {
    let (id, wake) = ask(claims)
    wake?.wait()
    defer { release(id) }
    return try body()
  }

  /// The same for a caller who may give up.
  /// - Parameters:
  ///   - cancellation: ends the wait; what has begun goes on.
  ///   - interrupted: what is thrown then.
  func withClaims<Value, Failure: Error>(
    _ claims: [KeyClaim], _ cancellation: Cancellation?, orThrow interrupted: Failure,
    _ body: () throws(Failure) -> Value
  ) throws(Failure) -> Value {
    let (id, wake) = ask(claims)
    wake?.wait(cancellation)
    if !holds(id) { throw interrupted }
    defer { release(id) }
    return try body()
  }

  /// Runs `body` when nobody holds or waits for anything that overlaps; otherwise does nothing.
  func withFreeClaims(_ claims: [KeyClaim], _ body: () -> Void) {
    let id: Int? = state.withLock { state in
      guard !Self.isBlocked(claims, state) else { return nil }
      state.nextID += 1
      state.held[state.nextID] = claims
      return state.nextID
    }
    guard let id else { return }
    defer { release(id) }
    body()
  }

  /// How many wait.
  var waitingCount: Int { state.withLock { $0.waiting.count } }

  /// Whether somebody holds all that is in a directory above.
  func holdTree(above path: String) -> Bool {
    state.withLock { state in
      state.held.values.joined().contains { claim in
        guard case .tree(let root) = claim, root.utf8.count < path.utf8.count else { return false }
        return claim.overlaps(.one(path))
      }
    }
  }

  private static func isBlocked(_ claims: [KeyClaim], _ state: State) -> Bool {
    state.held.values.contains { overlap($0, claims) } || state.waiting.contains { overlap($0.claims, claims) }
  }

  /// - Returns: what to release, and what to wait for when the claims are not free.
  private func ask(_ claims: [KeyClaim]) -> (id: Int, wake: Semaphore?) {
    state.withLock { state in
      state.nextID += 1
      guard Self.isBlocked(claims, state) else {
        state.held[state.nextID] = claims
        return (state.nextID, nil)
      }
      let wake = Semaphore()
      state.waiting.append((state.nextID, claims, wake))
      return (state.nextID, wake)
    }
  }

  /// Whether who asked has the claims after its wait; otherwise it is no longer in anybody's way.
  private func holds(_ id: Int) -> Bool {
    let (isHeld, awake): (Bool, [Semaphore]) = state.withLock { state in
      guard state.held[id] == nil else { return (true, []) }
      state.waiting.removeAll { $0.id == id }
      return (false, Self.admit(&state))
    }
    for semaphore in awake { semaphore.signal() }
    return isHeld
  }

  private func release(_ id: Int) {
    let awake: [Semaphore] = state.withLock { state in
      state.held[id] = nil
      return Self.admit(&state)
    }
    for semaphore in awake { semaphore.signal() }
  }

  /// Gives those who wait what is free now, in the order of asking.
  private static func admit(_ state: inout State) -> [Semaphore] {
    var awake: [Semaphore] = []
    var still: [(id: Int, claims: [KeyClaim], wake: Semaphore)] = []
    for waiter in state.waiting {
      let blocked =
        state.held.values.contains { overlap($0, waiter.claims) }
        || still.contains { overlap($0.claims, waiter.claims) }
      if blocked {
        still.append(waiter)
      } else {
        state.held[waiter.id] = waiter.claims
        awake.append(waiter.wake)
      }
    }
    state.waiting = still
    return awake
  }

  private static func overlap(_ left: [KeyClaim], _ right: [KeyClaim]) -> Bool {
    left.contains { claim in right.contains { claim.overlaps($0) } }
  }
}
