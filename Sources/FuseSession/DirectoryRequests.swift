import CFuse
import Filesystem
import SystemPackage

// The requests about open directories.
extension FuseConnection {
  func openDirectory(_ request: waysfs_request, _ inode: UInt64) {
    let reply = FuseReply(request, self, .opendir, interruptible: true)
    do throws(Errno) {
      let result = try operations.openDirectory(InodeID(inode), reply.context)
      reply.openedDirectory(result)
    } catch { reply.fail(error) }
  }

  func readDirectory(_ request: waysfs_request, _ handle: UInt64, _ offset: UInt64, _ room: Int, _ plus: Bool) {
    let reply = FuseReply(request, self, plus ? .readdirplus : .readdir, interruptible: true)
    let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: room, alignment: 8)
    defer { memory.deallocate() }
    var page = DirectoryPage(memory: memory, plus: plus)
    do throws(Errno) {
      try operations.readDirectory(HandleID(handle), offset: offset, plus: plus, reply.context) { entry in
        page.add(entry, request)
      }
    } catch {
      // Names that are there are shown first: the next call starts behind them and meets the error again.
      guard page.used > 0 else {
        giveBack(page.counted)
        return reply.fail(error)
      }
    }
    giveBack(page.refused)
    if page.skipped > 0 { log.warning("names that cannot be file names were left out of a directory") }
    if !reply.bytes(UnsafeRawBufferPointer(rebasing: memory[..<page.used])) { giveBack(page.counted) }
  }

  private func giveBack(_ inodes: [InodeID]) {
    for inode in inodes { operations.forget(inode, count: 1) }
  }

  func syncDirectory(_ request: waysfs_request, _ handle: UInt64) {
    let reply = FuseReply(request, self, .fsyncdir, interruptible: true)
    do throws(Errno) {
      try operations.syncDirectory(HandleID(handle), reply.context)
      reply.done()
    } catch { reply.fail(error) }
  }

  func releaseDirectory(_ request: waysfs_request, _ handle: UInt64) {
    let reply = FuseReply(request, self, .releasedir)
    operations.releaseDirectory(HandleID(handle))
    reply.done()
  }
}

/// The answer to one readdir or readdirplus while it is being filled.
struct DirectoryPage {
  /// Where it is built: as much as the kernel has room for.
  let memory: UnsafeMutableRawBufferPointer
  /// Whether entries carry attributes.
  let plus: Bool
  /// Bytes that are filled.
  private(set) var used = 0
  /// Entries that count as lookups once the kernel has them.
  private(set) var counted: [InodeID] = []
  /// Entries that counted but could not be shown.
  private(set) var refused: [InodeID] = []
  /// Entries that could not be shown.
  private(set) var skipped = 0

  init(memory: UnsafeMutableRawBufferPointer, plus: Bool) {
    self.memory = memory
    self.plus = plus
  }

  /// Adds an entry; false when there is no more room.
  mutating func add(_ entry: DirectoryEntry, _ request: waysfs_request) -> Bool {
    let isDot = entry.name.string == "." || entry.name.string == ".."
    let inode = plus && !isDot ? entry.entry?.inode : nil
    guard entry.name.isValid else {
      // The kernel would refuse the whole directory because of it.
      skipped += 1
      if let inode { refused.append(inode) }
      return true
    }
    guard let start = memory.baseAddress else { return false }
    let room = memory.count - used
    var shown = entry.kernelEntry(inode: inode)
    let size = entry.name.string.withCString { name in
      plus
        ? waysfs_add_entry(request, start + used, room, name, &shown, entry.nextOffset)
        : waysfs_add_name(request, start + used, room, name, entry.fileNumber, entry.type, entry.nextOffset)
    }
    guard size <= room else { return false }
    used += size
    if let inode { counted.append(inode) }
    return true
  }
}

extension DirectoryEntry {
  /// What readdirplus tells the kernel. Without an inode it takes the file number and the type, and nothing else.
  fileprivate func kernelEntry(inode: InodeID?) -> waysfs_entry {
    if inode != nil, let entry { return waysfs_entry(entry) }
    var shown = waysfs_entry()
    shown.attributes.file_number = fileNumber
    shown.attributes.mode = type
    return shown
  }
}
