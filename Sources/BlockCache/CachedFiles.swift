import Basics
import SystemPackage

/// The open files of one cached object, and what they say of themselves. Immutable.
struct CachedFiles: Sendable {
  let identity: CacheIdentity
  let disk: CacheDisk
  let path: FilePath
  /// The bytes.
  let data: SharedDescriptor
  /// The bytes, past the page cache: what is read here goes to another cache, and what is written has just been there.
  /// Nil for a small object, and where the file system cannot.
  let direct: SharedDescriptor?
  /// The header and the sums.
  let map: SharedDescriptor

  static func mapPath(_ path: FilePath) -> FilePath { FilePath("\(path).map") }
  var mapPath: FilePath { identity.isSmall ? path : Self.mapPath(path) }

  /// Why files cannot be used.
  enum Failure: Error {
    /// There are none.
    case absent
    /// They are not what they should be.
    case damaged
    case disk(Errno)
  }

  /// Opens what is there, and checks that it is of this object.
  static func open(_ identity: CacheIdentity, at path: FilePath, _ disk: CacheDisk) throws(Failure) -> CachedFiles {
    let data: SharedDescriptor
    do throws(Errno) {
      data = try disk.open(path)
    } catch {
      if error == .noSuchFileOrDirectory { throw .absent }
      throw .disk(error)
    }
    let files: CachedFiles?
    do throws(Errno) {
      files = try open(identity, data, at: path, disk)
    } catch {
      throw error == .noSuchFileOrDirectory ? .damaged : .disk(error)
    }
    guard let files else { throw .damaged }
    return files
  }

  private static func open(
    _ identity: CacheIdentity, _ data: SharedDescriptor, at path: FilePath, _ disk: CacheDisk
  ) throws(Errno) -> CachedFiles? {
    guard try disk.status(of: data, path).length == identity.dataFileLength else { return nil }
    var map = data
    var direct: SharedDescriptor?
    if !identity.isSmall {
      map = try disk.open(mapPath(path))
      direct = disk.openDirect(path)
      let length = try disk.status(of: map, mapPath(path)).length
      guard length == identity.headerFileLength || length == identity.sealedFileLength else { return nil }
    }
    let files = CachedFiles(identity: identity, disk: disk, path: path, data: data, direct: direct, map: map)
    return try files.hasRightHeader() ? files : nil
  }

  /// Makes empty ones; EEXIST when there are some.
  static func make(_ identity: CacheIdentity, at path: FilePath, _ disk: CacheDisk) throws(Errno) -> CachedFiles {
    let data: SharedDescriptor
    do throws(Errno) {
      data = try disk.make(path)
    } catch {
      guard error == .noSuchFileOrDirectory else { throw error }
      try disk.makeDirectory(path.removingLastComponent())
      data = try disk.make(path)
    }
    var map = data
    let mapPath = identity.isSmall ? path : Self.mapPath(path)
    if !identity.isSmall {
      // One without its bytes' file is what a crash has left.
      try disk.remove(mapPath)
      map = try disk.make(mapPath)
      try disk.resize(data, path, to: identity.dataFileLength)
    }
    try disk.resize(map, mapPath, to: identity.headerFileLength)
    let files = CachedFiles(
      identity: identity, disk: disk, path: path, data: data, direct: identity.isSmall ? nil : disk.openDirect(path),
      map: map)
    try throwing {
      try identity.header.withUnsafeBytes { try disk.write($0, to: map, mapPath, at: identity.headerOffset) }
    }
    return files
  }

  /// Gives files the place of others; the sums first: without the bytes of their own they agree with nothing.
  func move(to newPath: FilePath) throws(Errno) -> CachedFiles {
    if !identity.isSmall { try disk.rename(mapPath, to: Self.mapPath(newPath)) }
    try disk.rename(path, to: newPath)
    return CachedFiles(identity: identity, disk: disk, path: newPath, data: data, direct: direct, map: map)
  }

  private func hasRightHeader() throws(Errno) -> Bool {
    var found = [UInt8](repeating: 0, count: identity.header.count)
    try Self.throwing {
      _ = try found.withUnsafeMutableBytes { try disk.read(map, mapPath, into: $0, at: identity.headerOffset) }
    }
    return found == identity.header
  }

  // MARK: Sums

  /// The sums of some granules; 0 where there is none.
  func readSums(_ granules: Range<UInt64>) throws(Errno) -> [UInt32] {
    var sums = [UInt32](repeating: 0, count: granules.count)
    try Self.throwing {
      _ = try sums.withUnsafeMutableBytes {
        try disk.read(map, mapPath, into: $0, at: identity.sumOffset(granules.lowerBound))
      }
    }
    return sums.map { UInt32(littleEndian: $0) }
  }

