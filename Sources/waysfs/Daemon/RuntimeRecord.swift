import Basics
import Glibc
import Synchronization

/// What a record says: lines of `key=value`, values percent-escaped where they would break a line.
///
///     waysfs-record=1
///     pid=1234
///     source=waysfs:photos/2024
///     mountpoint=/mnt/photos
///     journal=/var/cache/waysfs/photos-1f3a-0               (what the mount keeps; not when it is read-only)
///     options=allowOther=yes,uid=1000                       (what was said about it, wherever)
///     pending-files=3                                       (what is not in the bucket yet, where it is known)
///     pending-bytes=12582912
///     failed-files=1
///     last-error=the server cannot be reached
///     unfinished=3 files are kept in /var/cache/waysfs      (only when the daemon has ended and something is left)
///     checksum=9f86d081884c7d65                             (FNV-1a of all before it)
///
/// The daemon writes it again and again in place, since the lock is on the file: who reads it meanwhile finds the
/// checksum wrong or missing, and keeps what it has read before. What follows the checksum is left from a longer one.
struct RecordContents: Hashable, Sendable {
  var pid: Int32
  var source: String
  var mountPoint: String
  /// The directory in which files being written are kept, where there is one.
  var journal: String?
  /// What was said about it when it was mounted, `OptionList.text`; nil when nobody knows.
  var options: String?
  /// What is not in the bucket yet, without examples; nil when nobody knows.
  var pending: PendingUploads?
  /// What could not be uploaded and where it is kept; nil as long as nothing is wrong.
  var unfinished: String?

  init(pid: Int32, source: String, mountPoint: String, unfinished: String? = nil) {
    self.pid = pid
    self.source = source
    self.mountPoint = mountPoint
    self.unfinished = unfinished
  }

  init?(parsing text: String) {
    guard let values = Self.values(text) else { return nil }
    guard values["waysfs-record"] == "1", let pid = values["pid"].flatMap({ Int32($0) }), pid > 0,
      let source = values["source"], let mountPoint = values["mountpoint"]
    else { return nil }
    self.init(pid: pid, source: source, mountPoint: mountPoint, unfinished: values["unfinished"])
    journal = values["journal"]
    options = values["options"]
    if let files = values["pending-files"].flatMap({ Int($0) }),
      let bytes = values["pending-bytes"].flatMap({ UInt64($0) })
    {
      pending = PendingUploads(
        files: files, bytes: bytes, failed: values["failed-files"].flatMap { Int($0) } ?? 0,
        lastError: values["last-error"])
    }
  }

  /// The lines before the checksum; nil when it is wrong or missing.
  private static func values(_ text: String) -> [Substring: String]? {
    var values: [Substring: String] = [:]
    var covered = text.startIndex
    for line in text.split(separator: "\n") {
      guard let equals = line.firstIndex(of: "=") else { return nil }
      let value = line[line.index(after: equals)...]
      if line[..<equals] == "checksum" { return value == checksum(text[..<covered]) ? values : nil }
      values[line[..<equals]] = unescaped(value)
      covered = line.endIndex < text.endIndex ? text.index(after: line.endIndex) : line.endIndex
    }
    return nil
  }

  private static func checksum(_ text: some StringProtocol) -> String {
    String(RuntimeDirectory.fnv1a(text), radix: 16)
  }

