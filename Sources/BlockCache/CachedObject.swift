import Basics
import Synchronization
import SystemPackage

/// One version of an object, as it is in a cache directory: the files, while they are open, and what is known of them.
///
/// Its methods block for local I/O where they do not say otherwise. Thread-safe. Lock order: the gate (held across
/// I/O), then the mutex.
final class CachedObject: Sendable {
  enum Files {
    case unopened
    case absent
    case open(CachedFiles)
  }

  struct State {
    var files = Files.unopened
    /// Of the files that are open.
    var book = GranuleBook()
    /// The state of the bytes' file when it was opened, or this process last wrote to it: in any other one, somebody else
    /// has written, and what was verified says nothing. Nil for a small object.
    var seen: CacheSeal?
    /// Whether it says beside it that all of it was found right.
    var isSealed = false
    /// When its use was last noted: seconds since 1970.
    var touched: Int64 = 0
    /// Whether something of it was not what it should be, in these files or in others of before.
    var hasFoundDamage = false
  }

  /// What is known without asking the disk.
  enum Expectation {
    case all, some, none, unknown
  }

  let identity: CacheIdentity
  let cache: DiskCache.Core
  let path: FilePath
  let gate = AccessGate()
  let state = Mutex(State())

  /// A file's time of use is kept to that many seconds: enough to tell what is old, and no write for every read.
  private static let touchInterval: Int64 = 60

  init(_ identity: CacheIdentity, _ cache: DiskCache.Core) {
    self.identity = identity
    self.cache = cache
    path = cache.path(of: identity.name)
  }

  // MARK: What is there

  /// What is known of some granules; does not block.
  func expectation(_ granules: Range<UInt64>) -> Expectation {
    state.withLock { state in
      switch state.files {
      case .unopened: return .unknown
      case .absent: return .none
      case .open: break
      }
      guard state.book.knows(granules) else { return .unknown }
      let count = granules.count { state.book.sum($0) != 0 }
      return count == 0 ? .none : count == granules.count ? .all : .some
    }
  }

  /// Those of some granules that are there, in runs.
  func present(_ granules: Range<UInt64>) -> [Range<UInt64>] {
    guard cache.guarding(path, { () throws(Errno) in try load(granules) }) ?? nil != nil else { return [] }
    return state.withLock { $0.book.runs(in: granules) }
  }

  // MARK: Reading

  /// Reads granules of one block.
  /// - Parameter room: where the first of them goes; as long as they are, and more where the block has more.
  /// - Returns: how many of them, from the first on, are there and right. What is not right is dropped.
  func read(_ granules: Range<UInt64>, into room: UnsafeMutableRawBufferPointer) -> Int {
    let good: Int? = cache.guarding(path) { () throws(Errno) in
      guard let files = try load(granules) else { return 0 }
      let sums: [UInt32] = state.withLock { state in
        granules.prefix { state.book.sum($0) != 0 }.map { state.book.sum($0) }
      }
      guard !sums.isEmpty else { return 0 }
      let wanted = granules.lowerBound..<granules.lowerBound + UInt64(sums.count)
      let range = identity.range(wanted)
      let count = try files.read(range, into: room)
      let found = identity.sums(UnsafeRawBufferPointer(rebasing: room[..<count]), from: wanted.lowerBound)
      var good = zip(sums, found).prefix { $0 == $1 }.count
      // A granule that was cut short is as bad as a wrong one, even if its sum is that of the bytes left.
      if count < Int(range.upperBound - range.lowerBound) { good = min(good, count / BlockGeometry.granuleSize) }
      note(verified: wanted.prefix(good), files)
      let bad = zip(wanted, zip(sums, found + Array(repeating: 0, count: max(0, sums.count - found.count))))
        .dropFirst(good).filter { $1.0 != $1.1 }.map(\.0)
      if good < sums.count { drop(bad.isEmpty ? [wanted.lowerBound + UInt64(good)] : bad, files) }
      try touch(files)
      return good
    }
    return good ?? 0
  }

  func note(verified granules: some Sequence<UInt64>, _ files: CachedFiles) {
    state.withLock { state in
      guard state.files.readable?.data === files.data else { return }
      for granule in granules { state.book.verify(granule) }
    }
  }

  /// Forgets granules that do not agree with their sums.
  func drop(_ granules: [UInt64], _ files: CachedFiles) {
    let isFirst = state.withLock { state in
      if state.files.readable?.data === files.data { granules.forEach { state.book.drop($0) } }
      state.isSealed = false
      defer { state.hasFoundDamage = true }
      return !state.hasFoundDamage
    }
    cache.count { $0.damaged += UInt64(granules.count) }
    if isFirst { cache.reportDamage(path) }
    // Only for the mounts to come: this one has forgotten them already.
    try? files.unseal()
    for granule in granules { try? files.write([0], from: granule) }
  }

