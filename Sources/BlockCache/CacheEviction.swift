import Basics
import Glibc
import SystemPackage

/// Makes room in a cache directory: what was not used for longest goes first. On a thread of its own.
struct CacheEviction: Sendable {
  private struct Entry {
    var name: String
    var allocated: UInt64
    var modified: Timestamp
  }

  let core: DiskCache.Core
  /// Told which versions were removed.
  let onRemoval: @Sendable ([String]) -> Void

  /// Looks what there is, and removes versions until there is room again. Of several mounts one does so at a time.
  func run() throws(Errno) {
    core.beginEviction()
    let lockPath = core.directory.appending("evicting")
    let lock = try core.disk.open(lockPath, makes: true)
    guard CacheDisk.lock(lock, whole: true, waits: true) else { throw Errno(rawValue: errno) }
    defer { CacheDisk.unlock(lock) }
    let before = try core.space.beginLook()
    var entries = try look()
    let found = entries.reduce(0) { $0 + $1.allocated }
    let excess = found > core.space.lowWater ? found - core.space.lowWater : 0
    // A little more than the disk lacks: whoever fills it goes on.
    let lack = core.space.missing()
    let goal = max(excess, lack > 0 ? lack + core.space.limit / 16 : 0)
    var freed: UInt64 = 0
    var removed: [String] = []
    defer {
      core.space.endLook(since: before, found: found - freed)
      onRemoval(removed)
      core.count { [freed, count = removed.count] in
        $0.evictions += UInt64(count)
        $0.bytesEvicted += freed
      }
    }
    guard goal > 0 else { return }
    entries.sort { ($0.modified, $0.name) < ($1.modified, $1.name) }
    for entry in entries {
      guard freed < goal else { break }
      guard try remove(entry.name) else { continue }
      freed += entry.allocated
      removed.append(entry.name)
    }
  }

  /// All versions, and what they take on the disk.
  private func look() throws(Errno) -> [Entry] {
    var entries: [Entry] = []
    for number in 0..<256 {
      let digits = String(number, radix: 16)
      let folder = core.directory.appending(digits.utf8.count < 2 ? "0\(digits)" : digits)
      var found: [String: Entry] = [:]
      for file in try core.disk.names(in: folder) {
        guard let status = try core.disk.status(folder.appending(file)) else { continue }
        let isMap = file.hasSuffix(".map")
        let name = isMap ? String(file.dropLast(4)) : file
        var entry = found[name] ?? Entry(name: name, allocated: 0, modified: Timestamp(seconds: .min))
        entry.allocated += status.allocated
        // The sums are written when something is put in; the bytes' file tells of reads, too.
        entry.modified = max(entry.modified, status.modified)
        found[name] = entry
      }
      entries += found.values
    }
    return entries
  }

  /// Removes a version unless somebody reads its file without asking (`HeldFile`).
  private func remove(_ name: String) throws(Errno) -> Bool {
    let path = core.path(of: name)
    var file: SharedDescriptor?
    do throws(Errno) {
      file = try core.disk.open(path)
      if let file, !CacheDisk.lock(file, whole: true, waits: false) { return false }
    } catch {
      guard error == .noSuchFileOrDirectory else { throw error }
    }
    // The lock ends with the descriptor.
    defer { withExtendedLifetime(file) {} }
    try CachedObject.remove(path, core.disk)
    return true
  }
}
