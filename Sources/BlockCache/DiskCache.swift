import Basics
public import Logging
import Synchronization
public import SystemPackage

/// A directory cannot be used as a disk cache.
public struct DiskCacheError: Error, Hashable, Sendable, CustomStringConvertible {
  /// What failed.
  public var path: FilePath
  /// What the system said.
  public var cause: Errno
  /// One line for a person.
  public var description: String { "cannot use \(path) as a disk cache: \(cause)" }
}

/// What was read from a bucket, kept on a disk across mounts and crashes; several mounts may share one directory.
///
/// Every granule has a checksum, and is looked at whenever it is read: what is not right is dropped, and counts as not
/// there. A disk that fails ends the use of the cache, with one warning. So no method here has an error to tell.
/// `CacheIdentity` draws the files.
///
/// All methods block for local I/O where they do not say otherwise. Thread-safe; the registry's mutex is a leaf.
public final class DiskCache: Sendable {
  private struct Registry {
    var objects: [CacheIdentity: (object: CachedObject, use: UInt64)] = [:]
    var uses: UInt64 = 0
    /// Pushed out by others before all of it was said to be right.
    var unsealed: [CachedObject] = []
  }

  /// Versions whose files are kept open after their last use. Each takes up to three descriptors.
  private let openLimit: Int
  /// As many of those wait for the thread; the others go without a seal, and cost the next mount a look.
  private static let unsealedLimit = 16
  /// The disk is looked at after so many seconds, for others may have filled it.
  private static let lookInterval = 30.0
  /// Neither the end of a mount nor eviction waits longer for what only spares the next mount a look, in nanoseconds.
  private static let longestSealing: UInt64 = 3_000_000_000

  let core: Core
  private let endpoint: String
  private let registry = Mutex(Registry())
  private let isStopping = Atomic(false)
  /// A turnstile that is open after the first look.
  private let firstLook: Basics.Semaphore = Basics.Semaphore()
  private let hasLooked = Atomic(false)
  private let thread = Mutex<Thread?>(nil)

  /// Opens a directory, which is made if it is not there, as are those above it. What it holds is counted in the
  /// background; until that is done, putting something in waits for it.
  /// - Parameter endpoint: the server, so that buckets of the same name are not mixed up.
  public convenience init(
    directory: FilePath, endpoint: String, bounds: DiskCacheBounds = DiskCacheBounds(), log: Logger
  ) throws(DiskCacheError) {
    try self.init(
      directory: directory, endpoint: endpoint, bounds: bounds, disk: CacheDisk(), clock: .system, log: log)
    let thread = Thread.start(name: "waysfs-evict") { [weak self, core] in
      while self?.isStopping.load(ordering: .relaxed) == false {
        self?.makeRoom()
        self?.sealInPassing()
        core.evictionWanted.wait(seconds: Self.lookInterval)
      }
    }
    guard let thread else { throw DiskCacheError(path: directory, cause: .resourceTemporarilyUnavailable) }
    self.thread.withLock { $0 = thread }
  }

  /// One without a thread, for tests: `makeRoom` and `sealInPassing` are theirs to call.
  init(
    directory: FilePath, endpoint: String, bounds: DiskCacheBounds, disk: CacheDisk, clock: TimeSource, log: Logger,
    openLimit: Int = 128
  ) throws(DiskCacheError) {
    do throws(Errno) {
      try disk.makeDirectories(directory)
      try disk.requireOwn(directory)
    } catch {
      throw DiskCacheError(path: directory, cause: error)
    }
    self.endpoint = endpoint
    self.openLimit = openLimit
    core = Core(
      directory: directory, disk: disk,
      space: CacheSpace(directory: directory, bounds: bounds, disk: disk, clock: clock), clock: clock, log: log)
  }

  /// Ends the background work and waits for it. Not with other calls under way.
  public func shutDown() {
    isStopping.store(true, ordering: .relaxed)
    core.evictionWanted.signal()
    let thread = thread.withLock { thread in
      defer { thread = nil }
      return thread
    }
    thread?.join()
    seal(within: Self.longestSealing)
    let open = registry.withLock { registry in
      defer { registry = Registry() }
      return registry
    }
    // Closes files, which is not for a mutex.
    withExtendedLifetime(open) {}
  }

  /// What was done, and what is in use; does not block.
  public var statistics: DiskCacheStatistics { core.statistics }

