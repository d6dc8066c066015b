import Logging
import ObjectStore
import Synchronization
import Testing

@testable import Filesystem

@Suite struct FailureBookTests {
  private func error(_ code: ObjectStoreError.Code, _ key: String) -> ObjectStoreError {
    ObjectStoreError(code, "no", bucket: "b", key: ObjectKey(key))
  }

  @Test func oneLineAndOneWithTheNumber() {
    let (lines, timers) = (LogLines(), Scheduled())
    let book = FailureBook(log: lines.logger) { _, body in timers.add(body) }
    for _ in 0..<1000 { #expect(book.report("read", error(.serverError, "a")) == .ioError) }
    #expect(lines.all.count == 1)
    #expect(book.report("read", error(.timedOut, "a")) == .timedOut)
    #expect(book.report("read", error(.serverError, "b")) == .ioError)
    #expect(lines.all.count == 3)
    for body in timers.take() { body() }
    #expect(lines.all.count == 4)
    #expect(lines.all.last?.contains("999") == true)
    // Nothing since: forgotten, and the next is news.
    for body in timers.take() { body() }
    #expect(timers.take().isEmpty && lines.all.count == 4)
    #expect(book.report("read", error(.serverError, "a")) == .ioError)
    #expect(lines.all.count == 5)
  }

  @Test func manyObjectsAreOneLineToo() {
    let (lines, timers) = (LogLines(), Scheduled())
    let book = FailureBook(log: lines.logger) { _, body in timers.add(body) }
    for number in 0..<500 { _ = book.report("read", error(.connectionFailed, "\(number)")) }
    #expect(lines.all.count == FailureBook.objects + 1)
    for body in timers.take() { body() }
    #expect(lines.all.count == FailureBook.objects + 2)
    #expect(lines.all.last?.contains("\(500 - FailureBook.objects - 1)") == true)
  }

  @Test func whatIsNoNewsIsNotCounted() {
    let (lines, timers) = (LogLines(), Scheduled())
    let book = FailureBook(log: lines.logger) { _, body in timers.add(body) }
    for _ in 0..<3 { #expect(book.report("read", error(.cancelled, "a")) == .interrupted) }
    #expect(lines.all.isEmpty && timers.take().isEmpty)
  }
}

/// What is logged at `info` and above.
final class LogLines: Sendable {
  private let lines = Mutex<[String]>([])

  var all: [String] { lines.withLock { $0 } }

  var logger: Logger {
    Logger(label: "test") { _ in Handler(lines: self) }
  }

  private struct Handler: LogHandler {
    let lines: LogLines
    var metadata: Logger.Metadata = [:]
    var logLevel = Logger.Level.info

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
      get { metadata[key] }
      set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
      lines.lines.withLock { $0.append("\(event.message) \(event.metadata ?? [:])") }
    }
  }
}