  var text: String {
    var lines = [
      "waysfs-record=1", "pid=\(pid)", "source=\(Self.escaped(source))", "mountpoint=\(Self.escaped(mountPoint))",
    ]
    if let journal { lines.append("journal=\(Self.escaped(journal))") }
    if let options { lines.append("options=\(Self.escaped(options))") }
    if let pending {
      lines += [
        "pending-files=\(pending.files)", "pending-bytes=\(pending.bytes)", "failed-files=\(pending.failed)",
      ]
      // It may quote a server, and the whole must stay small.
      if let error = pending.lastError { lines.append("last-error=\(Self.escaped(String(error.prefix(500))))") }
    }
    if let unfinished { lines.append("unfinished=\(Self.escaped(unfinished))") }
    let text = lines.joined(separator: "\n") + "\n"
    return "\(text)checksum=\(Self.checksum(text))\n"
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
  private struct State {
    var contents: RecordContents
    var isFinished = false
  }

  private let descriptor: Int32
  private let path: String
  /// One writer at a time; held while the file is written. The state's lock is taken behind it.
  private let writing = AccessGate()
  private let state: Mutex<State>

  /// Makes and locks the record.
  /// - Parameter whileHeld: called as long as another process has it, with what to say about that: throws that, or
  ///   returns after a while to have it tried again.
  init(
    directory: String, contents: RecordContents,
    whileHeld: (Failure) throws(Failure) -> Void = { failure throws(Failure) in throw failure }
  ) throws(Failure) {
    let path = "\(directory)/\(RuntimeDirectory.recordName(forMountPoint: contents.mountPoint))"
    let descriptor = try Self.lock(path, mountPoint: contents.mountPoint, whileHeld)
    self.path = path
    self.descriptor = descriptor
    state = Mutex(State(contents: contents))
    guard Self.replace(descriptor, contents.text) else {
      let reason = describe(errno: errno)
      close(descriptor)
      throw Failure("cannot write \(path): \(reason)")
    }
  }

  /// Removes the record and lets go of the lock. With `unfinished`, whoever waits for the lock learns what is left.
  func finish(unfinished: String? = nil) {
    writing.exclusive {
      let text = state.withLock { state -> String? in
        guard !state.isFinished else { return nil }
        state.isFinished = true
        state.contents.unfinished = unfinished
        return state.contents.text
      }
      guard let text else { return }
      // The waiter has the file open and reads it after the lock.
      if unfinished != nil { _ = Self.replace(descriptor, text) }
      unlink(path)
      flock(descriptor, LOCK_UN)
    }
  }

  /// Writes down what is not in the bucket yet; nothing when that has not changed, or after `finish`.
  func update(pending: PendingUploads?) {
    var pending = pending
    pending?.examples = []
    update { [pending] contents in contents.pending = pending }
  }

  /// Writes down where files being written are kept.
  func update(journal: String?) { update { $0.journal = journal } }

  private func update(_ change: (inout RecordContents) -> Void) {
    writing.exclusive {
      let text = state.withLock { state -> String? in
        guard !state.isFinished else { return nil }
        let before = state.contents
        change(&state.contents)
        return state.contents == before ? nil : state.contents.text
      }
      if let text { _ = Self.replace(descriptor, text) }
    }
  }

  deinit { close(descriptor) }

  private static func lock(
    _ path: String, mountPoint: String, _ whileHeld: (Failure) throws(Failure) -> Void
  ) throws(Failure) -> Int32 {
    var attempts = 0
    while true {
      let descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o600)
      guard descriptor >= 0 else { throw Failure("cannot make \(path): \(describe(errno: errno))") }
      guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else {
        let code = errno
        attempts += 1
        // Somebody who looks whether it is locked has it for a moment.
        if code == EWOULDBLOCK, attempts < 20 {
          close(descriptor)
          sleepInterval(seconds: 0.01)
          continue
        }
        let other = (try? readToEnd(descriptor, limit: 1 << 16).get()).map { String(decoding: $0, as: UTF8.self) }
        close(descriptor)
        guard code == EWOULDBLOCK else { throw Failure("cannot lock \(path): \(describe(errno: code))") }
        let pid = other.flatMap { RecordContents(parsing: $0)?.pid }.map { " (process \($0))" } ?? ""
        try whileHeld(
          Failure(
            "an earlier waysfs\(pid) is still at work for \(mountPoint)",
            remedy: "Wait until its uploads are done, or look into its log"))
        continue
      }
      // The file may have been removed by the daemon that had it between our open and our lock; then we hold a lock
      // nobody sees.
      var ours = stat()
      var named = stat()
      if fstat(descriptor, &ours) == 0, lstat(path, &named) == 0, ours.st_ino == named.st_ino,
        ours.st_dev == named.st_dev
      {
        return descriptor
      }
      close(descriptor)
    }
  }

