import CFuse
import Filesystem
import SystemPackage

// The requests about names and attributes: decode, ask, answer.
extension FuseConnection {
  func lookup(_ request: waysfs_request, _ parent: UInt64, _ name: UnsafePointer<CChar>) {
    let reply = FuseReply(request, self, .lookup, interruptible: true)
    do throws(Errno) {
      let result = try operations.lookup(InodeID(parent), FileName(kernel: name), reply.context)
      reply.entry(result)
    } catch { reply.fail(error) }
  }

  func forget(_ request: waysfs_request, _ forgets: UnsafeBufferPointer<waysfs_forget>) {
    for forget in forgets { operations.forget(InodeID(forget.inode), count: forget.count) }
    waysfs_reply_none(request)
  }

  /// Gives back the count of an entry that did not reach the kernel.
  func giveBack(_ entry: EntryReply) {
    if let inode = entry.inode { operations.forget(inode, count: 1) }
  }

  func getAttributes(_ request: waysfs_request, _ inode: UInt64, _ handle: HandleID?) {
    let reply = FuseReply(request, self, .getattr, interruptible: true)
    do throws(Errno) {
      let result = try operations.getAttributes(InodeID(inode), handle, reply.context)
      reply.attributes(result)
    } catch { reply.fail(error) }
  }

  func setAttributes(_ request: waysfs_request, _ inode: UInt64, _ changes: waysfs_changes, _ handle: HandleID?) {
    let reply = FuseReply(request, self, .setattr, interruptible: true)
    do throws(Errno) {
      let result = try operations.setAttributes(InodeID(inode), AttributeChanges(changes), handle, reply.context)
      reply.attributes(result)
    } catch { reply.fail(error) }
  }

  func readLink(_ request: waysfs_request, _ inode: UInt64) {
    let reply = FuseReply(request, self, .readlink, interruptible: true)
    do throws(Errno) {
      let target = try operations.readLink(InodeID(inode), reply.context)
      // A target that C would cut short is another target.
      guard !target.utf8.contains(0) else { throw .ioError }
      guard target.utf8.count < 4096 else { throw .fileNameTooLong }
      reply.link(target)
    } catch { reply.fail(error) }
  }

  func makeNode(_ request: waysfs_request, _ parent: UInt64, _ name: UnsafePointer<CChar>, _ mode: UInt32) {
    let reply = FuseReply(request, self, .mknod, interruptible: true)
    do throws(Errno) {
      let result = try operations.makeNode(InodeID(parent), FileName(kernel: name), mode: mode, reply.context)
      reply.entry(result)
    } catch { reply.fail(error) }
  }

  func makeDirectory(_ request: waysfs_request, _ parent: UInt64, _ name: UnsafePointer<CChar>, _ mode: UInt32) {
    let reply = FuseReply(request, self, .mkdir, interruptible: true)
    do throws(Errno) {
      let result = try operations.makeDirectory(InodeID(parent), FileName(kernel: name), mode: mode, reply.context)
      reply.entry(result)
    } catch { reply.fail(error) }
  }

  func makeLink(
    _ request: waysfs_request, _ parent: UInt64, _ name: UnsafePointer<CChar>, _ target: UnsafePointer<CChar>
  ) {
    let reply = FuseReply(request, self, .symlink, interruptible: true)
    do throws(Errno) {
      let result = try operations.makeLink(InodeID(parent), FileName(kernel: name), target: text(target), reply.context)
      reply.entry(result)
    } catch { reply.fail(error) }
  }

  func unlink(_ request: waysfs_request, _ parent: UInt64, _ name: UnsafePointer<CChar>) {
    let reply = FuseReply(request, self, .unlink, interruptible: true)
    do throws(Errno) {
      try operations.unlink(InodeID(parent), FileName(kernel: name), reply.context)
      reply.done()
    } catch { reply.fail(error) }
  }

  func removeDirectory(_ request: waysfs_request, _ parent: UInt64, _ name: UnsafePointer<CChar>) {
    let reply = FuseReply(request, self, .rmdir, interruptible: true)
    do throws(Errno) {
      try operations.removeDirectory(InodeID(parent), FileName(kernel: name), reply.context)
      reply.done()
    } catch { reply.fail(error) }
  }

  func rename(
    _ request: waysfs_request, _ parent: UInt64, _ name: UnsafePointer<CChar>, _ newParent: UInt64,
    _ newName: UnsafePointer<CChar>, _ flags: UInt32
  ) {
    let reply = FuseReply(request, self, .rename, interruptible: true)
    do throws(Errno) {
      try operations.rename(
        InodeID(parent), FileName(kernel: name), to: InodeID(newParent), FileName(kernel: newName),
        RenameMode(renameFlags: flags), reply.context)
      reply.done()
    } catch { reply.fail(error) }
  }

  func statistics(_ request: waysfs_request, _ inode: UInt64) {
    let reply = FuseReply(request, self, .statfs, interruptible: true)
    do throws(Errno) {
      var context = reply.context
      context.isOwn = reply.isOwn
      let result = try operations.statistics(InodeID(inode), context)
      reply.statistics(result)
    } catch { reply.fail(error) }
  }

  func getAttribute(_ request: waysfs_request, _ inode: UInt64, _ name: UnsafePointer<CChar>, _ room: Int) {
    let reply = FuseReply(request, self, .getxattr, interruptible: true)
    do throws(Errno) {
      let value = try operations.extendedAttribute(InodeID(inode), text(name), reply.context)
      reply.attribute(value, room: room)
    } catch { reply.fail(error) }
  }

  func listAttributes(_ request: waysfs_request, _ inode: UInt64, _ room: Int) {
    let reply = FuseReply(request, self, .listxattr, interruptible: true)
    do throws(Errno) {
      let names = try operations.extendedAttributes(InodeID(inode), reply.context)
      reply.attribute(names.map { "\($0)\0" }.joined(), room: room)
    } catch { reply.fail(error) }
  }

  func access(_ request: waysfs_request, _ inode: UInt64, _ mask: UInt32) {
    let reply = FuseReply(request, self, .access, interruptible: true)
    do throws(Errno) {
      try operations.access(InodeID(inode), mask: mask, reply.context)
      reply.done()
    } catch { reply.fail(error) }
  }
}
