import Basics
import ObjectStore
import Synchronization

/// A name as it comes out of a listing.
struct StreamedName: Sendable {
  var name: FileName
  var remote: RemoteEntry
}

/// Where an open directory gets its names from.
enum StreamOrigin: Sendable {
  /// The bucket; `mark` is what is known of the directory's mark.
  case bucket(mark: KnownMark)
  /// A listing that is still believed.
  case listing(Listing)
}

/// What is known of a directory's mark before it is listed.
enum KnownMark: Hashable, Sendable {
  /// Whether it is marked.
  case known(Bool)
  /// There is an object that tells.
  case asksMarker
  /// The listing shows whether there is a marker; without one it is not marked.
  case seenInListing
}

/// An open directory: the names read so far, and where the listing goes on.
///
/// Offsets are positions in the order of reading, so they stay good while names come and go; a rewind starts a new
/// listing. Thread-safe; `fetching` is held across requests, the mutex is not.
final class DirectoryStream: Sendable {
  private struct State {
    /// The path of the directory when the listing began.
    let path: String
    var names: [StreamedName] = []
    /// The same by name.
    var entries: [FileName: RemoteEntry] = [:]
    /// Nil once the listing has come to its end.
    var feed: PageFeed?
    var mark: Mark
    var startedAt: UInt64
    /// Until when what is listed is believed (monotonic); nil where that follows from `startedAt`.
    var until: UInt64?
    /// Requests for attributes under way or done, by position.
    var attributes: [Int: AttributeFetch] = [:]
    var readAnything = false
    var remembered: Bool
    /// Names without an object, as they were when the listing ended.
    var local: [FileName]?

    /// Pages may overlap, and an object may come a page before the directory that hides it.
    mutating func add(_ name: StreamedName) {
      if entries[name.name] == nil {
        names.append(name)
      } else if name.remote.isDirectory, let index = names.firstIndex(where: { $0.name == name.name }) {
        names[index] = name
      } else {
        return
      }
      entries[name.name] = name.remote
    }
  }

  private enum Mark {
    case known(Bool)
    case unseen
    case asked(AttributeFetch)
  }

  let inode: InodeID
  private let state: Mutex<State>
  private let fetching = AccessGate()

  /// - Parameter now: since when this mount's own changes may be missing in what is listed; read before `path` and
  ///   `origin` were asked for.
  init(inode: InodeID, path: String, _ origin: StreamOrigin, _ source: DirectorySource, now: UInt64) {
    self.inode = inode
    state = Mutex(Self.begin(origin, path, source, now))
  }

  private static func begin(
    _ origin: StreamOrigin, _ path: String, _ source: DirectorySource, _ now: UInt64
  ) -> State {
    switch origin {
    case .listing(let listing):
      let names = listing.entries.map { StreamedName(name: $0.key, remote: $0.value) }.sorted { $0.name < $1.name }
      return State(
        path: path, names: names, entries: listing.entries, feed: nil, mark: .known(listing.isMarked), startedAt: now,
        until: listing.freshUntil, remembered: true)
    case .bucket(let known):
      let mark: Mark =
        switch known {
        case .known(let isMarked): .known(isMarked)
        case .seenInListing: .unseen
        case .asksMarker: .asked(AttributeFetch([(0, source.markKey(path))], askedAt: now))
        }
      return State(path: path, feed: source.pages(path), mark: mark, startedAt: now, remembered: false)
    }
  }

  /// The path of the directory when the listing began.
  var path: String { state.withLock { $0.path } }

  /// When the listing began (monotonic).
  var startedAt: UInt64 { state.withLock { $0.startedAt } }

  /// Until when what is listed is believed, where that does not follow from `startedAt`.
  var until: UInt64? { state.withLock { $0.until } }

