import Basics
import Glibc
import Logging
import Synchronization
import Testing

@testable import waysfs

struct ControlProtocolTests {
  static let requests: [ControlRequest] = [.status, .logLevel(nil), .logLevel(.debug), .logLevel(.error)]

  @Test(arguments: requests)
  func requestsRoundTrip(_ request: ControlRequest) throws {
    #expect(request.line.hasSuffix("\n") && request.line.utf8.count <= ControlRequest.longestLine)
    #expect(try ControlRequest(parsing: Array(request.line.dropLast().utf8)) == request)
    // In any pieces.
    for size in 1...request.line.utf8.count {
      var conversation = ControlConversation()
      var steps: [ControlConversation.Step] = []
      let bytes = Array(request.line.utf8)
      for start in stride(from: 0, to: bytes.count, by: size) {
        steps.append(conversation.receive(bytes[start..<min(bytes.count, start + size)]))
      }
      #expect(steps.last == .answer(request) && steps.dropLast().allSatisfy { $0 == .wait })
    }
  }

  static let wrong = [
    "", "waysfs-control", "waysfs-control 1", "waysfs-control 2 status", "waysfs-control 1 status more",
    "waysfs-control  1 status", "waysfs-control 1 log-level loud", "waysfs-control 1 log-level debug error",
    "WAYSFS-CONTROL 1 status", "status", "waysfs-control 1 status\u{0}",
  ]

  @Test(arguments: wrong)
  func whatIsNoRequestIsRefused(_ line: String) {
    var conversation = ControlConversation()
    guard case .refuse = conversation.receive(Array("\(line)\n".utf8)) else {
      Issue.record("\(line.debugDescription) was taken")
      return
    }
    // What comes later changes nothing.
    #expect(conversation.receive(Array(ControlRequest.status.line.utf8)) == .wait)
  }

  @Test func aRequestWithoutAnEndIsCutOff() {
    var conversation = ControlConversation()
    #expect(conversation.receive(Array(repeating: 65, count: ControlRequest.longestLine - 1)) == .wait)
    #expect(conversation.receive([65, 65, 65]) == .refuse("the request is too long"))
  }

  @Test func answersRoundTrip() throws {
    let answers: [ControlAnswer] = [
      .ok([]), .ok(Array("two\nlines".utf8)), .ok(Array(repeating: 10, count: 100_000)), .error("it is no\u{1b} good"),
    ]
    for answer in answers {
      let bytes = answer.bytes
      var expected = answer
      if case .error = answer { expected = .error("it is no\\u{1b} good") }
      #expect(try ControlAnswer(parsing: bytes) == expected)
      for count in [0, 1, 10, bytes.count - 1] where count < bytes.count {
        #expect(try ControlAnswer(parsing: Array(bytes.prefix(count))) == nil)
      }
    }
    for text in [
      "waysfs-control 1 ok -1\n", "waysfs-control 1 ok 99999999999\n", "waysfs-control 1 maybe 1\n", "x\n",
      "waysfs-control 2 ok 0\n", String(repeating: "a", count: 600),
    ] {
      #expect(throws: Failure.self) { try ControlAnswer(parsing: Array(text.utf8)) }
    }
  }

  @Test func noBytesBringTheConversationDown() {
    var random = SplitMix(state: 42)
    for _ in 0..<20_000 {
      var conversation = ControlConversation()
      var line = Array(Self.requests.randomElement(using: &random)?.line.utf8 ?? "".utf8)
      for _ in 0..<Int.random(in: 0...4, using: &random) {
        switch Int.random(in: 0..<3, using: &random) {
        case 0 where !line.isEmpty: line.remove(at: Int.random(in: 0..<line.count, using: &random))
        case 1 where !line.isEmpty:
          line[Int.random(in: 0..<line.count, using: &random)] = .random(in: 0...255, using: &random)
        default: line.insert(.random(in: 0...255, using: &random), at: Int.random(in: 0...line.count, using: &random))
        }
      }
      let step = conversation.receive(line)
      if case .answer(let request) = step { #expect(request.line.utf8.elementsEqual(line.prefix { $0 != 10 } + [10])) }
      _ = try? ControlAnswer(parsing: line)
    }
  }
}

/// Numbers that are the same in every run.
private struct SplitMix: RandomNumberGenerator {
  var state: UInt64

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var value = state
    value = (value ^ (value >> 30)) &* 0xBF58_476D_1CE4_E5B9
    value = (value ^ (value >> 27)) &* 0x94D0_49BB_1331_11EB
    return value ^ (value >> 31)
  }
}

struct ControlServerTests {
  private let directory: TemporaryDirectory
  private let path: String

  init() throws {
    directory = try TemporaryDirectory()
    path = ControlSocket.path(forMountPoint: "/mnt", in: directory.path)
  }

  private func server(
    owner: UInt32 = geteuid(), _ answer: @escaping ControlServer.Answer = { _ in .ok([1, 2, 3]) }
  ) throws -> ControlServer {
    let server = try ControlServer(path: path, owner: owner, answer: answer)
    #expect(server.start())
    return server
  }

  private func ask(_ request: ControlRequest = .status, patience: Double = 30) throws -> [UInt8] {
    try ControlClient(patience: patience).ask(request, at: path, owner: geteuid())
  }

  /// A connection that says what it is given and nothing else.
  private func connected(_ bytes: [UInt8] = []) throws -> Int32 {
    let descriptor = try ControlSocket.make()
    try ControlSocket.connect(descriptor, to: path, until: .max)
    #expect(writeAll(descriptor, bytes))
    return descriptor
  }