  func write(_ sums: [UInt32], from granule: UInt64) throws(Errno) {
    let sums = sums.map(\.littleEndian)
    try Self.throwing {
      try sums.withUnsafeBytes { try disk.write($0, to: map, mapPath, at: identity.sumOffset(granule)) }
    }
  }

  // MARK: Seal

  /// The state of the file of the bytes.
  func state() throws(Errno) -> CacheSeal { CacheSeal(try disk.status(of: data, path)) }

  /// Gives the file of the bytes a time of its last write that no write gives it. The clock of a disk stands still for
  /// some milliseconds, on some disks for a second: one who writes right after this process would leave the same times.
  /// - Returns: the state that it is in.
  func stamp(at time: Timestamp) throws(Errno) -> CacheSeal {
    try disk.touch(data, path, at: time.seconds - 1)
    return try state()
  }

  /// Whether the file of the bytes is in a state in which all of it was found right.
  func isSealed(as state: CacheSeal) throws(Errno) -> Bool {
    var found = [UInt8](repeating: 0, count: CacheSeal.length)
    try Self.throwing {
      _ = try found.withUnsafeMutableBytes { try disk.read(map, mapPath, into: $0, at: identity.headerFileLength) }
    }
    return found == state.bytes(of: identity)
  }

  /// Notes that all bytes were found right.
  /// - Parameter state: the one that the file was in then.
  /// - Returns: false when it is in another one now.
  func seal(_ state: CacheSeal) throws(Errno) -> Bool {
    try disk.sync(data, path)
    guard try self.state() == state else { return false }
    try Self.throwing {
      try state.bytes(of: identity).withUnsafeBytes {
        try disk.write($0, to: map, mapPath, at: identity.headerFileLength)
      }
    }
    return true
  }

  /// Takes the seal away.
  func unseal() throws(Errno) {
    guard !identity.isSmall else { return }
    try disk.resize(map, mapPath, to: identity.headerFileLength)
  }

  // MARK: Bytes

  /// Memory, offset and length must be multiples of this to go past the page cache.
  static let alignment = 4096

  /// Reads bytes of the object.
  /// - Parameter room: begins at `range`, and may be longer.
  /// - Returns: how many of the range were read; fewer when the file is shorter than it should be.
  func read(_ range: Range<UInt64>, into room: UnsafeMutableRawBufferPointer) throws(Errno) -> Int {
    let count = Int(range.upperBound - range.lowerBound)
    let rounded = (count + Self.alignment - 1) / Self.alignment * Self.alignment
    if let direct, rounded <= room.count, isAligned(UnsafeRawBufferPointer(room), range.lowerBound) {
      do throws(Errno) {
        let buffer = UnsafeMutableRawBufferPointer(rebasing: room[..<rounded])
        return min(count, try disk.read(direct, path, into: buffer, at: range.lowerBound))
      } catch {
        // Some file systems find out only now that they cannot.
        guard error == .invalidArgument else { throw error }
      }
    }
    return try disk.read(
      data, path, into: UnsafeMutableRawBufferPointer(rebasing: room[..<count]), at: range.lowerBound)
  }

  /// Writes bytes of the object.
  func write(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) throws(Errno) {
    var bytes = bytes
    var offset = offset
    let whole = bytes.count / Self.alignment * Self.alignment
    if let direct, whole > 0, isAligned(bytes, offset) {
      do throws(Errno) {
        try disk.write(UnsafeRawBufferPointer(rebasing: bytes[..<whole]), to: direct, path, at: offset)
        bytes = UnsafeRawBufferPointer(rebasing: bytes[whole...])
        offset += UInt64(whole)
      } catch {
        guard error == .invalidArgument else { throw error }
      }
    }
    if !bytes.isEmpty { try disk.write(bytes, to: data, path, at: offset) }
  }

  private func isAligned(_ memory: UnsafeRawBufferPointer, _ offset: UInt64) -> Bool {
    Int(bitPattern: memory.baseAddress) % Self.alignment == 0 && offset % UInt64(Self.alignment) == 0
  }

  /// For calls whose closures lose the type of what they throw.
  private static func throwing(_ body: () throws -> Void) throws(Errno) {
    do {
      try body()
    } catch {
      throw error as? Errno ?? .ioError
    }
  }
}
