import Basics
import Glibc
import Synchronization
import Testing

@testable import waysfs

@Suite struct ProgressMeterTests {
  @Test func nothingIsSaidBeforeSomethingWasSeen() {
    var meter = ProgressMeter()
    #expect(meter.rate == nil && meter.secondsLeft == nil)
    meter.add(bytes: 1000, at: 5)
    #expect(meter.rate == nil)
    meter.add(bytes: 900, at: 5.5)
    #expect(meter.rate == nil && meter.secondsLeft == nil)
  }

  @Test func rateAndTimeLeft() {
    var meter = ProgressMeter()
    for second in 0...4 { meter.add(bytes: 1000 - UInt64(second) * 100, at: 100 + Double(second)) }
    #expect(meter.rate == 100)
    #expect(meter.secondsLeft == 6)
  }

  @Test func whatIsWrittenMeanwhileDoesNotCountAgainstTheRate() {
    var meter = ProgressMeter()
    for (index, bytes) in [1000, 900, 5000, 4900, 4800].enumerated() {
      meter.add(bytes: UInt64(bytes), at: Double(index))
    }
    #expect(meter.rate == 75)
    #expect(meter.secondsLeft == 64)
  }

  @Test func onlyTheLastSecondsCount() {
    var meter = ProgressMeter()
    meter.add(bytes: 1_000_000, at: 0)
    for second in 1...30 { meter.add(bytes: 1000 - UInt64(second) * 10, at: Double(second)) }
    #expect(meter.rate == 10)
  }

  @Test func aStandstillHasNoTimeLeft() {
    var meter = ProgressMeter()
    meter.add(bytes: 1000, at: 0)
    meter.add(bytes: 500, at: 1)
    for second in 2...20 { meter.add(bytes: 500, at: Double(second)) }
    #expect(meter.rate == 0)
    #expect(meter.secondsLeft == nil)
    meter.add(bytes: 499, at: 21)
    #expect(meter.secondsLeft != nil)
    meter.add(bytes: 1 << 40, at: 22)
    #expect(meter.secondsLeft == nil)
  }

  @Test func durations() {
    for (seconds, text) in [
      (0, "0 s"), (0.2, "1 s"), (59, "59 s"), (60, "1 min"), (61.5, "1 min 2 s"), (3599.5, "1 h"), (3700, "1 h 1 min"),
      (86_399, "23 h 59 min"), (90_000, "25 h"), (-1, "0 s"),
    ] {
      #expect(DurationText.text(seconds: seconds) == text)
    }
  }
}

@Suite struct ProgressDisplayTests {
  private func pending(_ mebibytes: UInt64, failed: Int = 0, error: String? = nil) -> PendingUploads {
    PendingUploads(files: 3, bytes: mebibytes << 20, failed: failed, lastError: error)
  }

  @Test func aShortWaitShowsNothing() {
    for width in [nil, 80] {
      var display = ProgressDisplay(width: width, purpose: "waiting")
      for time in [50, 50.5, 50.9] { #expect(display.step(pending(10), at: time) == nil) }
      #expect(display.end() == nil)
    }
  }

  @Test func linesNowAndThen() {
    var display = ProgressDisplay(width: nil, purpose: "waiting for process 7")
    var lines: [String] = []
    for second in 0...61 {
      if let line = display.step(pending(100 - UInt64(second)), at: Double(second)) { lines.append(line) }
    }
    #expect(lines == ["waysfs: waiting for process 7: 3 files, 99 MiB left, 1 MiB/s, 1 min 39 s to go\n"])
    #expect(display.end() == nil)
  }

  @Test func aTerminalLineIsDrawnAgainAndTakenAway() {
    var display = ProgressDisplay(width: 80, purpose: "waiting")
    #expect(display.step(nil, at: 0) == nil)
    #expect(display.step(nil, at: 1) == "\rwaysfs: waiting\u{1B}[K")
    #expect(display.step(pending(8), at: 1.1) == nil)
    #expect(display.step(pending(8), at: 1.2) == "\rwaysfs: 3 files, 8 MiB left\u{1B}[K")
    // A record that is just being written changes nothing.
    #expect(display.step(nil, at: 2) == "\rwaysfs: 3 files, 8 MiB left\u{1B}[K")
    #expect(display.step(pending(6), at: 3.1) == "\rwaysfs: 3 files, 6 MiB left, 1 MiB/s, 6 s to go\u{1B}[K")
    #expect(display.end() == "\r\u{1B}[K")
    #expect(display.end() == nil)
  }

  @Test func narrowTerminalsGetTheBeginning() {
    var display = ProgressDisplay(width: 30, purpose: "waiting")
    _ = display.step(nil, at: 0)
    let text = display.step(pending(8, failed: 2, error: "the server\ncannot be reached"), at: 1)
    #expect(text == "\rwaysfs: 3 files, 8 MiB left; \u{1B}[K")
  }

  @Test func failuresAreNamedOnOneLine() {
    var display = ProgressDisplay(width: nil, purpose: "waiting")
    _ = display.step(nil, at: 0)
    let text = display.step(pending(8, failed: 1, error: "no\nanswer"), at: 1)
    #expect(text == "waysfs: waiting: 3 files, 8 MiB left; 1 has failed: no\\nanswer\n")
  }

  @Test func theWaitEndsAndCleansUp() {
    let clock = ManualClock()
    let printed = Mutex<[String]>([])
    var wait = ProgressWait(
      ProgressDisplay(width: 80, purpose: "waiting"), time: clock.timeSource,
      write: { text in printed.withLock { $0.append(text) } })
    var turns = 0
    wait.run(
      until: {
        clock.advance(seconds: 0.6)
        turns += 1
        return turns == 4
      }, pending: { self.pending(5) })
    #expect(
      printed.withLock { $0 } == ["\rwaysfs: 3 files, 5 MiB left, 0 bytes/s\u{1B}[K", "\r\u{1B}[K"])
  }
}
