import Basics
import Testing

private struct Name: ByteName {
  let string: String
  init(_ string: String) { self.string = string }
}

@Suite struct ByteNameTests {
  @Test func composedAndDecomposedAreTwoNames() {
    let (composed, decomposed) = (Name("caf\u{E9}"), Name("cafe\u{301}"))
    #expect(composed.string == decomposed.string)
    #expect(composed != decomposed)
    #expect(Set([composed, decomposed]).count == 2)
    #expect(composed == Name("caf\u{E9}"))
    #expect(Set([composed, Name("caf\u{E9}")]).count == 1)
  }

  @Test func orderIsThatOfTheBytes() {
    let sorted = ["", "\u{0}", "A", "B", "a", "a\u{0}", "aa", "b", "\u{E9}", "\u{FFFD}", "\u{10000}"].map(Name.init)
    for (index, name) in sorted.enumerated() {
      for later in sorted[(index + 1)...] {
        #expect(name < later)
        #expect(!(later < name))
      }
      #expect(!(name < name))
    }
    // String would put these the other way round, or call them equal.
    #expect(Name("e\u{301}") < Name("\u{E9}"))
  }

  @Test func theDescriptionIsTheName() { #expect("\(Name("a b"))" == "a b") }
}

@Suite struct ClockTests {
  @Test func timestampsAreClampedAndOrdered() {
    #expect(Timestamp(seconds: 1, nanoseconds: .max).nanoseconds == 999_999_999)
    let sorted = [
      Timestamp(seconds: .min), Timestamp(seconds: -1), Timestamp(seconds: -1, nanoseconds: 1), Timestamp(seconds: 0),
      Timestamp(seconds: 0, nanoseconds: 999_999_999), Timestamp(seconds: 1), Timestamp(seconds: .max),
    ]
    #expect(sorted.shuffled().sorted() == sorted)
    #expect(Set(sorted).count == sorted.count)
  }

  @Test func aManualClockStandsStillUntilMoved() {
    let clock = ManualClock(seconds: 100)
    let time = clock.timeSource
    #expect(time.wall == Timestamp(seconds: 100))
    #expect(time.monotonic == 100_000_000_001, "no two readings are the same")
    clock.advance(seconds: 1.5)
    #expect(time.wall == Timestamp(seconds: 101, nanoseconds: 500_000_000))
    #expect(time.monotonic == 101_500_000_002)
  }

  @Test func theSystemClocksGoForward() {
    let time = TimeSource.system
    let (monotonic, wall) = (time.monotonic, time.wall)
    #expect(time.monotonic >= monotonic)
    #expect(wall > Timestamp(seconds: 1_700_000_000))
    #expect(time.wall.nanoseconds < 1_000_000_000)
  }
}