  /// Whether the cache was given up; does not block.
  public var isOff: Bool { core.isOff }

  /// Counts bytes that were not put in, because too much waits already; does not block.
  public func noteSkipped(bytes: UInt64) { core.count { $0.bytesSkipped += bytes } }

  /// Names a version; does not block.
  public func identity(of version: ObjectVersion, size: UInt64) -> CacheIdentity {
    CacheIdentity(endpoint: endpoint, version: version, size: size)
  }

  // MARK: Bytes

  /// Whether it is known, without asking the disk, that none of some granules are there; does not block.
  public func lacks(_ granules: Range<UInt64>, of identity: CacheIdentity) -> Bool {
    if isOff || identity.size == 0 { return true }
    let known = registry.withLock { $0.objects[identity]?.object }
    guard known?.expectation(granules) == CachedObject.Expectation.none else { return false }
    core.count { $0.misses += 1 }
    return true
  }

  /// Those of some granules that are there, in runs and in order; they may turn out damaged.
  public func present(_ granules: Range<UInt64>, of identity: CacheIdentity) -> [Range<UInt64>] {
    guard identity.size > 0, !granules.isEmpty else { return [] }
    let runs = object(identity).present(granules.clamped(to: 0..<identity.granuleCount))
    core.count { counts in
      if runs.isEmpty { counts.misses += 1 } else { counts.hits += 1 }
    }
    return runs
  }

  /// Reads granules of one block of 1 MiB.
  /// - Parameter room: where the first of them goes: the rest of the block's memory, whose length is a multiple of 4 KiB.
  ///   What does not belong to the granules that are there is left in any state.
  /// - Returns: how many of them, from the first on, are there and right.
  public func read(
    _ granules: Range<UInt64>, of identity: CacheIdentity, into room: UnsafeMutableRawBufferPointer
  ) -> Int {
    let range = identity.range(granules)
    guard !range.isEmpty, Int(range.upperBound - range.lowerBound) <= room.count else { return 0 }
    let good = object(identity).read(granules, into: room)
    let bytes = min(UInt64(good * BlockGeometry.granuleSize), range.upperBound - range.lowerBound)
    core.count { $0.bytesRead += bytes }
    return good
  }

  /// Puts granules in, unless there is no room.
  /// - Parameters:
  ///   - bytes: all of their bytes.
  ///   - makesRoom: makes room first where there is none, which may take long.
  /// - Returns: whether they are in now.
  @discardableResult
  public func write(
    _ granules: Range<UInt64>, of identity: CacheIdentity, _ bytes: UnsafeRawBufferPointer, makesRoom: Bool = false
  ) -> Bool {
    let range = identity.range(granules)
    guard !range.isEmpty, bytes.count == Int(range.upperBound - range.lowerBound) else { return false }
    waitForFirstLook()
    var isIn = object(identity).write(granules, bytes)
    // What is too large for this cache would make it look for room with every piece.
    if !isIn, makesRoom, identity.size <= core.space.limit / 2 {
      makeRoom(always: true)
      isIn = object(identity).write(granules, bytes)
    }
    if !isIn { core.count { $0.bytesSkipped += UInt64(bytes.count) } }
    return isIn
  }

  /// Puts a whole object in from somewhere where it may change meanwhile.
  /// - Parameters:
  ///   - read: fills a buffer from an offset; false when it cannot.
  ///   - isUnchanged: asked at the end; false when what was read may not be the object.
  public func write(
    whole identity: CacheIdentity, read: (UnsafeMutableRawBufferPointer, UInt64) -> Bool, isUnchanged: () -> Bool
  ) {
    guard identity.size > 0 else { return }
    waitForFirstLook()
    object(identity).write(read: read, isUnchanged: isUnchanged)
  }

  /// The granules of an object that are there, in runs and in order; nobody asks for their bytes.
  public func granules(of identity: CacheIdentity, in granules: Range<UInt64>? = nil) -> [Range<UInt64>] {
    guard identity.size > 0 else { return [] }
    let all = 0..<identity.granuleCount
    return object(identity).present(granules?.clamped(to: all) ?? all)
  }

  /// How many bytes of some granules of an object are there.
  public func cachedBytes(of identity: CacheIdentity, _ granules: Range<UInt64>? = nil) -> UInt64 {
    self.granules(of: identity, in: granules).reduce(0) { sum, run in
      let range = identity.range(run)
      return sum + (range.upperBound - range.lowerBound)
    }
  }

