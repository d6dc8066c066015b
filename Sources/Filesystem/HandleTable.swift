import Synchronization

/// Open files and directories by the number the kernel knows. Thread-safe.
final class HandleTable: Sendable {
  private struct State {
    var next: UInt64 = 1
    var files: [UInt64: FileHandle] = [:]
    var directories: [UInt64: DirectoryStream] = [:]
  }

  private let state = Mutex(State())

  func add(_ file: FileHandle) -> HandleID {
    state.withLock { state in
      defer { state.next += 1 }
      state.files[state.next] = file
      return HandleID(state.next)
    }
  }

  func add(_ directory: DirectoryStream) -> HandleID {
    state.withLock { state in
      defer { state.next += 1 }
      state.directories[state.next] = directory
      return HandleID(state.next)
    }
  }

  func file(_ id: HandleID) -> FileHandle? { state.withLock { $0.files[id.value] } }

  func directory(_ id: HandleID) -> DirectoryStream? { state.withLock { $0.directories[id.value] } }

  func removeFile(_ id: HandleID) -> FileHandle? { state.withLock { $0.files.removeValue(forKey: id.value) } }

  func removeDirectory(_ id: HandleID) -> DirectoryStream? {
    state.withLock { $0.directories.removeValue(forKey: id.value) }
  }

  /// The open files of an inode.
  func files(of inode: InodeID) -> [FileHandle] {
    state.withLock { $0.files.values.filter { $0.inode == inode } }
  }
}