  /// All names, once the listing has come to its end.
  var complete: [FileName: RemoteEntry]? { state.withLock { $0.feed == nil ? $0.entries : nil } }

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
      let local = state.local ?? found.filter { state.entries[$0] == nil }
      state.local = local
      return local
    }
  }

  /// Starts again when the directory was read before, or has another path now.
  /// - Parameter now: read before `path` was asked for.
  func rewind(_ source: DirectorySource, to path: String, now: UInt64, _ origin: () -> StreamOrigin) {
    guard state.withLock({ $0.readAnything || !$0.path.utf8.elementsEqual(path.utf8) }) else { return }
    let fresh = Self.begin(origin(), path, source, now)
    let old = state.withLock { state in
      defer { state = fresh }
      return state.feed
    }
    old?.close()
  }

  /// Nobody reads on.
  func close() { state.withLock { $0.feed }?.close() }

  /// The name at a position; nil at the end.
  /// - Parameter cancellation: ends the wait for the server; nothing is lost for the next call.
  func name(
    at position: Int, _ source: DirectorySource, _ cancellation: Cancellation?
  ) throws(ObjectStoreError) -> StreamedName? {
    while true {
      let (name, feed, fetch): (StreamedName?, PageFeed?, AttributeFetch?) = state.withLock { state in
        defer { state.readAnything = true }
        var fetch: AttributeFetch?
        if !state.readAnything, case .asked(let known) = state.mark { fetch = known }
        return (position < state.names.count ? state.names[position] : nil, state.feed, fetch)
      }
      fetch?.start(source)
      guard name == nil, let feed else { return name }
      try fetching.exclusive(cancellation, orThrow: .interrupted) { () throws(ObjectStoreError) in
        try takePage(feed, beyond: position, source, cancellation)
      }
    }
  }

  /// How many names there are so far.
  var count: Int { state.withLock { $0.names.count } }

  /// Takes in one more page; the caller has `fetching` to itself.
  private func takePage(
    _ feed: PageFeed, beyond position: Int, _ source: DirectorySource, _ cancellation: Cancellation?
  ) throws(ObjectStoreError) {
    let listed: String? = state.withLock { position >= $0.names.count && $0.feed === feed ? $0.path : nil }
    guard let path = listed else { return }
    guard let page = try feed.next(cancellation) else { return state.withLock { $0.feed = nil } }
    let found = source.names(of: page, path)
    let fetch: AttributeFetch? = state.withLock { state in
      guard state.feed === feed else { return nil }
      for name in found.names { state.add(name) }
      if page.continuation == nil { state.feed = nil }
      guard found.hasMarker, case .unseen = state.mark else { return nil }
      let fetch = AttributeFetch([(0, source.markKey(path))], askedAt: state.startedAt)
      state.mark = .asked(fetch)
      return fetch
    }
    fetch?.start(source)
  }

  /// Whether the directory is marked, as far as the pages so far tell; blocks until its marker has answered. One that
  /// does not answer counts as marked: then each name is asked for. To be called when a name was read.
  /// - Parameter learn: told what the marker carries, once; nil when it is gone.
  /// - Throws: `cancelled`, and nothing else.
  func isMarked(
    _ cancellation: Cancellation?, _ learn: (ObjectMetadata?, _ askedAt: UInt64) -> Void
  ) throws(ObjectStoreError) -> Bool {
    let mark = state.withLock { $0.mark }
    switch mark {
    case .known(let isMarked): return isMarked
    case .unseen: return false
    case .asked(let fetch):
      var isMarked = true
      switch fetch.wait(for: 0, cancellation) {
      case .success(let marker):
        isMarked = marker.map { DirectoryMark.isSet(on: $0) } ?? false
        learn(marker, fetch.askedAt)
      case .failure(let error) where error.code == .cancelled: throw error
      case .failure: break
      }
      state.withLock { state in
        if case .asked(let current) = state.mark, current === fetch { state.mark = .known(isMarked) }
      }
      return isMarked
    }
  }

  /// Attributes of the name at a position, asked together with those that follow; nil inside means it is gone.
  /// - Parameter asks: whether the attributes of a name are to be asked for.
  func metadata(
    at position: Int, _ source: DirectorySource, now: UInt64, _ cancellation: Cancellation?,
    asks: (StreamedName) -> Bool
  ) -> (askedAt: UInt64, answer: Result<ObjectMetadata?, ObjectStoreError>) {
    if let fetch = state.withLock({ $0.attributes[position] }) {
      return (fetch.askedAt, fetch.wait(for: position, cancellation))
    }
    let (path, names) = state.withLock { state in
      (state.path, Array(state.names.dropFirst(position).prefix(DirectorySource.attributesAhead)))
    }
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
    return (fetch.askedAt, fetch.wait(for: position, cancellation))
  }
}