  // MARK: Files

  /// The files, opened, with the sums of some granules in memory; nil when there are none.
  @discardableResult
  func load(_ granules: Range<UInt64>) throws(Errno) -> CachedFiles? {
    if let files = state.withLock({ state in state.book.knows(granules) ? state.files.readable : nil }) {
      return files
    }
    return try gate.exclusive { () throws(Errno) in
      guard let files = try open() else { return nil }
      for range in state.withLock({ $0.book.missing(for: granules, of: identity.granuleCount) }) {
        let sums = try files.readSums(range)
        state.withLock { $0.book.add(sums, from: range.lowerBound) }
      }
      return files
    }
  }

  /// The files, opened if they are there. Behind the gate.
  private func open() throws(Errno) -> CachedFiles? {
    switch state.withLock({ $0.files }) {
    case .absent: return nil
    case .open(let files): return files
    case .unopened: break
    }
    do throws(CachedFiles.Failure) {
      let files = try CachedFiles.open(identity, at: path, cache.disk)
      let seen = identity.isSmall ? nil : try? files.state()
      state.withLock { state in
        state.files = .open(files)
        state.seen = seen
      }
      try? touch(files)
      return files
    } catch {
      state.withLock { $0.files = .absent }
      switch error {
      case .absent: break
      case .disk(let errno): throw errno
      case .damaged:
        cache.count { $0.damaged += 1 }
        cache.reportDamage(path)
        try Self.remove(path, cache.disk)
      }
      return nil
    }
  }

  /// The files, made if they are not there; nil when there is no room for them.
  func filesToWrite() throws(Errno) -> CachedFiles? {
    try gate.exclusive { () throws(Errno) in
      if let files = try open() { return files }
      guard try cache.take(overhead) else { return nil }
      let files: CachedFiles
      do throws(Errno) {
        files = try CachedFiles.make(identity, at: path, cache.disk)
      } catch {
        // Half made, it would be taken for damaged. One that another mount has made meanwhile stays.
        if error != .fileExists { try? Self.remove(path, cache.disk) }
        guard error == .fileExists else { throw error }
        reset(to: .unopened)
        return try open()
      }
      try reset(to: files)
      return files
    }
  }

  /// Goes over to files that this process has made.
  func reset(to files: CachedFiles) throws(Errno) {
    reset(to: .open(files), seen: identity.isSmall ? nil : try files.state())
  }

  private func reset(to files: Files, seen: CacheSeal? = nil) {
    let before = state.withLock { state in
      defer { state = State(files: files, seen: seen, hasFoundDamage: state.hasFoundDamage) }
      return state.files
    }
    // The last use of a descriptor closes it, which is not for a mutex.
    withExtendedLifetime(before) {}
  }

  /// The files have no name any more: who has them goes on with them, and nobody else begins. Open, they would take their
  /// room on the disk as before.
  func forget(_ files: CachedFiles) {
    let isCurrent = state.withLock { $0.files.readable?.data === files.data }
    if isCurrent { reset(to: .unopened) }
  }

  /// Closes files that another mount has removed.
  func letGoOfRemovedFiles() {
    guard let files = state.withLock({ $0.files.readable }) else { return }
    if let status = try? files.disk.status(of: files.data, path), status.links == 0 { forget(files) }
  }

  /// Its files were removed: what is put in from now on goes to new ones.
  func filesWereRemoved() {
    let isOpen = state.withLock { $0.files.readable != nil }
    if isOpen { reset(to: .unopened) }
  }

  /// Removes the files of a version, the sums first: without them the bytes are worth nothing.
  static func remove(_ path: FilePath, _ disk: CacheDisk) throws(Errno) {
    try disk.remove(CachedFiles.mapPath(path))
    try disk.remove(path)
  }

  /// Notes that it was used: beside the bytes where they have a file of their own, whose times then tell of writes only.
  func touch(_ files: CachedFiles) throws(Errno) {
    let now = cache.clock.wall.seconds
    let isDue = state.withLock { state in
      guard now >= state.touched + Self.touchInterval else { return false }
      state.touched = now
      return true
    }
    if isDue { try files.disk.touch(files.map, files.mapPath, at: now) }
  }
}

extension CachedObject.Files {
  var readable: CachedFiles? {
    switch self {
    case .unopened, .absent: nil
    case .open(let files): files
    }
  }
}
