import CFuse
import Filesystem
import SystemPackage

// The requests about open files.
extension FuseConnection {
  func open(_ request: waysfs_request, _ inode: UInt64, _ flags: Int32) {
    let reply = FuseReply(request, self, .open, interruptible: true)
    do throws(Errno) {
      let result = try operations.open(InodeID(inode), OpenMode(openFlags: flags), reply.context)
      reply.opened(result)
    } catch { reply.fail(error) }
  }

  func create(
    _ request: waysfs_request, _ parent: UInt64, _ name: UnsafePointer<CChar>, _ mode: UInt32, _ flags: Int32
  ) {
    let reply = FuseReply(request, self, .create, interruptible: true)
    do throws(Errno) {
      let made = try operations.create(
        InodeID(parent), FileName(kernel: name), permissions: mode & 0o7777, OpenMode(openFlags: flags), reply.context)
      reply.created(made.entry, made.open)
    } catch { reply.fail(error) }
  }

  /// Does not wait: the reply goes with the completion to whoever has the bytes.
  func read(_ request: waysfs_request, _ handle: UInt64, _ offset: UInt64, _ count: Int) {
    let reply = FuseReply(request, self, .read, interruptible: true)
    let context = reply.context
    let pending = PendingReply(reply)
    operations.read(HandleID(handle), offset: offset, count: count, context) { [pending] result in
      guard let reply = pending.take() else { return }
      switch result {
      case .success(let buffers): reply.data(buffers, limit: count)
      case .failure(let error): reply.fail(error)
      }
    }
  }

  func write(
    _ request: waysfs_request, _ handle: UInt64, _ offset: UInt64, _ bytes: UnsafeRawBufferPointer, isWriteback: Bool
  ) {
    let reply = FuseReply(request, self, .write, interruptible: true)
    var context = reply.context
    context.isWriteback = isWriteback
    do throws(Errno) {
      try operations.write(HandleID(handle), offset: offset, bytes, context)
      reply.written(bytes.count)
    } catch { reply.fail(error) }
  }

  func flush(_ request: waysfs_request, _ handle: UInt64) {
    let reply = FuseReply(request, self, .flush, interruptible: true)
    do throws(Errno) {
      try operations.flush(HandleID(handle), reply.context)
      reply.done()
    } catch { reply.fail(error) }
  }

  func sync(_ request: waysfs_request, _ handle: UInt64) {
    let reply = FuseReply(request, self, .fsync, interruptible: true)
    do throws(Errno) {
      try operations.sync(HandleID(handle), reply.context)
      reply.done()
    } catch { reply.fail(error) }
  }

  func warm(_ request: waysfs_request, _ handle: UInt64, _ offset: UInt64, _ length: UInt64) {
    let reply = FuseReply(request, self, .warm, interruptible: true)
    do throws(Errno) {
      let bytes = try operations.warm(HandleID(handle), offset: offset, length: length, reply.context)
      reply.warmed(bytes)
    } catch { reply.fail(error) }
  }

  func release(_ request: waysfs_request, _ handle: UInt64) {
    let reply = FuseReply(request, self, .release)
    operations.release(HandleID(handle))
    reply.done()
  }
}