  // MARK: Whole files

  /// The file of an object's bytes, for the kernel to read by itself: nil unless the object is of more than 1 MiB, all of
  /// it is there, and every granule was found right, or put in, by this process, or by an earlier one that has said so;
  /// and nobody has written to the file since. As long as the result lives, no mount removes the file or writes other
  /// bytes to it. Makes a few system calls.
  public func wholeFile(of identity: CacheIdentity) -> HeldFile? {
    guard !isOff, !identity.isSmall else { return nil }
    return object(identity).wholeFile().flatMap { HeldFile($0) }
  }

  /// Says for the mounts to come which open files were found right from front to end. Waits for the disk.
  /// - Parameters:
  ///   - limit: nanoseconds after which no other is begun.
  ///   - isOver: asked before each of them.
  func seal(within limit: UInt64 = .max, unless isOver: () -> Bool = { false }) {
    let begin = core.clock.monotonic
    let objects = registry.withLock { registry in
      defer { registry.unsealed = [] }
      return registry.unsealed + registry.objects.values.map(\.object)
    }
    for object in objects where object.awaitsSeal {
      guard core.clock.monotonic - begin < limit, !isOver() else { return }
      object.seal()
    }
  }

  /// `seal`, as the thread does it: room and the end of the mount come first.
  func sealInPassing() {
    seal(within: Self.longestSealing) { isStopping.load(ordering: .relaxed) || core.isEvictionWanted }
  }

  // MARK: Background work

  /// Looks what the directory holds, and makes room where it is scarce.
  /// - Parameter always: looks even if nobody has asked for room, as when somebody else is just making some.
  func makeRoom(always: Bool = false) {
    let eviction = CacheEviction(core: core) { [weak self] names in self?.forget(Set(names)) }
    _ = core.guarding(core.directory) { () throws(Errno) in
      guard always || !core.space.hasLooked || core.wantsEviction else { return }
      try eviction.run()
    }
    let open = registry.withLock { $0.objects.values.map(\.object) }
    for object in open { object.letGoOfRemovedFiles() }
    guard !hasLooked.exchange(true, ordering: .relaxed) else { return }
    firstLook.signal()
  }

  private func waitForFirstLook() {
    guard !hasLooked.load(ordering: .relaxed), thread.withLock({ $0 != nil }) else { return }
    firstLook.wait()
    firstLook.signal()
  }

  // MARK: Registry

  private func object(_ identity: CacheIdentity) -> CachedObject {
    let (object, outdated): (CachedObject, CachedObject?) = registry.withLock { registry in
      registry.uses += 1
      if let known = registry.objects[identity]?.object {
        registry.objects[identity]?.use = registry.uses
        return (known, nil)
      }
      let made = CachedObject(identity, core)
      registry.objects[identity] = (made, registry.uses)
      guard registry.objects.count > openLimit,
        let oldest = registry.objects.min(by: { $0.value.use < $1.value.use })
      else { return (made, nil) }
      // Given out, so that its descriptors are closed without the lock.
      return (made, registry.objects.removeValue(forKey: oldest.key)?.object)
    }
    if let outdated, outdated.awaitsSeal {
      registry.withLock { if $0.unsealed.count < Self.unsealedLimit { $0.unsealed.append(outdated) } }
      core.evictionWanted.signal()
    }
    return object
  }

  private func forget(_ names: Set<String>) {
    guard !names.isEmpty else { return }
    let gone = registry.withLock { registry in
      registry.objects.values.map(\.object).filter { names.contains($0.identity.name) }
    }
    for object in gone { object.filesWereRemoved() }
  }
}

/// A file that nobody removes or changes as long as this object lives. Thread-safe.
public final class HeldFile: Sendable {
  private let file: SharedDescriptor

  /// Nil when the file is being removed.
  init?(_ file: SharedDescriptor) {
    // Opened once more, because a lock goes with what was opened: this one ends with this object.
    guard let own = CacheDisk.openAgain(file), CacheDisk.lock(own, whole: false, waits: false) else { return nil }
    self.file = own
  }

  /// The bytes of the object, at their offsets; opened for reading.
  public var descriptor: FileDescriptor { file.descriptor }
}