  @Test func onlyItsUserGetsIn() throws {
    let server = try server()
    var information = stat()
    #expect(stat(path, &information) == 0)
    #expect(information.st_mode == S_IFSOCK | 0o600)
    #expect(try ask() == [1, 2, 3])
    server.stop()
    #expect(access(path, F_OK) != 0)
    #expect(throws: Failure.self) { try ask() }
  }

  @Test func theRequestReachesTheMountAndItsAnswerTheClient() throws {
    let seen = Mutex<[ControlRequest]>([])
    let large = Array(repeating: UInt8(7), count: 3 << 20)
    let server = try server { request in
      seen.withLock { $0.append(request) }
      return request == .status ? .ok(large) : .error("not now")
    }
    defer { server.stop() }
    #expect(try ask() == large)
    #expect(throws: Failure("its process refuses: not now")) { try ask(.logLevel(.debug)) }
    #expect(seen.withLock { $0 } == [.status, .logLevel(.debug)])
  }

  @Test func anotherUsersMountIsNotBelieved() throws {
    let server = try server()
    defer { server.stop() }
    #expect(throws: Failure("its process cannot be asked: another user answers at \(path)")) {
      try ControlClient().ask(.status, at: path, owner: geteuid() + 1)
    }
  }

  @Test func aStrangerIsSentAway() throws {
    // For root the rule is tested from the other side: a child that is nobody.
    guard geteuid() == 0 else {
      let server = try server(owner: geteuid() + 1)
      defer { server.stop() }
      #expect(throws: Failure.self) { try ask() }
      return
    }
    let wasAsked = Mutex(false)
    let server = try server { _ in
      wasAsked.withLock { $0 = true }
      return .ok([])
    }
    defer { server.stop() }
    // Past the mode of the socket and the directory, so that only the check of the peer is left.
    #expect(chmod(path, 0o666) == 0 && chmod(directory.path, 0o755) == 0)
    let script = """
      import os, socket, sys
      os.setgid(65534); os.setuid(65534)
      s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1])
      try:
          s.sendall(b"waysfs-control 1 status\\n")
          sys.exit(0 if s.recv(100) == b"" else 1)
      except OSError:
          sys.exit(0)
      """
    var spawn = SpawnRequest()
    let path = getenv("PATH").map { String(cString: $0) } ?? "/usr/bin:/bin"
    let child = try spawn.start(
      "/usr/bin/env", arguments: ["env", "python3", "-c", script, self.path], environment: ["PATH=\(path)"]
    ).get()
    #expect(waitForExit(child) == 0)
    #expect(!wasAsked.withLock { $0 })
  }

  @Test func whoSaysNothingKeepsNobodyWaiting() throws {
    let server = try server()
    defer { server.stop() }
    // One less than there may be at a time.
    let silent = try (1..<ControlServer.mostConnections).map { _ in try connected(Array("waysfs".utf8)) }
    defer { for descriptor in silent { close(descriptor) } }
    for _ in 0..<20 { #expect(try ask() == [1, 2, 3]) }
  }

  @Test func whoComesAndGoesHarmsNobody() throws {
    let server = try server { _ in .ok(Array(repeating: 1, count: 1 << 20)) }
    defer { server.stop() }
    for bytes in [[], Array("waysfs-control 1 status\n".utf8), Array(repeating: UInt8(0xFF), count: 5000)] {
      for _ in 0..<50 { close(try connected(bytes)) }
    }
    #expect(try ask().count == 1 << 20)
  }

  @Test func patienceWithTheSilentEnds() throws {
    let clock = ManualClock()
    let server = try ControlServer(path: path, time: clock.timeSource) { _ in .ok([]) }
    #expect(server.start())
    defer { server.stop() }
    let silent = try connected()
    defer { close(silent) }
    // Its deadline is taken when it is let in, which somebody who comes behind it has to wait for.
    _ = try ask()
    clock.advance(seconds: ControlServer.patience + 1)
    // The next who comes wakes the server.
    _ = try? ask(patience: 30)
    var request = pollfd(fd: silent, events: Int16(POLLIN), revents: 0)
    #expect(poll(&request, 1, 30_000) == 1)
    var byte: UInt8 = 0
    #expect(read(silent, &byte, 1) == 0)
  }

  @Test func theSocketOfADeadProcessIsReplaced() throws {
    let dead = try ControlSocket.make()
    try ControlSocket.bind(dead, to: path)
    close(dead)
    #expect(access(path, F_OK) == 0)
    #expect(throws: Failure.self) { try ask() }
    let server = try server()
    #expect(try ask() == [1, 2, 3])
    server.stop()
  }

  @Test func aPathThatIsTooLongIsSaidSo() {
    let long = "/tmp/" + String(repeating: "x", count: 200)
    #expect(throws: Failure.self) { try ControlServer(path: long) { _ in .ok([]) } }
    #expect(ControlSocket.path(forMountPoint: long, in: "/run/user/1000/waysfs").utf8.count < 60)
  }
}

struct LogThresholdTests {
  @Test func copiesOfALoggerFollow() throws {
    let directory = try TemporaryDirectory()
    let path = try directory.file("log")
    let descriptor = open(path, O_WRONLY | O_APPEND | O_CLOEXEC)
    defer { close(descriptor) }
    let threshold = LogThreshold(.info)
    let destination = LogDestination(.descriptor(descriptor), time: ManualClock(seconds: 1).timeSource)
    let log = destination.logger(label: "x", threshold)
    let copy = log
    copy.debug("one")
    threshold.level = .debug
    copy.debug("two")
    threshold.level = .error
    log.warning("three")
    var own = log
    own.logLevel = .trace
    own.trace("four")
    #expect(
      readSmallFile(path) == .text("1970-01-01T00:00:01.000Z debug two\n1970-01-01T00:00:01.000Z trace four\n"))
  }
}
