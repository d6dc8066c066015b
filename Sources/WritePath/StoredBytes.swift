import Basics

/// The bytes of a version that the bucket has just got, in the staging file, as long as nobody writes to it. They stay
/// readable when the file is discarded. Thread-safe.
public struct StoredBytes: Sendable {
  /// Length in bytes.
  public let size: UInt64
  fileprivate let staged: StagedFile
  fileprivate let file: SharedDescriptor
  fileprivate let changes: UInt64

  /// Fills a buffer from an offset on; false when that fails. Blocks for local I/O.
  public func read(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) -> Bool {
    var done = 0
    while done < buffer.count {
      let count = try? file.descriptor.read(
        fromAbsoluteOffset: Int64(offset) + Int64(done),
        into: UnsafeMutableRawBufferPointer(rebasing: buffer[done...]))
      guard let count, count > 0 else { return false }
      done += count
    }
    return true
  }

  /// Whether nobody has begun to change the file before this call. Waits for writers under way.
  public func areUnchanged() -> Bool {
    // A write changes the bytes before it is counted, and both while it shares this gate.
    staged.writing.exclusive { staged.state.withLock { $0.changes == changes && $0.failure == nil } }
  }
}

extension StagedFile {
  /// The bytes of the version that was uploaded last, when they are all here and are what the file still is.
  public var storedBytes: StoredBytes? {
    let file = entry.file
    return state.withLock { state in
      guard state.changes == state.uploadedChanges, !state.isRetired, state.failure == nil,
        state.present.contains(0..<state.size)
      else { return nil }
      return StoredBytes(size: state.size, staged: self, file: file, changes: state.changes)
    }
  }
}
