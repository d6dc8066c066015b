import Synchronization
import Testing

@testable import Basics

@Suite struct ByteQueueTests {
  @Test func oneAloneGetsAllInOrder() {
    var queue = ByteQueue<String>(total: 16, isShared: false)
    #expect(queue.ask(0, 12, "first") == ["first"])
    #expect(queue.ask(0, 8, "large") == [])
    #expect(queue.ask(0, 1, "small") == [])
    #expect(queue.giveBack(0, 12) == ["large", "small"] && queue.used == 9)
  }

  @Test func smallOnesDoNotOvertakeALargeOneOfTheSameMember() {
    var queue = ByteQueue<String>(total: 16, isShared: true)
    #expect(queue.ask(1, 4, "first") == ["first"])
    // More than its share, as long as it holds anything.
    #expect(queue.ask(1, 12, "large") == [])
    #expect(queue.ask(1, 1, "small") == [])
    #expect(queue.ask(2, 1, "other") == ["other"])
    #expect(queue.giveBack(1, 4) == ["large"])
    #expect(queue.giveBack(1, 12) == ["small"])
  }

  /// Whose server does not answer keeps its bytes for long.
  @Test func whoWaitsForASilentOneLetsTheOthersPass() {
    var queue = ByteQueue<String>(total: 16, isShared: true)
    #expect(queue.ask(1, 8, "silent") == ["silent"])
    #expect(queue.ask(1, 4, "silent too") == ["silent too"])
    #expect(queue.ask(2, 8, "large") == [])
    for number in 0..<50 {
      #expect(queue.ask(3, 2, "\(number)") == ["\(number)"])
      #expect(queue.giveBack(3, 2) == [])
    }
    // What comes back from the silent one is for who waits.
    #expect(queue.ask(1, 1, "more") == [])
    #expect(queue.giveBack(1, 8) == ["large", "more"])
  }

  @Test func whoPassesLeavesWhatTheOtherNeeds() {
    var queue = ByteQueue<String>(total: 16, isShared: true)
    #expect(queue.ask(1, 6, "silent") == ["silent"])
    #expect(queue.ask(2, 12, "large") == [])
    #expect(queue.ask(3, 4, "fits beside") == ["fits beside"])
    #expect(queue.ask(4, 1, "would not") == [])
    #expect(queue.giveBack(1, 6) == ["large"])
    #expect(queue.giveBack(3, 4) == ["would not"])
  }

  /// Two who hold most by turns, and always some.
  @Test func whoWaitsIsNotPassedWithoutEnd() {
    var queue = ByteQueue<String>(total: 16, isShared: true)
    #expect(queue.ask(1, 8, "a") == ["a"])
    #expect(queue.ask(2, 4, "b") == ["b"])
    #expect(queue.ask(3, 8, "large") == [])
    #expect(queue.ask(2, 2, "b 2") == ["b 2"])
    #expect(queue.giveBack(1, 4) == [])
    // The other one holds more now, but this one's bytes were promised.
    #expect(queue.ask(1, 2, "a 2") == [])
    #expect(queue.giveBack(2, 4) == ["large"])
    #expect(queue.giveBack(3, 8) == ["a 2"])
  }
}

@Suite struct ByteBudgetTests {
  @Test func whoHoldsLongKeepsNobodyElseFromTheRest() throws {
    let budget = ByteBudget(total: 64, isShared: true)
    let (silent, other) = (budget.share(), budget.share())
    let (holds, mayEnd) = (Semaphore(), Semaphore())
    let threads = (0..<16).compactMap { _ in
      Thread.start(name: "silent") {
        silent.holding(8) {
          holds.signal()
          mayEnd.wait()
        }
      }
    }
    #expect(threads.count == 16)
    for _ in 0..<6 { holds.wait() }
    #expect(budget.used == 48)
    for _ in 0..<3 { other.holding(8) { #expect(budget.used == 56) } }
    for _ in 0..<16 { mayEnd.signal() }
    for thread in threads { thread.join() }
    #expect(budget.used == 0)
    other.holding(.max) { #expect(budget.used == 64) }
  }
}
