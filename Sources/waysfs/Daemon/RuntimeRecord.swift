import Glibc
import Synchronization

/// What a record says: lines of `key=value`, values percent-escaped where they would break a line.
///
///     waysfs-record=1
///     pid=1234
///     source=waysfs:photos/2024
///     mountpoint=/mnt/photos
///     unfinished=3 files are kept in /var/cache/waysfs      (written last, only when something is left)
struct RecordContents: Hashable, Sendable {
  var pid: Int32
  var source: String
  var mountPoint: String
  /// What could not be uploaded and where it is kept; nil as long as nothing is wrong.
  var unfinished: String?

  init(pid: Int32, source: String, mountPoint: String, unfinished: String? = nil) {
    self.pid = pid
    self.source = source
    self.mountPoint = mountPoint
    self.unfinished = unfinished
  }

  init?(parsing text: String) {
    var values: [Substring: String] = [:]
    for line in text.split(separator: "\n") {
      guard let equals = line.firstIndex(of: "=") else { continue }
      values[line[..<equals]] = Self.unescaped(line[line.index(after: equals)...])
    }
    guard values["waysfs-record"] == "1", let pid = values["pid"].flatMap({ Int32($0) }), pid > 0,
      let source = values["source"], let mountPoint = values["mountpoint"]
    else { return nil }
    self.init(pid: pid, source: source, mountPoint: mountPoint, unfinished: values["unfinished"])
  }

  var text: String {
    var lines = [
      "waysfs-record=1", "pid=\(pid)", "source=\(Self.escaped(source))", "mountpoint=\(Self.escaped(mountPoint))",
    ]
    if let unfinished { lines.append("unfinished=\(Self.escaped(unfinished))") }
    return lines.joined(separator: "\n") + "\n"
  }

  private static func escaped(_ value: String) -> String {
    var escaped = ""
    for scalar in value.unicodeScalars {
      switch scalar {
      case "%": escaped += "%25"
      case "\n": escaped += "%0A"
      case "\r": escaped += "%0D"
      default: escaped.unicodeScalars.append(scalar)
      }
    }
    return escaped
  }

  private static func unescaped(_ value: Substring) -> String {
    var bytes: [UInt8] = []
    var rest = Array(value.utf8)[...]
    while let byte = rest.popFirst() {
      if byte == UInt8(ascii: "%"), let code = UInt8(String(decoding: rest.prefix(2), as: UTF8.self), radix: 16) {
        bytes.append(code)
        rest = rest.dropFirst(2)
      } else {
        bytes.append(byte)
      }
    }
    return String(decoding: bytes, as: UTF8.self)
  }
}

/// The record of a mount, locked (flock(2)) as long as its daemon is at work: who waits for the lock waits for the
/// daemon's last upload, however the daemon ends. Thread-safe.
final class RuntimeRecord: Sendable {
  private let descriptor: Int32
  private let path: String
  private let contents: Mutex<RecordContents>

  /// Makes and locks the record.
  init(directory: String, contents: RecordContents) throws(Failure) {
    let path = "\(directory)/\(RuntimeDirectory.recordName(forMountPoint: contents.mountPoint))"
    let descriptor = try Self.lock(path, mountPoint: contents.mountPoint)
    self.path = path
    self.descriptor = descriptor
    self.contents = Mutex(contents)
    guard Self.replace(descriptor, contents.text) else {
      let reason = describe(errno: errno)
      close(descriptor)
      throw Failure("cannot write \(path): \(reason)")
    }
  }

  /// Removes the record and lets go of the lock. With `unfinished`, whoever waits for the lock learns what is left.
  func finish(unfinished: String? = nil) {
    let text = contents.withLock { contents in
      contents.unfinished = unfinished
      return contents.text
    }
    // The waiter has the file open and reads it after the lock.
    if unfinished != nil { _ = Self.replace(descriptor, text) }
    unlink(path)
    flock(descriptor, LOCK_UN)
  }

  deinit { close(descriptor) }

  private static func lock(_ path: String, mountPoint: String) throws(Failure) -> Int32 {
    // The file may be removed by the daemon that had it between our open and our lock; then we hold a lock nobody sees.
    for _ in 0..<100 {
      let descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o600)
      guard descriptor >= 0 else { throw Failure("cannot make \(path): \(describe(errno: errno))") }
      guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else {
        let code = errno
        let other = (try? readToEnd(descriptor, limit: 1 << 16).get()).map { String(decoding: $0, as: UTF8.self) }
        close(descriptor)
        guard code == EWOULDBLOCK else { throw Failure("cannot lock \(path): \(describe(errno: code))") }
        let pid = other.flatMap { RecordContents(parsing: $0)?.pid }.map { " (process \($0))" } ?? ""
        throw Failure(
          "an earlier waysfs\(pid) is still at work for \(mountPoint)",
          remedy: "Wait until its uploads are done, or look into its log")
      }
      var ours = stat()
      var named = stat()
      if fstat(descriptor, &ours) == 0, lstat(path, &named) == 0, ours.st_ino == named.st_ino,
        ours.st_dev == named.st_dev
      {
        return descriptor
      }
      close(descriptor)
    }
    throw Failure("cannot lock \(path)")
  }

  private static func replace(_ descriptor: Int32, _ text: String) -> Bool {
    lseek(descriptor, 0, SEEK_SET) == 0 && ftruncate(descriptor, 0) == 0 && writeAll(descriptor, Array(text.utf8))
  }
}

/// A record as `waysfs umount` sees it. Opened before the unmount, since the daemon removes the file when it ends.
final class ForeignRecord {
  private let descriptor: Int32
  private let path: String
  let contents: RecordContents

  /// The record of a mount point in one of the directories; nil when there is none.
  init?(mountPoint: String, directories: [String]) {
    let name = RuntimeDirectory.recordName(forMountPoint: mountPoint)
    for directory in directories {
      let path = "\(directory)/\(name)"
      let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK)
      guard descriptor >= 0 else { continue }
      if let contents = Self.read(descriptor), contents.mountPoint.utf8.elementsEqual(mountPoint.utf8) {
        self.descriptor = descriptor
        self.path = path
        self.contents = contents
        return
      }
      close(descriptor)
    }
    return nil
  }

  deinit { close(descriptor) }

  /// Whether the daemon still runs.
  var isHeld: Bool {
    guard flock(descriptor, LOCK_SH | LOCK_NB) == 0 else { return true }
    flock(descriptor, LOCK_UN)
    return false
  }

  /// Removes the record of a daemon that was killed. Under the lock, so that a new daemon's record is not taken for it.
  func removeIfAbandoned() {
    guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else { return }
    defer { flock(descriptor, LOCK_UN) }
    var ours = stat()
    var named = stat()
    guard fstat(descriptor, &ours) == 0, lstat(path, &named) == 0, ours.st_ino == named.st_ino,
      ours.st_dev == named.st_dev
    else { return }
    unlink(path)
  }

  /// What the daemon left behind when it ended.
  func lastWord() -> RecordContents? {
    lseek(descriptor, 0, SEEK_SET)
    return Self.read(descriptor)
  }

  private static func read(_ descriptor: Int32) -> RecordContents? {
    var information = stat()
    guard fstat(descriptor, &information) == 0, information.st_mode & S_IFMT == S_IFREG,
      let bytes = try? readToEnd(descriptor, limit: 1 << 16).get()
    else { return nil }
    return RecordContents(parsing: String(decoding: bytes, as: UTF8.self))
  }
}
