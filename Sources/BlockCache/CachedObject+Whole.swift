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
      // Of what this process has found damage in, it believes nobody else that all is right.
      if isRight == nil, !state.withLock({ $0.hasFoundDamage }) { isRight = try files.isSealed(as: now) }
      guard isRight == true else { return nil }
      try touch(files)
      return files.data
    }
    return file ?? nil
  }

  /// Whether all of it was found right by this process and is what it was then; nil when this process has not looked at
  /// all of it.
  private func isVerified(_ files: CachedFiles, _ now: CacheSeal) -> Bool? {
    let isWhole = state.withLock { state in
      state.files.readable?.data === files.data && state.book.verified == identity.granuleCount
    }
    return isWhole ? isAsSeen(files, now) : nil
  }

  /// Whether the file is as this process left it. When somebody else has written to it, everything is to be looked at
  /// once more.
  func isAsSeen(_ files: CachedFiles, _ now: CacheSeal) -> Bool {
    state.withLock { state in
      guard state.files.readable?.data === files.data else { return false }
      if state.seen == now { return true }
      state.book.forgetVerified()
      state.seen = now
      state.isSealed = false
      return false
    }
  }

  /// Whether all of it was found right by this process, and it has not said so yet. Does not block.
  var awaitsSeal: Bool { unsealed != nil }

  /// The files, and the state in which all of them was found right.
  private var unsealed: (files: CachedFiles, state: CacheSeal)? {
    guard !identity.isSmall else { return nil }
    return state.withLock { state in
      guard !state.isSealed, state.book.verified == identity.granuleCount, let files = state.files.readable,
        let seen = state.seen
      else { return nil }
      return (files, seen)
    }
  }

  /// Says for the mounts to come that all of it was found right by this process, where it was.
  func seal() {
    guard let (files, seen) = unsealed else { return }
    _ = cache.guarding(path) { () throws(Errno) in
      guard isAsSeen(files, try files.state()), try haveSums(files) else { return }
      if try !files.isSealed(as: seen), try !files.seal(seen) { return }
      let isStillRight = state.withLock { state in
        guard state.files.readable?.data === files.data, state.seen == seen,
          state.book.verified == identity.granuleCount
        else { return false }
        state.isSealed = true
        return true
      }
      // Damage was found meanwhile; whoever found it may have taken the seal away before it was there.
      if !isStillRight { try files.unseal() }
    }
  }

  /// Whether the disk still has all sums. Another mount takes away those of what it finds damaged: then everything is to
  /// be looked at once more.
  private func haveSums(_ files: CachedFiles) throws(Errno) -> Bool {
    for (first, sums) in state.withLock({ $0.book.known }) {
      if try files.readSums(first..<first + UInt64(sums.count)) == sums { continue }
      state.withLock { $0.book.forgetVerified() }
      return false
    }
    return true
  }
}
