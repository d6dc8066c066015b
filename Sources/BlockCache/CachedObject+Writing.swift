import Basics
import SystemPackage

/// Putting bytes in.
extension CachedObject {
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
        if state.withLock({ state in granules.allSatisfy { state.book.sum($0) != 0 } }) { return true }
        // A part of a large object is worth more than one after the other of its parts, each removed for the next.
        guard status.allocated + UInt64(bytes.count) <= cache.space.limit / 2 else { return false }
        guard try cache.take(UInt64(bytes.count)) else { return false }
        let sums = identity.sums(bytes, from: granules.lowerBound)
        try gate.exclusive { () throws(Errno) in try put(bytes, sums, from: granules.lowerBound, files) }
        cache.count { $0.bytesWritten += UInt64(bytes.count) }
        return true
      }
      return false
    }
    return isIn ?? false
  }

  /// Writes bytes, then their sums. Behind the gate: what others have done to the file since this process last wrote to
  /// it would look like its own doing afterwards.
  private func put(
    _ bytes: UnsafeRawBufferPointer, _ sums: [UInt32], from first: UInt64, _ files: CachedFiles
  ) throws(Errno) {
    if !identity.isSmall { _ = isAsSeen(files, try files.state()) }
    try files.write(bytes, at: identity.range(first..<first + UInt64(sums.count)).lowerBound)
    try files.write(sums, from: first)
    let now = identity.isSmall ? nil : try files.stamp(at: cache.clock.wall)
    state.withLock { state in
      guard state.files.readable?.data === files.data else { return }
      for (granule, sum) in zip(first..., sums) { state.book.put(granule, sum: sum) }
      state.isSealed = false
      state.seen = now
    }
  }

  /// Puts the whole object in, unless it is. Its files get their names when `isUnchanged` says that all is well.
  func write(read: (UnsafeMutableRawBufferPointer, UInt64) -> Bool, isUnchanged: () -> Bool) {
    let temporary = cache.temporaryPath(for: path)
    let isIn: Bool? = cache.guarding(path) { () throws(Errno) in
      let all = 0..<identity.granuleCount
      if try load(all) != nil, state.withLock({ state in all.allSatisfy { state.book.sum($0) != 0 } }) { return true }
      guard identity.size <= cache.space.limit / 2, try cache.take(overhead) else { return false }
      let files = try CachedFiles.make(identity, at: temporary, cache.disk)
      guard try fill(files, read), isUnchanged() else { return false }
      if !identity.isSmall { _ = try files.stamp(at: cache.clock.wall) }
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
  var overhead: UInt64 { UInt64(identity.header.count) + 8 * identity.granuleCount + 16_384 }
}
