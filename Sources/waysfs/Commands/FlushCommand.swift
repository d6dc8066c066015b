import ArgumentParser
import Basics
import FuseSession
import Glibc
import Synchronization
import SystemPackage
import WritePath

struct FlushCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "flush", abstract: "Wait until what was written is in the bucket.",
    discussion: """
      Uploads at once what a mount still holds of a file, or of everything below a directory, and waits for it.

      EXAMPLES
        waysfs flush /mnt/photos
        waysfs flush /mnt/photos/2024
      """)

  @Argument(
    help: ArgumentHelp("A mount point, or a directory or file on a mount.", valueName: "path"), completion: .file())
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
/// directory: with `--write-mode writeback`, fsync of the file alone would only make the journal durable. If something
/// in the directory cannot be uploaded, the journal tells whether it is that file.
struct Flush {
  var makeWait: (_ purpose: String) -> ProgressWait = { ProgressWait(purpose: $0) }

  func run(_ path: String, _ context: ProcessContext) throws(Failure) {
    guard let real = realpath(path, nil) else { throw unreachable(errno) }
    let resolved = String(cString: real)
    free(real)
    let file = try open(resolved)
    let mount = try MountTable.read().entry(holding: resolved, device: UInt64(file.information.st_dev))
    guard let mount, mount.isWaysfs else {
      throw Failure("it is not on a waysfs mount", remedy: "'findmnt -t fuse.waysfs' lists the mounts")
    }
    let record = ForeignRecord(
      mountPoint: mount.mountpoint,
      directories: context.recordDirectories
        + RuntimeDirectory.candidates(uid: mount.userID ?? context.uid, environment: [:]))
    var code = try synchronise(file, purpose: "waiting for the uploads of \(resolved)", record)
    if code == 0, file.information.st_mode & S_IFMT != S_IFDIR {
      let parent = try open(resolved.lastIndex(of: "/").map { "\(resolved[...$0])." } ?? ".")
      code = try synchronise(parent, purpose: "waiting for the upload of \(resolved)", record)
      if code != 0, let record, FlushedFile(path: resolved, in: record.contents)?.isStored == true { code = 0 }
    }
    guard code != 0 else { return }
    let cause = record?.pending?.lastError.map { ": \($0)" } ?? ""
    throw Failure(
      "not everything is in the bucket: \(describe(errno: code))\(cause)",
      remedy: "What could not be sent is kept, and sent again later; the log of the mount says more")
  }

  /// Calls fsync(2) on a thread, and shows how far the uploads are; its errno, or 0.
  private func synchronise(
    _ file: OpenFile, purpose: String, _ record: ForeignRecord?
  ) throws(Failure) -> Int32 {
    let result = SharedResult()
    let thread = Thread.start(name: "flush") {
      let code = fsync(file.descriptor) == 0 ? 0 : errno
      result.value.withLock { $0 = code }
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

/// A file on a mount, and what the mount's journal has of it.
struct FlushedFile: Hashable, Sendable {
  let key: String
  /// The bucket, where all of an account are mounted.
  let bucket: String?
  /// The journal's directory; with a bucket, the one that has a directory for each.
  let journal: FilePath

  /// Nil where the record does not tell where the journal is.
  init?(path: String, in contents: RecordContents) {
    let mountPoint = contents.mountPoint == "/" ? "" : contents.mountPoint
    guard let journal = contents.journal, path.utf8.starts(with: "\(mountPoint)/".utf8) else { return nil }
    let below = String(decoding: Array(path.utf8.dropFirst(mountPoint.utf8.count + 1)), as: UTF8.self)
    self.journal = FilePath(journal)
    guard contents.source != MountTarget.accountSource else {
      guard let slash = below.utf8.firstIndex(of: UInt8(ascii: "/")) else { return nil }
      bucket = String(below[..<slash])
      key = String(below[slash...].dropFirst())
      return
    }
    // `waysfs:bucket` or `waysfs:bucket/prefix`.
    let prefix = contents.source.utf8.firstIndex(of: UInt8(ascii: "/")).map { "\(contents.source[$0...].dropFirst())/" }
    key = (prefix ?? "") + below
    bucket = nil
  }

  /// Whether the journal has nothing of it that is to be uploaded; nil when the journal cannot be read.
  var isStored: Bool? {
    let place = bucket == nil ? "\(journal)/files" : journal.string
    guard access(place, R_OK | X_OK) == 0,
      let items = try? JournalInventory.read(root: bucket == nil ? journal.removingLastComponent() : journal)
    else { return nil }
    return !items.contains { item in
      // One without a name might be this one.
      isOurs(item) && [.quarantined, .recovered].allSatisfy { $0 != item.state }
        && item.key.map { $0.string.utf8.elementsEqual(key.utf8) } ?? true
    }
  }

  private func isOurs(_ item: JournalItem) -> Bool {
    guard let bucket else { return item.directory == journal }
    // Another mount of the bucket may have one, too; then this says rather that the file is not stored yet.
    return item.isInUse && item.identity.map { Recover.target(ofIdentity: $0) == bucket } ?? true
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
