import Basics
import Glibc
import Logging
import Testing

@testable import waysfs

struct JournalTests {
  private static func event(_ message: Logger.Message, _ level: Logger.Level = .warning) -> LogEvent {
    LogEvent(
      level: level, message: message, error: nil, metadata: nil, source: "t", file: "f", function: "g", line: 1)
  }

  @Test func anEntry() {
    let entry = JournalTests.entry("cannot list", ["key": "a/b c", "request_id": "R1", "bucket": "other"])
    #expect(
      entry == """
        MESSAGE=cannot list bucket=other key="a/b c" request_id=R1
        PRIORITY=4
        WAYSFS_BUCKET=other
        WAYSFS_KEY=a/b c
        WAYSFS_REQUEST_ID=R1
        SYSLOG_IDENTIFIER=waysfs

        """)
  }

  private static func entry(_ message: Logger.Message, _ metadata: Logger.Metadata) -> String {
    let fields = [("SYSLOG_IDENTIFIER", "waysfs"), ("WAYSFS_BUCKET", "photos")]
    return String(decoding: SystemJournal.entry(event(message), metadata: metadata, fields), as: UTF8.self)
  }

  /// Whoever names an object with a line break in it must not be able to forge a field.
  @Test func aValueWithALineBreak() {
    #expect(
      JournalTests.entry("x", ["key": "a\nPRIORITY=0"])
        .hasSuffix(
          "PRIORITY=4\nWAYSFS_KEY\n\u{C}\0\0\0\0\0\0\0a\nPRIORITY=0\nSYSLOG_IDENTIFIER=waysfs\nWAYSFS_BUCKET=photos\n"))
  }

  static let names: [(String, String?)] = [
    ("key", "WAYSFS_KEY"), ("kept_in", "WAYSFS_KEPT_IN"), ("a.b-c", "WAYSFS_A_B_C"), ("ü", "WAYSFS___"),
    (String(repeating: "x", count: 57), "WAYSFS_" + String(repeating: "X", count: 57)),
    (String(repeating: "x", count: 58), nil),
  ]

  @Test(arguments: names)
  func fieldNames(_ key: String, _ name: String?) {
    #expect(SystemJournal.fieldName(key) == name)
  }

  @Test func goesOverTheSocket() throws {
    let directory = try TemporaryDirectory()
    let receiver = try DatagramReceiver("\(directory.path)/journal")
    let journal = try #require(SystemJournal(path: receiver.path, fields: [("WAYSFS_BUCKET", "photos")]))
    let log = LogDestination(.journal(journal, orStandardError: false)).logger(label: "x", level: .info)
    log.error("lost", metadata: ["key": "a"])
    let text = receiver.take().map { String(decoding: $0, as: UTF8.self) }
    #expect(
      text == [
        """
        MESSAGE=lost key=a
        PRIORITY=3
        WAYSFS_KEY=a
        SYSLOG_IDENTIFIER=waysfs
        SYSLOG_FACILITY=3
        WAYSFS_BUCKET=photos

        """
      ])
  }

  @Test func whatIsTooLargeIsHandedOverAsAFile() throws {
    let directory = try TemporaryDirectory()
    let receiver = try DatagramReceiver("\(directory.path)/journal")
    // A socket gets twice what it asks for.
    let buffer: Int32 = 16 << 10
    let long = String(repeating: "x", count: 3 * Int(buffer))
    let journal = try #require(SystemJournal(path: receiver.path, fields: [("LONG", long)], buffer: buffer))
    #expect(journal.write(Self.event("x"), metadata: [:]) == .written)
    // Without bytes: the file came beside it.
    #expect(receiver.take().map(\.count) == [0])
  }

  @Test func oneThatDoesNotReadIsNotWaitedFor() throws {
    let directory = try TemporaryDirectory()
    let receiver = try DatagramReceiver("\(directory.path)/journal")
    let journal = try #require(SystemJournal(path: receiver.path))
    // How many it takes unread is the system's business.
    var taken = 0
    while taken < 1_000_000, journal.write(Self.event("unread"), metadata: [:]) == .written { taken += 1 }
    for _ in 0..<1000 { #expect(journal.write(Self.event("lost"), metadata: [:]) == .dropped) }
    _ = receiver.take()
    #expect(journal.write(Self.event("read again"), metadata: [:]) == .written)
    let texts = receiver.take().map { String(decoding: $0, as: UTF8.self) }
    try #require(texts.count == 2)
    #expect(texts[0].hasPrefix("MESSAGE=read again\n"))
    #expect(texts[1].hasPrefix("MESSAGE=the journal did not keep up; 1001 lines are lost\n"))
  }

  @Test func whereNobodyListensItRefuses() throws {
    let directory = try TemporaryDirectory()
    let path = "\(directory.path)/journal"
    let journal: SystemJournal?
    do {
      let receiver = try DatagramReceiver(path)
      journal = SystemJournal(path: receiver.path)
    }
    #expect(journal?.write(Self.event("x"), metadata: [:]) == .refused)
  }

  @Test func withoutAJournal() throws {
    let directory = try TemporaryDirectory()
    #expect(SystemJournal(path: "\(directory.path)/none") == nil)
  }

  @Test func isKnownByItsStream() throws {
    let directory = try TemporaryDirectory()
    let descriptor = open(try directory.file("stream"), O_RDONLY | O_CLOEXEC)
    defer { close(descriptor) }
    var information = stat()
    fstat(descriptor, &information)
    let stream = "\(information.st_dev):\(information.st_ino)"
    #expect(SystemJournal.takes(descriptor, environment: ["JOURNAL_STREAM": stream]))
    for other in ["", ":", "1", "\(stream)1", "x:y", "\(stream):"] {
      #expect(!SystemJournal.takes(descriptor, environment: ["JOURNAL_STREAM": other]))
    }
    #expect(!SystemJournal.takes(descriptor, environment: [:]))
    #expect(!SystemJournal.takes(-1, environment: ["JOURNAL_STREAM": stream]))
  }
}
