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

  /// The sums of a stretch of 1 GiB, so that a file of any size costs memory only where it is used.
  struct Segment {
    /// 0: not here.
    var sums: [UInt32]
    /// The granules that agreed with their sum, or were put in by this process, since the file was opened; one bit each.
    var verified: [UInt64]
  }

  struct State {
    var files = Files.unopened
    var segments: [UInt64: Segment] = [:]
    /// How many granules are verified.
    var verified: UInt64 = 0
    /// The state of the bytes' file when it was opened, or this process last wrote to it: in any other one, somebody else
    /// has written, and what was verified says nothing. Nil for a small object.
    var seen: CacheSeal?
    /// Whether it says beside it that all of it was found right.
    var isSealed = false
    /// When its use was last noted: seconds since 1970.
    var touched: Int64 = 0
    var hasWarned = false
  }

  /// What is known without asking the disk.
  enum Expectation {
    case all, some, none, unknown
  }

  let identity: CacheIdentity
  let cache: DiskCache.Core
  let path: FilePath
  private let gate = AccessGate()
  let state = Mutex(State())

  private static let segmentLength: UInt64 = 16_384
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
      var count = 0
      for granule in granules {
        guard let segment = state.segments[granule / Self.segmentLength] else { return .unknown }
        if segment.sums[Int(granule % Self.segmentLength)] != 0 { count += 1 }
      }
      return count == 0 ? .none : count == granules.count ? .all : .some
    }
  }

  /// Those of some granules that are there, in runs.
  func present(_ granules: Range<UInt64>) -> [Range<UInt64>] {
    guard cache.guarding(path, { () throws(Errno) in try load(granules) }) ?? nil != nil else { return [] }
    return state.withLock { state in
      var runs: [Range<UInt64>] = []
      for granule in granules where Self.sum(granule, state) != 0 {
        if let last = runs.last, last.upperBound == granule {
          runs[runs.count - 1] = last.lowerBound..<granule + 1
        } else {
          runs.append(granule..<granule + 1)
        }
      }
      return runs
    }
  }

  private static func sum(_ granule: UInt64, _ state: State) -> UInt32 {
    state.segments[granule / segmentLength]?.sums[Int(granule % segmentLength)] ?? 0
  }

  // MARK: Reading

  /// Reads granules of one block.
  /// - Parameter room: where the first of them goes; as long as they are, and more where the block has more.
  /// - Returns: how many of them, from the first on, are there and right. What is not right is dropped.
  func read(_ granules: Range<UInt64>, into room: UnsafeMutableRawBufferPointer) -> Int {
    let good: Int? = cache.guarding(path) { () throws(Errno) in
      guard let files = try load(granules) else { return 0 }
      let sums: [UInt32] = state.withLock { state in
        granules.prefix { Self.sum($0, state) != 0 }.map { Self.sum($0, state) }
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

  private func note(verified granules: some Sequence<UInt64>, _ files: CachedFiles) {
    state.withLock { state in
      guard state.files.readable?.data === files.data else { return }
      for granule in granules { Self.verify(granule, &state) }
    }
  }

  private static func verify(_ granule: UInt64, _ state: inout State) {
    let (segment, place) = (granule / segmentLength, Int(granule % segmentLength))
    let bit: UInt64 = 1 << UInt64(place % 64)
    guard let words = state.segments[segment]?.verified, words[place / 64] & bit == 0 else { return }
    state.segments[segment]?.verified[place / 64] |= bit
    state.verified += 1
  }

  /// Forgets granules that do not agree with their sums.
  private func drop(_ granules: [UInt64], _ files: CachedFiles) {
    let isFirst = state.withLock { state in
      let areCurrent = state.files.readable?.data === files.data
      for granule in granules where areCurrent {
        let (segment, place) = (granule / Self.segmentLength, Int(granule % Self.segmentLength))
        let bit: UInt64 = 1 << UInt64(place % 64)
        state.segments[segment]?.sums[place] = 0
        guard let words = state.segments[segment]?.verified, words[place / 64] & bit != 0 else { continue }
        state.segments[segment]?.verified[place / 64] &= ~bit
        state.verified -= 1
      }
      state.isSealed = false
      defer { state.hasWarned = true }
      return !state.hasWarned
    }
    cache.count { $0.damaged += UInt64(granules.count) }
    if isFirst { cache.reportDamage(path) }
    // Only for the mounts to come: this one has forgotten them already.
    try? files.unseal()
    for granule in granules { try? files.write([0], from: granule) }
  }

  // MARK: Writing

  /// Puts granules of one block in. Nothing happens where there is no room.
  /// - Returns: whether they are in now.
  @discardableResult
  func write(_ granules: Range<UInt64>, _ bytes: UnsafeRawBufferPointer) -> Bool {
    let isIn: Bool? = cache.guarding(path) { () throws(Errno) in
      for _ in 0..<2 {
        guard let files = try filesToWrite() else { return false }
        let status = try files.disk.status(of: files.data, path)
        guard status.links > 0 else {
          forget(files)
          continue
        }
        try load(granules)
        if state.withLock({ state in granules.allSatisfy { Self.sum($0, state) != 0 } }) { return true }
        // A part of a large object is worth more than one after the other of its parts, each removed for the next.
        guard status.allocated + UInt64(bytes.count) <= cache.space.limit / 2 else { return false }
        guard try cache.take(UInt64(bytes.count)) else { return false }
        try files.write(bytes, at: identity.range(granules).lowerBound)
        let sums = identity.sums(bytes, from: granules.lowerBound)
        try files.write(sums, from: granules.lowerBound)
        try note(sums, from: granules.lowerBound, files)
        cache.count { $0.bytesWritten += UInt64(bytes.count) }
        return true
      }
      return false
    }
    return isIn ?? false
  }

  /// Puts the whole object in, unless it is. Its files get their names when `isUnchanged` says that all is well.
  func write(read: (UnsafeMutableRawBufferPointer, UInt64) -> Bool, isUnchanged: () -> Bool) {
    let temporary = cache.temporaryPath(for: path)
    let isIn: Bool? = cache.guarding(path) { () throws(Errno) in
      let all = 0..<identity.granuleCount
      if try load(all) != nil, state.withLock({ state in all.allSatisfy { Self.sum($0, state) != 0 } }) { return true }
      guard identity.size <= cache.space.limit / 2, try cache.take(overhead) else { return false }
      let files = try CachedFiles.make(identity, at: temporary, cache.disk)
      guard try fill(files, read), isUnchanged() else { return false }
      let moved = try gate.exclusive { () throws(Errno) in
        let moved = try files.move(to: path)
        try reset(to: moved)
        return moved
      }
      if !identity.isSmall, try load(all) != nil { note(verified: all, moved) }
      return true
    }
    guard isIn != true else { return }
    cache.count { $0.bytesSkipped += identity.size }
    try? Self.remove(temporary, cache.disk)
  }

  /// Copies all bytes into new files, and writes their sums.
  private func fill(
    _ files: CachedFiles, _ read: (UnsafeMutableRawBufferPointer, UInt64) -> Bool
  ) throws(Errno) -> Bool {
    let buffer = UnsafeMutableRawBufferPointer.allocate(
      byteCount: Int(min(identity.size, UInt64(BlockGeometry.blockSize))), alignment: CachedFiles.alignment)
    defer { buffer.deallocate() }
    var offset: UInt64 = 0
    while offset < identity.size {
      let count = Int(min(UInt64(buffer.count), identity.size - offset))
      let piece = UnsafeMutableRawBufferPointer(rebasing: buffer[..<count])
      guard try cache.take(UInt64(count)), read(piece, offset) else { return false }
      try files.write(UnsafeRawBufferPointer(piece), at: offset)
      let first = offset / UInt64(BlockGeometry.granuleSize)
      try files.write(identity.sums(UnsafeRawBufferPointer(piece), from: first), from: first)
      offset += UInt64(count)
    }
    cache.count { $0.bytesWritten += identity.size }
    return true
  }

  /// What files take besides the bytes of the object: header and sums, as much again for the file system's list of where
  /// the bytes are, each rounded up to a block, and a directory that may have to grow.
  private var overhead: UInt64 { UInt64(identity.header.count) + 8 * identity.granuleCount + 16_384 }

  /// Notes what was put in: bytes of which these are the sums.
  private func note(_ sums: [UInt32], from first: UInt64, _ files: CachedFiles) throws(Errno) {
    let now = identity.isSmall ? nil : try files.state()
    state.withLock { state in
      guard state.files.readable?.data === files.data else { return }
      for (granule, sum) in zip(first..., sums) {
        state.segments[granule / Self.segmentLength]?.sums[Int(granule % Self.segmentLength)] = sum
        Self.verify(granule, &state)
      }
      state.isSealed = false
      // Others of this process may have written later, and have said so already.
      if let now, let seen = state.seen, now.changed >= seen.changed { state.seen = now }
    }
  }

  // MARK: Files

  /// The files, opened, with the sums of some granules in memory; nil when there are none.
  @discardableResult
  func load(_ granules: Range<UInt64>) throws(Errno) -> CachedFiles? {
    if let files = state.withLock({ state in Self.areLoaded(granules, state) ? state.files.readable : nil }) {
      return files
    }
    return try gate.exclusive { () throws(Errno) in
      guard let files = try open() else { return nil }
      guard !granules.isEmpty else { return files }
      for segment in granules.lowerBound / Self.segmentLength...(granules.upperBound - 1) / Self.segmentLength {
        if state.withLock({ $0.segments[segment] != nil }) { continue }
        let first = segment * Self.segmentLength
        let sums = try files.readSums(first..<min(first + Self.segmentLength, identity.granuleCount))
        state.withLock { state in
          state.segments[segment] = Segment(sums: sums, verified: Array(repeating: 0, count: (sums.count + 63) / 64))
        }
      }
      return files
    }
  }

  private static func areLoaded(_ granules: Range<UInt64>, _ state: State) -> Bool {
    guard !granules.isEmpty else { return true }
    let segments = granules.lowerBound / segmentLength...(granules.upperBound - 1) / segmentLength
    return segments.allSatisfy { state.segments[$0] != nil }
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
  private func filesToWrite() throws(Errno) -> CachedFiles? {
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
  private func reset(to files: CachedFiles) throws(Errno) {
    reset(to: .open(files), seen: identity.isSmall ? nil : try files.state())
  }

  private func reset(to files: Files, seen: CacheSeal? = nil) {
    let before = state.withLock { state in
      defer { state = State(files: files, seen: seen, hasWarned: state.hasWarned) }
      return state.files
    }
    // The last use of a descriptor closes it, which is not for a mutex.
    withExtendedLifetime(before) {}
  }

  /// The files have no name any more: who has them goes on with them, and nobody else begins. Open, they would take their
  /// room on the disk as before.
  private func forget(_ files: CachedFiles) {
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
