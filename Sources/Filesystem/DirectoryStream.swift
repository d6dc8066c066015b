import Basics
import ObjectStore
import Synchronization

/// A name as it comes out of a listing.
struct StreamedName: Sendable {
  var name: FileName
  var remote: RemoteEntry
}

/// An open directory: the names read so far, and where the listing goes on.
///
/// Pages are fetched one ahead of the reader. Offsets are positions in the order of reading, so they stay good while
/// names come and go; a rewind starts a new listing. Thread-safe; `fetching` is held across requests, the mutex is not.
final class DirectoryStream: Sendable {
  private struct State {
    var names: [StreamedName] = []
    /// Where each name stands.
    var seen: [FileName: Int] = [:]
    var next: Next = .page(nil)
    var startedAt: UInt64
    /// Requests for attributes under way or done, by position.
    var attributes: [Int: AttributeFetch] = [:]
    var readAnything = false
    var remembered = false
    /// Names without an object, as they were when the listing ended.
    var local: [FileName]?

    /// Pages may overlap, and an object may come a page before the directory that hides it.
    mutating func add(_ name: StreamedName) {
      if let index = seen[name.name] {
        if name.remote.isDirectory { names[index] = name }
      } else {
        seen[name.name] = names.count
        names.append(name)
      }
    }
  }

  /// How the listing goes on.
  private enum Next {
    case page(String?)
    case underway(PageShot, token: String)
    case ended
  }

  let inode: InodeID
  let path: String
  private let state: Mutex<State>
  private let fetching = AccessGate()

  init(inode: InodeID, path: String, startedAt: UInt64) {
    self.inode = inode
    self.path = path
    state = Mutex(State(startedAt: startedAt))
  }

  /// When the listing began (monotonic).
  var startedAt: UInt64 { state.withLock { $0.startedAt } }

  /// All names, once the listing has come to its end.
  var complete: [StreamedName]? {
    state.withLock { state in
      if case .ended = state.next { state.names } else { nil }
    }
  }

  /// True once, for the caller who is to remember the complete listing.
  func claimRemembering() -> Bool {
    state.withLock { state in
      defer { state.remembered = true }
      return !state.remembered
    }
  }

  /// Names without an object, looked up once so that offsets stay good.
  func localNames(_ find: () -> [FileName]) -> [FileName] {
    if let local = state.withLock({ $0.local }) { return local }
    let found = find()
    return state.withLock { state in
      let local = state.local ?? found.filter { state.seen[$0] == nil }
      state.local = local
      return local
    }
  }

  /// Starts again when the directory was read before.
  func rewind(at now: UInt64) {
    state.withLock { state in
      guard state.readAnything else { return }
      state = State(startedAt: now)
    }
  }

  /// The name at a position; nil at the end.
  func name(at position: Int, _ source: DirectorySource) throws(ObjectStoreError) -> StreamedName? {
    while true {
      let (name, ended): (StreamedName?, Bool) = state.withLock { state in
        state.readAnything = true
        if position < state.names.count { return (state.names[position], false) }
        if case .ended = state.next { return (nil, true) }
        return (nil, false)
      }
      if name != nil || ended { return name }
      try fetching.exclusive { () throws(ObjectStoreError) in try fetchPage(beyond: position, source) }
    }
  }

  /// Attributes of the name at a position, asked together with those that follow; nil inside means it is gone.
  /// - Parameter asks: whether the attributes of a name are to be asked for.
  func metadata(
    at position: Int, _ source: DirectorySource, now: UInt64, asks: (StreamedName) -> Bool
  ) -> (askedAt: UInt64, answer: Result<ObjectMetadata?, ObjectStoreError>) {
    if let fetch = state.withLock({ $0.attributes[position] }) { return (fetch.askedAt, fetch.wait(for: position)) }
    let names = state.withLock { Array($0.names.dropFirst(position).prefix(DirectorySource.attributesAhead)) }
    let wanted = names.enumerated().filter { $0.offset == 0 || asks($0.element) }.map { index, name in
      (position + index, source.keyOfAttributes(name, path))
    }
    let fresh = AttributeFetch(wanted, askedAt: now)
    let fetch: AttributeFetch = state.withLock { state in
      if let other = state.attributes[position] { return other }
      for (index, _) in wanted { state.attributes[index] = fresh }
      return fresh
    }
    if fetch === fresh { fresh.start(source) }
    return (fetch.askedAt, fetch.wait(for: position))
  }

  /// Takes in one more page; the caller has `fetching` to itself.
  private func fetchPage(beyond position: Int, _ source: DirectorySource) throws(ObjectStoreError) {
    let (next, isNeeded) = state.withLock { ($0.next, position >= $0.names.count) }
    guard isNeeded else { return }
    let token: String?
    let shot: PageShot
    switch next {
    case .ended: return
    case .underway(let ahead, let known): (shot, token) = (ahead, known)
    case .page(let known):
      (shot, token) = (PageShot(), known)
      source.list(path, known, shot)
    }
    let page: ListPage
    do throws(ObjectStoreError) {
      page = try shot.wait().get()
    } catch {
      // The next call asks for this page again.
      state.withLock { $0.next = .page(token) }
      throw error
    }
    take(page, source)
  }

  private func take(_ page: ListPage, _ source: DirectorySource) {
    let names = source.names(of: page, path)
    let shot = PageShot()
    state.withLock { state in
      for name in names { state.add(name) }
      state.next = page.continuation.map { .underway(shot, token: $0) } ?? .ended
    }
    if let token = page.continuation { source.list(path, token, shot) }
  }
}

/// A page of a listing that is being fetched.
typealias PageShot = OneShot<Result<ListPage, ObjectStoreError>>

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
  func wait(for position: Int) -> Result<ObjectMetadata?, ObjectStoreError> {
    while true {
      let wake = Semaphore()
      let result: Result<ObjectMetadata?, ObjectStoreError>? = state.withLock { state in
        if let result = state.results[position] { return result }
        state.waiters.append((position, wake))
        return nil
      }
      if let result { return result }
      wake.wait()
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
