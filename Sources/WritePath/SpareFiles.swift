import Glibc
import Synchronization
import SystemPackage

/// Files of records that wait to be used again.
///
/// On ext4 a file that is made soon after many were removed costs up to a millisecond: the inodes of the last seconds are
/// passed over one by one. A small file that is written back needs a record for a moment only. Their old bytes stay until
/// they are written over, since cutting a file to nothing makes the next close of it start a write to the disk. Whatever
/// lies in the directory is worth nothing: it is emptied when the journal is opened.
///
/// Thread-safe; the mutex is held for a few memory accesses.
final class SpareFiles: Sendable {
  private struct State {
    var names: [String] = []
    var next = 0
  }

  /// Enough for the files that are on their way at once.
  private static let limit = 128

  private let directory: FilePath
  private let state = Mutex(State())

  /// Makes the directory, or empties it.
  init(directory: FilePath) throws(Errno) {
    self.directory = directory
    try FileSystem.makePrivateDirectory(directory)
    for name in try FileSystem.names(in: directory) { try FileSystem.remove(directory.appending(name)) }
  }

  /// Gives a file that name, its bytes to be written over; without a spare one nothing happens.
  func take(as path: FilePath) {
    guard let name = state.withLock({ $0.names.popLast() }) else { return }
    try? FileSystem.rename(directory.appending(name), to: path)
  }

  /// Takes a file that is to be removed.
  /// - Returns: false when it is to be removed otherwise.
  func give(_ path: FilePath) -> Bool {
    let name: String? = state.withLock { state in
      guard state.names.count < Self.limit else { return nil }
      state.next += 1
      return "\(state.next)"
    }
    guard let name else { return false }
    guard (try? FileSystem.rename(path, to: directory.appending(name))) != nil else { return false }
    state.withLock { $0.names.append(name) }
    return true
  }
}
