import Basics
import CFuse
import Filesystem
import Glibc
import Synchronization
import SystemPackage
import Testing

@testable import FuseSession

@Suite(.serialized) struct ConcurrencyTests {
  @Test func lookupsInOneDirectoryRunInParallel() throws {
    // Every lookup waits until all six are inside: one after the other they would never get there.
    let meeting = Meeting(of: 6)
    var hooks = FakeFilesystem.Hooks()
    hooks.lookup = { (_, _) throws(Errno) in if !meeting.join() { throw .timedOut } }
    let filesystem = FakeFilesystem(hooks)
    for index in 0..<6 { filesystem.add("file-\(index)") }
    try withMount(filesystem) { (mount) throws in
      let failures = Mutex<[Errno]>([])
      let path = mount.path
      try inParallel(6) { index in
        if let error = errorOf({ _ = try status("\(path)/file-\(index)") }) { failures.withLock { $0.append(error) } }
      }
      #expect(failures.withLock { $0 } == [])
      #expect(waysfs_session_init_flags(mount.session.connection.raw) & WAYSFS_INIT_PARALLEL_DIROPS != 0)
    }
  }

  @Test func listingAndCreatingRunBesideALookup() throws {
    let inside = Signal()
    let gate = Signal()
    var hooks = FakeFilesystem.Hooks()
    hooks.lookup = { (name, _) throws(Errno) in
      guard name.string == "slow" else { return }
      inside.set()
      if !gate.wait(seconds: 3 * patience) { throw .timedOut }
    }
    let filesystem = FakeFilesystem(hooks)
    filesystem.add("slow")
    filesystem.add("fast")
    try withMount(filesystem) { (mount) throws in
      let path = mount.path
      let slow = Mutex<Errno?>(nil)
      let client = try startThread { slow.withLock { $0 = errorOf { _ = try status("\(path)/slow") } } }
      #expect(inside.wait())
      #expect(try readText(mount.at("fast")) == "")
      gate.set()
      pthread_join(client, nil)
      #expect(slow.withLock { $0 } == nil)
    }
  }

  /// The directory it is mounted on may be on a filesystem that hangs: that is no fault of this one.
  @Test func askingDoesNotWaitForTheFilesystemOfTheMountPoint() throws {
    let (hangs, gate) = (Signal(), Signal())
    var hooks = FakeFilesystem.Hooks(lifetime: 0)
    hooks.lookup = { (_, _) throws(Errno) in if hangs.isSet { _ = gate.wait(seconds: 3 * patience) } }
    let outer = FakeFilesystem(hooks)
    outer.add("directory", mode: S_IFDIR | 0o755)
    try withMount(outer) { (outside) throws in
      let path = outside.at("directory")
      try withMount(FakeFilesystem(), asks: true, adjusting: { $0.mountpoint = path }) { (mount) throws in
        let session = mount.session
        hangs.set()
        let asked = Signal()
        let thread = try startThread {
          #expect(!session.ask())
          asked.set()
        }
        #expect(asked.wait())
        gate.set()
        pthread_join(thread, nil)
      }
    }
  }

  @Test func anOwnQuestionGoesTheWayOfARequestAndWaitsForAThread() throws {
    let (inside, gate, asked) = (Signal(), Signal(), Signal())
    var hooks = FakeFilesystem.Hooks()
    hooks.lookup = { (_, _) throws(Errno) in
      inside.set()
      if !gate.wait(seconds: 3 * patience) { throw .timedOut }
    }
    try withMount(FakeFilesystem(hooks), asks: true, adjusting: { $0.workerThreads = 1 }) { (mount) throws in
      let (path, session) = (mount.path, mount.session)
      let before = session.load
      #expect(session.ask())
      #expect(session.load.requests > before.requests)
      let client = try startThread { _ = try? status("\(path)/absent") }
      #expect(inside.wait())
      #expect(session.load.isSaturated)
      let question = try startThread {
        #expect(session.ask())
        asked.set()
      }
      #expect(!asked.wait(seconds: 0))
      gate.set()
      #expect(asked.wait())
      for thread in [client, question] { pthread_join(thread, nil) }
    }
  }

  @Test func aMountThatIsGoneIsNotAsked() throws {
    try withMount(FakeFilesystem(), asks: true, adjusting: { _ in }) { (mount) throws in
      try mount.session.unmount(lazy: true)
      #expect(mount.session.ask())
    }
  }

  @Test func workersGrowWhileCallsBlockAndNotWithoutThem() throws {
    let meeting = Meeting(of: 20)
    var hooks = FakeFilesystem.Hooks()
    hooks.lookup = { (name, _) throws(Errno) in
      if name.string.hasPrefix("blocked"), !meeting.join() { throw .timedOut }
    }
    let filesystem = FakeFilesystem(hooks)
    filesystem.add("file", Array(repeating: 1, count: 100))
    for index in 0..<20 { filesystem.add("blocked-\(index)") }
    try withMount(filesystem) { (mount) throws in
      for _ in 0..<200 { _ = try readBytes(mount.at("file")) }
      let raw = mount.session.connection.raw
      let before = waysfs_session_workers(raw)
      #expect(before < 20)
      let path = mount.path
      try inParallel(20) { index in _ = try? status("\(path)/blocked-\(index)") }
      let after = waysfs_session_workers(raw)
      #expect((20...64).contains(after))
      // Those that are parked now serve the next calls.
      for _ in 0..<200 { _ = try readBytes(mount.at("file")) }
      #expect(waysfs_session_workers(raw) == after)
    }
  }

