import Glibc
import Testing

@testable import waysfs

struct ReadinessMessageTests {
  static let messages: [ReadinessMessage] = [
    .ready, .progress("connecting to http://h"), .progress(""), .failed(line: "no such bucket", exitCode: 1),
    .failed(line: "", exitCode: 64), .failed(line: "two\nlines", exitCode: 1),
  ]

  @Test(arguments: messages)
  func survivesThePipe(_ message: ReadinessMessage) {
    var reader = MessageReader()
    let last = reader.take(message.bytes)
    switch message {
    case .ready: #expect(last == .ready)
    case .progress(let text):
      #expect(last == nil)
      #expect(reader.lastProgress == text)
    case .failed(let line, let code):
      #expect(last == .failed(line: line == "two\nlines" ? "two\\nlines" : line, exitCode: code))
    }
  }

  @Test func arrivesInPieces() {
    var reader = MessageReader()
    for byte in ReadinessMessage.progress("a").bytes + Array("R".utf8) { #expect(reader.take([byte]) == nil) }
    #expect(reader.take("\n".utf8) == .ready)
    #expect(reader.lastProgress == "a")
  }

  @Test(arguments: ["", "X", "R x", "E", "E x", "E 0 x", "E x y", "E -1 x", "\u{FF}"])
  func refusesNonsense(_ line: String) {
    #expect(ReadinessMessage(parsing: Array(line.utf8)) == nil)
  }
}

/// The background start with a shell in the place of the program.
struct BackgroundStartTests {
  private func start(_ script: String, timeout: Double = 60) throws(Failure) {
    var start = BackgroundStart(mountPoint: "/nonexistent", recordDirectories: [], timeout: timeout)
    start.executable = "/bin/sh"
    try start.run(arguments: ["sh", "-c", script], environment: ["PATH": "/usr/bin:/bin", "X": "1"])
  }

  @Test func returnsWhenTheMountAnswers() throws {
    try start("echo 'P connecting' >&3; echo R >&3; exec 3>&-; sleep 0")
  }

  @Test func marksTheChild() throws {
    try start("test \"$WAYSFS_BACKGROUND$X\" = 31 && echo R >&3 || echo 'E 1 no marker' >&3")
  }

  @Test func passesTheErrorOn() throws {
    let failure = try #require(throws: Failure.self) { try start("echo 'E 64 no such thing' >&3; exit 64") }
    #expect(failure == Failure("no such thing", exitCode: .usage))
  }

  @Test func tellsOfASilentDeath() throws {
    let exited = try #require(throws: Failure.self) { try start("exit 7") }
    #expect(exited.reason.contains("ended with status 7"))
    let killed = try #require(throws: Failure.self) { try start("kill -9 $$") }
    #expect(killed.reason.contains("ended by signal 9"))
  }

  @Test func stopsAChildThatIsSilent() throws {
    // Long enough for the child to say something, on a busy machine, too.
    let directory = try TemporaryDirectory()
    let failure = try #require(throws: Failure.self) {
      try start("echo $$ > \(directory.path)/pid; echo 'P waiting for godot' >&3; exec sleep 1000", timeout: 3)
    }
    #expect(failure.reason.contains("waiting for godot"))
    guard case .text(let text, _) = readSmallFile("\(directory.path)/pid"), let pid = Int32(text.trimmed) else {
      Issue.record("the child did not run")
      return
    }
    #expect(kill(pid, 0) != 0 && errno == ESRCH)
  }

  @Test func missingProgram() {
    var start = BackgroundStart(mountPoint: "/nonexistent", recordDirectories: [], timeout: 5)
    start.executable = "/nonexistent/program"
    #expect(throws: Failure.self) { try start.run(arguments: ["x"], environment: [:]) }
  }
}
