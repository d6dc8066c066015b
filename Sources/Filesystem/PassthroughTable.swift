import BlockCache
import ObjectStore
import Synchronization
import SystemPackage

/// Which open files the kernel reads by itself. Thread-safe; its mutex is a leaf and not held across system calls.
///
/// The kernel's rule: an inode is open either with one backing file or without any (`waysfs_session_open_backing`). So
/// every open of a file is noted here before it is answered, and its end after the kernel has let go of it. While an
/// inode is open with a backing it stands for one version, and whoever wants to write, or another version, needs another
/// inode: `Tree.setApart`.
final class PassthroughTable: Sendable {
  /// How a file may be opened.
  enum Admission: Hashable, Sendable {
    /// As usual: reads come to us.
    case asked
    /// The kernel reads the file behind this number.
    case passed(BackingID)
    /// It is open with a backing that this open cannot have.
    case refused
  }

  fileprivate struct Passed: Sendable {
    var etag: ETag
    let id: BackingID
    let file: any BackingFile
    var opens: Int
  }

  fileprivate struct State {
    var kernel: (any KernelPassthrough)?
    var source: (any BackingFileSource)?
    /// Opens that come to us, by inode.
    var asked: [InodeID: Int] = [:]
    var passed: [InodeID: Passed] = [:]
    /// Paths that somebody needs without a backing, and until when (monotonic).
    var avoided: [String: UInt64] = [:]
  }

  private let state = Mutex(State())
  /// How long a path stays without: until the kernel has looked it up again and opened it.
  private static let avoidance: UInt64 = 10_000_000_000
  /// Below this the system calls for the backing cost more than they save; the disk cache has no file of its own for it.
  static let smallestFile: UInt64 = 1 << 20

  /// Begins to pass reads through.
  func enable(_ kernel: any KernelPassthrough, _ source: any BackingFileSource) {
    state.withLock { state in
      state.kernel = kernel
      state.source = source
    }
  }

  /// Notes an open of `inode`; unless refused, `ended` must follow.
  /// - Parameter version: the one to read when nothing but that is done with the file; nil else.
  func admit(
    _ inode: InodeID, _ path: String, _ version: ObjectVersion?, size: UInt64, now: UInt64
  ) -> Admission {
    if let known = state.withLock({ $0.join(inode, version?.etag) }) { return known }
    guard let version, size >= Self.smallestFile, !isAvoided(path, now),
      let (file, id, kernel) = register(version, size)
    else {
      return state.withLock { state in
        // Somebody else's open may have come first meanwhile.
        if let known = state.join(inode, version?.etag) { return known }
        state.asked[inode, default: 0] += 1
        return .asked
      }
    }
    let admission = state.withLock { state in
      if let known = state.join(inode, version.etag) { return known }
      state.passed[inode] = Passed(etag: version.etag, id: id, file: file, opens: 1)
      return .passed(id)
    }
    if admission != .passed(id) { kernel.closeBacking(id) }
    return admission
  }

  /// The kernel has let go of an open.
  func ended(_ inode: InodeID, _ admission: Admission) {
    let last: (Passed, (any KernelPassthrough)?)? = state.withLock { state in
      switch admission {
      case .refused: break
      case .asked:
        guard let opens = state.asked[inode] else { break }
        state.asked[inode] = opens > 1 ? opens - 1 : nil
      case .passed:
        state.passed[inode]?.opens -= 1
        guard let passed = state.passed[inode], passed.opens <= 0 else { break }
        state.passed[inode] = nil
        return (passed, state.kernel)
      }
      return nil
    }
    // With `last` the file goes, after the lock was given back.
    if let (passed, kernel) = last { kernel?.closeBacking(passed.id) }
  }

  /// The version of a file that the kernel reads by itself; nil for any other.
  func passedVersion(of inode: InodeID) -> ETag? { state.withLock { $0.passed[inode]?.etag } }

  /// The same bytes have another tag now.
  func relocated(_ inode: InodeID, from old: ETag, to etag: ETag) {
    state.withLock { state in
      if state.passed[inode]?.etag == old { state.passed[inode]?.etag = etag }
    }
  }

  /// Who opens this path next must not find it passed through again.
  func avoid(_ path: String, now: UInt64) {
    state.withLock { state in
      if state.avoided.count > 1024 { state.avoided = state.avoided.filter { $0.value > now } }
      state.avoided[path] = now &+ Self.avoidance
    }
  }

  private func isAvoided(_ path: String, _ now: UInt64) -> Bool {
    state.withLock { state in state.avoided[path].map { $0 > now } ?? false }
  }

  /// Makes the file of a version known to the kernel, where there is one and the kernel takes it.
  private func register(
    _ version: ObjectVersion, _ size: UInt64
  ) -> (any BackingFile, BackingID, any KernelPassthrough)? {
    let (kernel, source) = state.withLock { ($0.kernel, $0.source) }
    guard let kernel, let file = source?.wholeFile(version, size: size) else { return nil }
    do throws(Errno) {
      return (file, try kernel.openBacking(file.descriptor), kernel)
    } catch {
      // It will be so for all files.
      if [.notSupported, .notPermitted, .tooManySymbolicLinkLevels].contains(error) {
        state.withLock { $0.source = nil }
      }
      return nil
    }
  }
}

extension PassthroughTable.State {
  /// What an open is when others have the file open already; nil when it may be the first with a backing.
  fileprivate mutating func join(_ inode: InodeID, _ etag: ETag?) -> PassthroughTable.Admission? {
    if let current = passed[inode] {
      guard let etag, etag == current.etag else { return .refused }
      passed[inode]?.opens += 1
      return .passed(current.id)
    }
    guard let opens = asked[inode] else { return nil }
    asked[inode] = opens + 1
    return .asked
  }
}
