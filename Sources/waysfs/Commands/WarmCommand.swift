import ArgumentParser
import Basics
import FuseSession
import Glibc
import Synchronization
import SystemPackage

struct WarmCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "warm", abstract: "Fetch files into the disk cache.",
    discussion: """
      Brings files, or all files below directories, into the disk cache of their mount, and waits until they are there. \
      What is there already is not fetched again. The mount must have been made with --cache-dir.

      EXAMPLES
        waysfs warm /mnt/photos/2024
        waysfs warm /mnt/data/index.db /mnt/data/archive
      """)

  @Argument(help: ArgumentHelp("A file or a directory on a mount.", valueName: "path"), completion: .file())
  var paths: [String]

  func run() throws {
    do throws(Failure) {
      try Warm().run(paths)
    } catch {
      throw CommandEnd(error, doing: paths.count == 1 ? "cannot warm \(paths[0])" : "cannot warm")
    }
  }
}

/// Has mounts bring files into their disk caches, several at a time.
struct Warm {
  /// Files at a time: more than the server's answers to one of them take to come.
  private static let parallelism = 8
  /// Bytes asked for at once, so that it can be interrupted and progress is seen.
  private static let piece: UInt64 = 32 << 20

  var say: (String) -> Void = printError

  func run(_ paths: [String]) throws(Failure) {
    let mounts = try MountTable.read()
    let paths = try paths.map { path throws(Failure) in try resolved(path, mounts) }
    let tally = WarmTally()
    let files = WarmQueue()
    let threads = (0..<Self.parallelism).compactMap { _ in
      Thread.start(name: "warm") {
        while let path = files.take() { Self.warm(path, tally) }
      }
    }
    guard !threads.isEmpty else { throw Failure("the system has no thread left") }
    let progress = showProgress(tally)
    for path in paths { walk(path, files, tally) }
    files.close()
    for thread in threads { thread.join() }
    tally.end()
    progress?.join()
    try report(tally.counts)
  }

  /// Where a path of the command line leads to; a link may be meant by it.
  private func resolved(_ path: String, _ mounts: MountTable) throws(Failure) -> String {
    guard let real = realpath(path, nil) else { throw Failure("\(path): \(describe(errno: errno))") }
    defer { free(real) }
    var information = stat()
    guard stat(real, &information) == 0 else { throw Failure("\(path): \(describe(errno: errno))") }
    let mount = mounts.entry(holding: String(cString: real), device: UInt64(information.st_dev))
    guard let mount, mount.isWaysfs else {
      throw Failure("\(path) is not on a waysfs mount", remedy: "'findmnt -t fuse.waysfs' lists the mounts")
    }
    return String(cString: real)
  }

  /// Lists a file, or all files below a directory. Links in it are not followed: what they lead to may be anywhere.
  private func walk(_ path: String, _ files: WarmQueue, _ tally: WarmTally) {
    var information = stat()
    guard lstat(path, &information) == 0 else { return tally.fail(path, errno) }
    switch information.st_mode & S_IFMT {
    case S_IFREG: files.add(path)
    case S_IFDIR:
      guard let directory = opendir(path) else { return tally.fail(path, errno) }
      var names: [String] = []
      // The end and a failure look the same.
      errno = 0
      while let entry = readdir(directory) {
        let name = withUnsafePointer(to: &entry.pointee.d_name) {
          $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
        }
        if name != "." && name != ".." { names.append(name) }
        errno = 0
      }
      if errno != 0 { tally.fail(path, errno) }
      // Before the directories below, however deep they are.
      closedir(directory)
      for name in names { walk(path.hasSuffix("/") ? path + name : "\(path)/\(name)", files, tally) }
    default: break
    }
  }