  @Test func noMoreWorkersThanAllowed() throws {
    let inside = Mutex(0)
    let twoInside = Signal()
    let gate = Signal()
    var hooks = FakeFilesystem.Hooks()
    hooks.lookup = { (_, _) throws(Errno) in
      let count = inside.withLock { inside in
        inside += 1
        return inside
      }
      if count == 2 { twoInside.set() }
      if !gate.wait(seconds: 3 * patience) { throw .timedOut }
    }
    let filesystem = FakeFilesystem(hooks)
    for index in 0..<8 { filesystem.add("file-\(index)") }
    try withMount(filesystem, adjusting: { $0.workerThreads = 2 }) { (mount) throws in
      let path = mount.path
      let clients = try (0..<8).map { index in try startThread { _ = try? status("\(path)/file-\(index)") } }
      #expect(twoInside.wait())
      #expect(inside.withLock { $0 } == 2)
      gate.set()
      for client in clients { pthread_join(client, nil) }
      #expect(inside.withLock { $0 } == 8)
      #expect(waysfs_session_workers(mount.session.connection.raw) == 2)
    }
  }

  @Test func aSignalCancelsTheCallItInterrupts() throws {
    let inside = Signal()
    let cancelled = Signal()
    var hooks = FakeFilesystem.Hooks()
    hooks.unlink = { (_, context) throws(Errno) in
      context.cancellation?.addHandler { cancelled.set() }
      inside.set()
      if cancelled.wait(seconds: 3 * patience) { throw .interrupted }
    }
    let filesystem = FakeFilesystem(hooks)
    filesystem.add("file")
    try withMount(filesystem) { (mount) throws in
      let path = mount.at("file")
      let result = Mutex<Errno?>(nil)
      let client = try startThread {
        allowInterruption()
        let error = errorOf(unlink(path))
        result.withLock { $0 = error }
      }
      #expect(inside.wait())
      pthread_kill(client, SIGUSR2)
      pthread_join(client, nil)
      #expect(cancelled.isSet)
      #expect(result.withLock { $0 } == .interrupted)
    }
  }

  @Test func aReadThatWaitsForNobodyIsCancelledWithAnAnswerFromTheHandler() throws {
    // The handler answers the request itself, which must not meet a lock of libfuse.
    let inside = Signal()
    // Past the page cache, so that the call itself waits for the answer, and not for a page.
    var hooks = FakeFilesystem.Hooks(directIO: true)
    hooks.read = { _, _, context, completion in
      context.cancellation?.addHandler { completion(.failure(.interrupted)) }
      inside.set()
    }
    let filesystem = FakeFilesystem(hooks)
    let inode = filesystem.add("file")
    filesystem.state.withLock { $0.nodes[inode]?.attributes.size = 1 << 20 }
    try withMount(filesystem) { (mount) throws in
      let path = mount.at("file")
      let ended = Signal()
      let client = try startThread {
        allowInterruption()
        if let file = try? openFile(path) {
          var bytes = [UInt8](repeating: 0, count: 4096)
          let error = errorOf {
            _ = try bytes.withUnsafeMutableBytes { try file.read(into: $0, retryOnInterrupt: false) }
          }
          if error == .interrupted { ended.set() }
          try? file.close()
        }
      }
      #expect(inside.wait())
      pthread_kill(client, SIGUSR2)
      pthread_join(client, nil)
      #expect(ended.isSet)
    }
  }

  @Test func manyClientsGetTheirOwnAnswers() throws {
    let filesystem = FakeFilesystem(.init(lifetime: 0))
    for index in 0..<16 { filesystem.add("file-\(index)", Array("content of \(index)".utf8)) }
    try withMount(filesystem) { (mount) throws in
      let path = mount.path
      let wrong = Atomic(0)
      try inParallel(16) { index in
        for round in 0..<50 {
          let number = (index + round) % 16
          if (try? readText("\(path)/file-\(number)")) != "content of \(number)" { wrong.add(1, ordering: .relaxed) }
        }
      }
      #expect(wrong.load(ordering: .relaxed) == 0)
    }
  }
}

/// A place that threads leave only when a number of them is there.
final class Meeting: Sendable {
  private let missing: Mutex<Int>
  private let complete = Signal()

  init(of count: Int) { missing = Mutex(count) }

  /// Whether all came before the deadline.
  func join() -> Bool {
    let last = missing.withLock { missing in
      missing -= 1
      return missing == 0
    }
    if last { complete.set() }
    return complete.wait()
  }
}

/// Lets SIGUSR2 interrupt the calls of this thread, without doing anything else.
private func allowInterruption() {
  var action = sigaction()
  action.__sigaction_handler.sa_handler = { _ in }
  sigaction(SIGUSR2, &action, nil)
  var signals = sigset_t()
  sigemptyset(&signals)
  sigaddset(&signals, SIGUSR2)
  pthread_sigmask(SIG_UNBLOCK, &signals, nil)
}
