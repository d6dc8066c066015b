import Basics
import CLinux
import Glibc
import Synchronization
import SystemPackage

/// Files of the journal that wait to be used again, instead of being removed.
///
///     spare/rN    was a record; keeps its bytes until they are written over
///     spare/dN    was small data; empty
///
/// On ext4 a file that is made soon after many were removed costs up to a millisecond: the inodes of the last seconds are
/// passed over one by one. A small file that is written back needs its record and its data for a moment only. A record is
/// not cut, since cutting a file to nothing makes the next close of it start a write to the disk; data is, right before
/// it is closed, when there is nothing to be written.
///
/// Nothing that was made durable may come here: after a power failure its name may be back, and then its bytes must be.
/// The others are what they were or what they have become, as the filesystem orders its changes.
///
/// Thread-safe; the mutex is held for a few memory accesses.
final class SpareFiles: Sendable {
  private struct State {
    var records: [String] = []
    var data: [String] = []
    /// Data that is still open somewhere.
    var parked = 0
    var next = 0
  }

  /// Enough for the files that are written and sent within some seconds: 4 MiB of records.
  private static let limit = 1024

  private let directory: FilePath
  private let state = Mutex(State())

  /// Makes the directory, or takes over what an earlier mount left there.
  init(directory: FilePath) throws(Errno) {
    self.directory = directory
    try FileSystem.makePrivateDirectory(directory)
    var found = State()
    for name in try FileSystem.names(in: directory) {
      found.next = max(found.next, Int(clamping: JournalName.highestNumber(in: name)))
      if name.hasPrefix("r"), found.records.count < Self.limit {
        found.records.append(name)
      } else if name.hasPrefix("d"), found.data.count < Self.limit, isEmpty(directory.appending(name)) {
        found.data.append(name)
      } else {
        try FileSystem.remove(directory.appending(name))
      }
    }
    state.withLock { $0 = found }
  }

  /// A daemon may have ended before it was made empty.
  private func isEmpty(_ path: FilePath) -> Bool {
    var info = stat()
    return path.withPlatformString { stat($0, &info) } == 0 && info.st_size == 0 && JournalDisk.label(path) == nil
  }

  // MARK: Records

  /// Gives a file that name, its bytes to be written over; without a spare one nothing happens.
  func take(as path: FilePath) {
    guard let name = state.withLock({ $0.records.popLast() }) else { return }
    try? FileSystem.rename(directory.appending(name), to: path)
  }

  /// Takes a file that is to be removed.
  /// - Returns: false when it is to be removed otherwise.
  func give(_ path: FilePath) -> Bool {
    let name: String? = state.withLock { state in
      guard state.records.count < Self.limit else { return nil }
      state.next += 1
      return "r\(state.next)"
    }
    guard let name else { return false }
    guard (try? FileSystem.rename(path, to: directory.appending(name))) != nil else { return false }
    state.withLock { $0.records.append(name) }
    return true
  }

  // MARK: Data

  /// Gives an empty file that name, which nothing has.
  /// - Returns: false without a spare one.
  func takeData(as path: FilePath) -> Bool {
    guard !JournalDisk.exists(path), let name = state.withLock({ $0.data.popLast() }) else { return false }
    return (try? FileSystem.rename(directory.appending(name), to: path)) != nil
  }

  /// Takes data that is to be removed; it is used again when nobody has it open any more.
  /// - Returns: false when it is to be removed otherwise.
  func give(_ file: SharedDescriptor, _ path: FilePath) -> Bool {
    let name: String? = state.withLock { state in
      guard state.data.count + state.parked < Self.limit else { return nil }
      state.next += 1
      state.parked += 1
      return "d\(state.next)"
    }
    guard let name else { return false }
    let isParked = (try? FileSystem.rename(path, to: directory.appending(name))) != nil
    guard isParked else {
      state.withLock { $0.parked -= 1 }
      return false
    }
    file.atEnd { [weak self] descriptor in self?.admit(name, descriptor) }
    return true
  }

  private func admit(_ name: String, _ descriptor: FileDescriptor) {
    let isEmpty =
      clinux_remove_attribute(descriptor.rawValue, JournalDisk.labelName) == 0
      && ftruncate(descriptor.rawValue, 0) == 0
    if !isEmpty { try? FileSystem.remove(directory.appending(name)) }
    state.withLock { state in
      state.parked -= 1
      if isEmpty { state.data.append(name) }
    }
  }
}