  private static func warm(_ path: String, _ tally: WarmTally) {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY | O_NONBLOCK)
    guard descriptor >= 0 else { return tally.fail(path, errno) }
    defer { close(descriptor) }
    var information = stat()
    guard fstat(descriptor, &information) == 0 else { return tally.fail(path, errno) }
    let device = UInt64(information.st_dev)
    guard !tally.isPointless(on: device) else { return }
    let size = UInt64(clamping: information.st_size)
    var offset: UInt64 = 0
    var isWhole = true
    while offset < size {
      let length = min(piece, size - offset)
      do throws(Errno) {
        let there = try WarmRequest.send(FileDescriptor(rawValue: descriptor), offset: offset, length: length)
        tally.add(bytes: there)
        if there < length { isWhole = false }
      } catch {
        let lacksCache = [EOPNOTSUPP, ENOTTY, ENOSYS].contains(error.rawValue)
        return lacksCache ? tally.note(path, lacksCacheOn: device) : tally.fail(path, error.rawValue)
      }
      offset += length
    }
    tally.end(path, isWhole: isWhole)
  }

  private func showProgress(_ tally: WarmTally) -> Thread? {
    guard isatty(STDERR_FILENO) == 1 else { return nil }
    return Thread.start(name: "progress") {
      while !tally.waitForEnd(seconds: 0.2) {
        writeAll(STDERR_FILENO, Array("\rwaysfs: \(tally.counts.text)\u{1B}[K".utf8))
      }
      writeAll(STDERR_FILENO, Array("\r\u{1B}[K".utf8))
    }
  }

  private func report(_ counts: WarmTally.Counts) throws(Failure) {
    if let path = counts.lackingCache.values.min() {
      throw Failure(
        "the mount that has \(LineFormat.escaped(path)) has no disk cache", remedy: "Mount it with --cache-dir")
    }
    for line in counts.problems { say("waysfs: \(LineFormat.escaped(line))") }
    let left = counts.failed - counts.problems.count
    if left > 0 { say("waysfs: and \(left) more") }
    guard counts.failed == 0 else {
      throw Failure("\(counts.failed) of \(counts.failed + counts.files) files are not wholly in the disk cache")
    }
    say("waysfs: \(counts.text)")
  }
}

/// What was done so far. Thread-safe.
final class WarmTally: Sendable {
  struct Counts: Sendable {
    var files = 0
    var bytes: UInt64 = 0
    var failed = 0
    /// What went wrong, as far as it is shown.
    var problems: [String] = []
    /// A file on each mount, by its device, that cannot keep any.
    var lackingCache: [UInt64: String] = [:]

    /// `3 files, 12 MiB in the disk cache`
    var text: String { "\(files) \(files == 1 ? "file" : "files"), \(ByteCount.text(bytes)) in the disk cache" }
  }

  private static let shownProblems = 10
  private let state = Mutex(Counts())
  private let hasEnded = Atomic(false)
  private let ended: Basics.Semaphore = Basics.Semaphore()

  var counts: Counts { state.withLock { $0 } }

  /// Whether no file of that mount can succeed.
  func isPointless(on device: UInt64) -> Bool { state.withLock { $0.lackingCache[device] != nil } }

  func note(_ path: String, lacksCacheOn device: UInt64) {
    state.withLock { counts in
      if counts.lackingCache[device] == nil { counts.lackingCache[device] = path }
    }
  }

  func add(bytes: UInt64) { state.withLock { $0.bytes += bytes } }

  func end(_ path: String, isWhole: Bool) {
    if isWhole { return state.withLock { $0.files += 1 } }
    note("\(path): the disk cache has no room for all of it, or its disk fails")
  }

  func fail(_ path: String, _ code: Int32) {
    note("\(path): \(code == EBUSY ? "it has changes that are not in the bucket yet" : describe(errno: code))")
  }

  private func note(_ problem: String) {
    state.withLock { counts in
      counts.failed += 1
      if counts.problems.count < Self.shownProblems { counts.problems.append(problem) }
    }
  }

  func end() {
    hasEnded.store(true, ordering: .sequentiallyConsistent)
    ended.signal()
  }

  func waitForEnd(seconds: Double) -> Bool {
    ended.wait(seconds: seconds)
    return hasEnded.load(ordering: .sequentiallyConsistent)
  }
}

/// Paths on their way from the one who finds them to those who open them; at most some thousands wait. Thread-safe.
final class WarmQueue: Sendable {
  private struct State {
    var paths: [String] = []
    var isClosed = false
  }

  private let state = Mutex(State())
  private let available: Basics.Semaphore = Basics.Semaphore()
  private let room: Basics.Semaphore = Basics.Semaphore(value: 4096)

  /// Blocks while too many wait.
  func add(_ path: String) {
    room.wait()
    state.withLock { $0.paths.append(path) }
    available.signal()
  }

  /// No more will be added.
  func close() {
    state.withLock { $0.isClosed = true }
    available.signal()
  }

  /// Blocks for the next path; nil when there will be none.
  func take() -> String? {
    available.wait()
    let path: String? = state.withLock { $0.paths.isEmpty ? nil : $0.paths.removeFirst() }
    guard let path else {
      // For the next who waits.
      available.signal()
      return nil
    }
    room.signal()
    return path
  }
}
