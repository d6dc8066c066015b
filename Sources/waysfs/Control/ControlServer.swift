import Basics
import CLinux
import Glibc
import Synchronization

/// Answers requests on a mount's control socket, on one thread that never waits for a client: who is slow or silent is
/// let go of after some seconds, and who is neither this user nor root is sent away. Thread-safe.
final class ControlServer: Sendable {
  typealias Answer = @Sendable (ControlRequest) -> ControlAnswer

  /// Connections at a time; others wait in the kernel.
  static let mostConnections = 16
  /// Seconds from the first byte to the last.
  static let patience = 5.0

  private let path: String
  private let listener: Int32
  /// Its reading end becomes readable when the server is to end.
  private let wake: (reading: Int32, writing: Int32)
  private let owner: UInt32
  private let time: TimeSource
  private let answer: Answer
  private let thread = Mutex<Thread?>(nil)

  /// Makes the socket; only this user can connect to it. What is there under that name is taken away: the caller holds
  /// the lock on the mount's record, so nobody serves it.
  init(
    path: String, owner: UInt32 = geteuid(), time: TimeSource = .system, answer: @escaping Answer
  ) throws(Failure) {
    self.path = path
    self.owner = owner
    self.time = time
    self.answer = answer
    unlink(path)
    let descriptor = try ControlSocket.make()
    var ends: [Int32] = [-1, -1]
    do throws(Failure) {
      // Before it has a name: bind(2) gives the name the mode of the socket, so that nobody gets in meanwhile.
      fchmod(descriptor, 0o600)
      try ControlSocket.bind(descriptor, to: path)
      guard listen(descriptor, 64) == 0 else { throw Failure(describe(errno: errno)) }
      let code = clinux_pipe(&ends)
      guard code == 0 else { throw Failure(describe(errno: code)) }
    } catch {
      close(descriptor)
      unlink(path)
      throw Failure("cannot make \(path): \(error.reason)")
    }
    listener = descriptor
    wake = (ends[0], ends[1])
  }

  deinit {
    stop()
    for descriptor in [listener, wake.reading, wake.writing] { close(descriptor) }
  }

  /// Begins to answer; false when the system has no thread for it.
  func start() -> Bool {
    let (listener, wake, owner, time, answer) = (listener, wake.reading, owner, time, answer)
    // It has no reference to this object: that is what stops it.
    let started = Thread.start(name: "waysfs-control") {
      var loop = ControlLoop(listener: listener, wake: wake, owner: owner, time: time, answer: answer)
      loop.run()
    }
    thread.withLock { $0 = started }
    return started != nil
  }

  /// Ends that, and takes the socket away. When this returns `answer` is not called any more. May be called again.
  func stop() {
    let running = thread.withLock { thread in
      defer { thread = nil }
      return thread
    }
    if let running {
      writeAll(wake.writing, [0])
      running.join()
    }
    // Without a thread, too: who connects would wait for an answer.
    unlink(path)
  }
}

/// The thread of a `ControlServer`.
private struct ControlLoop {
  private struct Connection {
    var descriptor: Int32
    var deadline: UInt64
    var conversation = ControlConversation()
    /// What is to be sent; nil as long as nothing was asked.
    var output: ArraySlice<UInt8>?
    var isOver = false
  }

  let listener: Int32
  let wake: Int32
  let owner: UInt32
  let time: TimeSource
  let answer: ControlServer.Answer
  private var connections: [Connection] = []
  /// Nobody is let in before: the process had no descriptor left.
  private var acceptsAgain: UInt64 = 0

  init(listener: Int32, wake: Int32, owner: UInt32, time: TimeSource, answer: @escaping ControlServer.Answer) {
    (self.listener, self.wake, self.owner, self.time, self.answer) = (listener, wake, owner, time, answer)
  }

  mutating func run() {
    while waitForWork() {
      let now = time.monotonic
      for index in connections.indices where connections[index].deadline <= now { connections[index].isOver = true }
      for connection in connections where connection.isOver { close(connection.descriptor) }
      connections.removeAll(where: \.isOver)
    }
    for connection in connections { close(connection.descriptor) }
  }

  /// Waits for the sockets and does what they are ready for; false when the server is to end.
  private mutating func waitForWork() -> Bool {
    let takesMore = connections.count < ControlServer.mostConnections && acceptsAgain <= time.monotonic
    var requests = [
      pollfd(fd: wake, events: Int16(POLLIN), revents: 0),
      pollfd(fd: takesMore ? listener : -1, events: Int16(POLLIN), revents: 0),
    ]
    for connection in connections {
      let events = connection.output == nil ? POLLIN : POLLOUT
      requests.append(pollfd(fd: connection.descriptor, events: Int16(events), revents: 0))
    }
    guard poll(&requests, nfds_t(requests.count), timeout) >= 0 || errno == EINTR else { return false }
    if requests[0].revents != 0 { return false }
    for (index, request) in requests.dropFirst(2).enumerated() where request.revents != 0 { serve(index) }
    if requests[1].revents != 0 { accept() }
    return true
  }

  /// Milliseconds to the first deadline; -1 for ever.
  private var timeout: Int32 {
    let now = time.monotonic
    let pause = acceptsAgain > now ? [acceptsAgain] : []
    guard let first = (connections.map(\.deadline) + pause).min() else { return -1 }
    return first <= now ? 0 : Int32(clamping: (first - now) / 1_000_000 + 1)
  }

  private mutating func accept() {
    let descriptor = Glibc.accept(listener, nil, nil)
    guard descriptor >= 0 else {
      // The one that waits goes on waiting, and would wake this thread at once, again and again.
      if [EMFILE, ENFILE, ENOMEM, ENOBUFS].contains(errno) { acceptsAgain = time.monotonic + 100_000_000 }
      return
    }
    _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC)
    _ = fcntl(descriptor, F_SETFL, O_NONBLOCK)
    let peer = ControlSocket.peer(of: descriptor)
    guard peer == owner || peer == 0 else {
      close(descriptor)
      return
    }
    connections.append(
      Connection(descriptor: descriptor, deadline: time.monotonic + UInt64(ControlServer.patience * 1e9)))
  }

  private mutating func serve(_ index: Int) {
    if connections[index].output == nil { receive(index) }
    if connections[index].output != nil { send(index) }
  }

  private mutating func receive(_ index: Int) {
    var bytes = [UInt8](repeating: 0, count: ControlRequest.longestLine)
    let count = read(connections[index].descriptor, &bytes, bytes.count)
    guard count > 0 else {
      connections[index].isOver = count == 0 || ![EAGAIN, EINTR].contains(errno)
      return
    }
    switch connections[index].conversation.receive(bytes[..<count]) {
    case .wait: break
    case .answer(let request): connections[index].output = answer(request).bytes[...]
    case .refuse(let reason): connections[index].output = ControlAnswer.error(reason).bytes[...]
    }
  }

  private mutating func send(_ index: Int) {
    guard let output = connections[index].output else { return }
    let count = output.withUnsafeBytes {
      Glibc.send(connections[index].descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
    }
    if count >= 0 {
      connections[index].output = output.dropFirst(count)
      connections[index].isOver = count == output.count
    } else {
      connections[index].isOver = ![EAGAIN, EINTR].contains(errno)
    }
  }
}
