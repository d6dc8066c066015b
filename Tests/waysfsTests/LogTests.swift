import Basics
import Glibc
import Logging
import Testing

@testable import waysfs

struct LineFormatTests {
  static let times: [(Int64, UInt32, String)] = [
    (0, 0, "1970-01-01T00:00:00.000Z"), (951_782_400, 999_999_999, "2000-02-29T00:00:00.999Z"),
    (1_795_362_245, 7_000_000, "2026-11-22T15:44:05.007Z"), (4_107_542_399, 0, "2100-02-28T23:59:59.000Z"),
    (4_107_542_400, 0, "2100-03-01T00:00:00.000Z"), (-1, 0, "1969-12-31T23:59:59.000Z"),
  ]

  @Test(arguments: times)
  func time(_ seconds: Int64, _ nanoseconds: UInt32, _ text: String) {
    #expect(LineFormat.time(Timestamp(seconds: seconds, nanoseconds: nanoseconds)) == text)
  }

  static let values: [(String, String)] = [
    ("plain", "plain"), ("a/b=c", "a/b=c"), ("", "\"\""), ("two words", "\"two words\""),
    ("say \"x\"", "\"say \\\"x\\\"\""),
    ("a\nb", "\"a\\nb\""), ("\u{1B}[31m", "\"\\u{1b}[31m\""), ("é", "é"), ("a\u{202E}b", "\"a\\u{202e}b\""),
    ("c:\\x y", "\"c:\\\\x y\""), ("\u{2028}", "\"\\u{2028}\""),
  ]

  @Test(arguments: values)
  func quotes(_ value: String, _ text: String) {
    #expect(LineFormat.quotedIfNeeded(value) == text)
  }
}

struct LogDestinationTests {
  @Test func oneLineForAMessage() throws {
    let directory = try TemporaryDirectory()
    let path = try directory.file("log")
    let descriptor = open(path, O_WRONLY | O_APPEND | O_CLOEXEC)
    defer { close(descriptor) }
    let destination = LogDestination(.descriptor(descriptor), time: ManualClock(seconds: 1).timeSource)
    var log = destination.logger(label: "x", level: .info)
    log[metadataKey: "always"] = "1"
    log.debug("hidden")
    log.warning("cannot list\nmountain", metadata: ["key": "a b", "dir": "x/"])
    #expect(
      readSmallFile(path)
        == .text("1970-01-01T00:00:01.000Z warning cannot list\\nmountain always=1 dir=x/ key=\"a b\"\n"))
  }

  @Test func aLogThatCannotBeWrittenIsNoError() {
    LogDestination(.descriptor(-1)).logger(label: "x", level: .info).error("nobody hears this")
  }

  @Test func priorities() {
    #expect(Logger.Level.allCases.map(\.syslogPriority) == [7, 7, 6, 5, 4, 3, 2])
  }
}
