import Basics
import SystemPackage

/// Files that hold all of a large object, right and for the kernel to read by itself.
extension CachedObject {
  /// The file of the bytes when all of them are there and were found right: by this process, or by an earlier one that
  /// has said so (`CacheSeal`), and nobody has written since.
  func wholeFile() -> SharedDescriptor? {
    guard !identity.isSmall else { return nil }
    let file: SharedDescriptor?? = cache.guarding(path) { () throws(Errno) in
      guard let files = try load(0..<0) else { return nil }
      let now = try files.state()
      var isRight = isVerified(files, now)
      if isRight == nil { isRight = try files.isSealed(as: now) }
      guard isRight == true else { return nil }
      try touch(files)
      return files.data
    }
    return file ?? nil
  }

  /// Whether all of it was found right by this process and is what it was then; nil when this process has not looked at
  /// all of it.
  private func isVerified(_ files: CachedFiles, _ now: CacheSeal) -> Bool? {
    state.withLock { state in
      guard state.files.readable?.data === files.data, state.verified == identity.granuleCount else { return nil }
      if state.seen == now { return true }
      // Somebody else has written meanwhile: it is to be looked at once more.
      state.segments = state.segments.mapValues { segment in
        Segment(sums: segment.sums, verified: Array(repeating: 0, count: segment.verified.count))
      }
      state.verified = 0
      state.seen = now
      return false
    }
  }

  /// Says for the mounts to come that all of it was found right by this process, where it was.
  func seal() {
    let due: (files: CachedFiles, state: CacheSeal)? = state.withLock { state in
      guard !identity.isSmall, !state.isSealed, state.verified == identity.granuleCount,
        let files = state.files.readable, let seen = state.seen
      else { return nil }
      state.isSealed = true
      return (files, seen)
    }
    guard let due else { return }
    _ = cache.guarding(path) { () throws(Errno) in
      if try !due.files.isSealed(as: due.state) { _ = try due.files.seal(due.state) }
    }
  }
}
