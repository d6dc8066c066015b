import ArgumentParser
import Basics
import FuseSession
import Glibc
import Synchronization

struct FlushCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "flush", abstract: "Wait until what was written is in the bucket.",
    discussion: """
      Uploads at once what a mount still holds, and waits for it: everything below a directory, or below the directory \
      that a file is in.

      EXAMPLES
        waysfs flush /mnt/photos
        waysfs flush /mnt/photos/2024
      """)

  @Argument(help: ArgumentHelp("A mount point, or a directory or file on a mount.", valueName: "path"))
  var path: String

  func run() throws {
    do throws(Failure) {
      try Flush().run(path, ProcessContext.current())
    } catch {
      throw CommandEnd(error, doing: "cannot flush \(path)")
    }
  }
}

/// Has a mount upload what it holds, by fsync(2) of a directory: the mount answers that when everything below is in the
/// bucket. A file is synchronised first, which makes the kernel hand over what it still has of it, and then its
/// directory: with `--write-mode writeback`, fsync of the file alone would only make the journal durable.
struct Flush {
  var makeWait: (_ purpose: String) -> ProgressWait = { ProgressWait(purpose: $0) }

  func run(_ path: String, _ context: ProcessContext) throws(Failure) {
    guard let real = realpath(path, nil) else { throw unreachable(errno) }
    let resolved = String(cString: real)
    free(real)
    var files = [try open(resolved)]
    let information = files[0].information
    if information.st_mode & S_IFMT != S_IFDIR {
      files.append(try open(resolved.lastIndex(of: "/").map { "\(resolved[...$0])." } ?? "."))
    }
    let mount = try MountTable.read().entry(holding: resolved, device: UInt64(information.st_dev))
    guard let mount, mount.isWaysfs else {
      throw Failure("it is not on a waysfs mount", remedy: "'findmnt -t fuse.waysfs' lists the mounts")
    }
    let record = ForeignRecord(
      mountPoint: mount.mountpoint,
      directories: context.recordDirectories
        + RuntimeDirectory.candidates(uid: mount.userID ?? context.uid, environment: [:]))
    let code = try synchronise(files, purpose: "waiting for the uploads of \(resolved)", record)
    guard code != 0 else { return }
    let cause = record?.pending?.lastError.map { ": \($0)" } ?? ""
    throw Failure(
      "not everything is in the bucket: \(describe(errno: code))\(cause)",
      remedy: "What could not be sent is kept, and sent again later; the log of the mount says more")
  }

  /// Synchronises one after the other, on a thread, and shows how far the uploads are; the errno of the first that
  /// fails, or 0.
  private func synchronise(
    _ files: [OpenFile], purpose: String, _ record: ForeignRecord?
  ) throws(Failure) -> Int32 {
    let result = SharedResult()
    let thread = Thread.start(name: "flush") {
      for file in files where fsync(file.descriptor) != 0 {
        return result.value.withLock { [code = errno] in $0 = code }
      }
      result.value.withLock { $0 = 0 }
    }
    guard let thread else { throw Failure("the system has no thread left") }
    // Short at first: most often there is nothing to wait for.
    var pause = 0.001
    var wait = makeWait(purpose)
    wait.run(
      until: {
        sleepInterval(seconds: pause)
        pause = min(2 * pause, 0.1)
        return result.value.withLock { $0 != nil }
      }, pending: { record?.pending })
    thread.join()
    return result.value.withLock { $0 ?? 0 }
  }

  private func open(_ path: String) throws(Failure) -> OpenFile {
    guard let file = OpenFile(path) else { throw unreachable(errno) }
    return file
  }

  private func unreachable(_ code: Int32) -> Failure {
    guard code == ENOTCONN else { return Failure(describe(errno: code)) }
    return Failure(
      "the process of this mount has died",
      remedy: "Remove it with 'waysfs umount'; what it had not uploaded is sent by the next mount")
  }
}

/// The errno of a thread, once it has ended.
private final class SharedResult: Sendable {
  let value = Mutex<Int32?>(nil)
}

/// A file or directory that is open for reading, closed with its last user.
private final class OpenFile: Sendable {
  let descriptor: Int32
  let information: stat

  /// Nil with errno set when it cannot be opened.
  init?(_ path: String) {
    // A FIFO must not make this wait.
    descriptor = Glibc.open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK)
    guard descriptor >= 0 else { return nil }
    var information = stat()
    _ = fstat(descriptor, &information)
    self.information = information
  }

  deinit { if descriptor >= 0 { close(descriptor) } }
}