  private static func replace(_ descriptor: Int32, _ text: String) -> Bool {
    // In this order the file is never empty: who reads it between the two finds the end by the checksum.
    let bytes = Array(text.utf8)
    return lseek(descriptor, 0, SEEK_SET) == 0 && writeAll(descriptor, bytes)
      && ftruncate(descriptor, off_t(bytes.count)) == 0
  }
}

/// A record as `waysfs umount` sees it. Opened before the unmount, since the daemon removes the file when it ends.
final class ForeignRecord {
  private let descriptor: Int32
  private let path: String
  let contents: RecordContents

  /// The record of a mount point in one of the directories; nil when there is none.
  convenience init?(mountPoint: String, directories: [String]) {
    let name = RuntimeDirectory.recordName(forMountPoint: mountPoint)
    for directory in directories {
      guard let (descriptor, contents) = Self.open("\(directory)/\(name)") else { continue }
      if contents.mountPoint.utf8.elementsEqual(mountPoint.utf8) {
        self.init("\(directory)/\(name)", descriptor, contents)
        return
      }
      close(descriptor)
    }
    return nil
  }

  private init(_ path: String, _ descriptor: Int32, _ contents: RecordContents) {
    self.path = path
    self.descriptor = descriptor
    self.contents = contents
  }

  /// All records in a directory.
  static func all(in directory: String) -> [ForeignRecord] {
    guard let folder = opendir(directory) else { return [] }
    defer { closedir(folder) }
    var records: [ForeignRecord] = []
    while let entry = readdir(folder) {
      let name = withUnsafePointer(to: &entry.pointee.d_name) {
        $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
      }
      let path = "\(directory)/\(name)"
      guard let (descriptor, contents) = open(path) else { continue }
      // Anything else is no record, whatever it says.
      guard RuntimeDirectory.recordName(forMountPoint: contents.mountPoint) == name else {
        close(descriptor)
        continue
      }
      records.append(ForeignRecord(path, descriptor, contents))
    }
    return records
  }

  private static func open(_ path: String) -> (Int32, RecordContents)? {
    let descriptor = Glibc.open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK)
    guard descriptor >= 0 else { return nil }
    if let contents = read(descriptor) { return (descriptor, contents) }
    close(descriptor)
    return nil
  }

  /// The directory it is in.
  var directory: String { String(path[..<(path.lastIndex(of: "/") ?? path.startIndex)]) }

  deinit { close(descriptor) }

  /// Whether the daemon still runs.
  var isHeld: Bool {
    guard flock(descriptor, LOCK_SH | LOCK_NB) == 0 else { return true }
    flock(descriptor, LOCK_UN)
    return false
  }

  /// Removes the record, and the socket, of a daemon that was killed. Under the lock, so that a new daemon's record is not taken for it.
  func removeIfAbandoned() {
    guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else { return }
    defer { flock(descriptor, LOCK_UN) }
    var ours = stat()
    var named = stat()
    guard fstat(descriptor, &ours) == 0, lstat(path, &named) == 0, ours.st_ino == named.st_ino,
      ours.st_dev == named.st_dev
    else { return }
    unlink(ControlSocket.path(forMountPoint: contents.mountPoint, in: directory))
    unlink(path)
  }

  /// What is not in the bucket yet; nil when nobody knows, or the record is just being written.
  var pending: PendingUploads? { lastWord()?.pending }

  /// What the record says now; nil while it is being written. When the daemon has ended: what it left behind.
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
