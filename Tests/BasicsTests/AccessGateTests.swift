import Basics
import Synchronization
import Testing

@Suite struct AccessGateTests {
  @Test func oneAloneExcludesEverybody() {
    let gate = AccessGate()
    let inside = Mutex((alone: 0, sharing: 0, violations: 0))
    let threads = (0..<6).compactMap { index in
      Thread.start(name: "gate") {
        for round in 0..<300 {
          if (round + index) % 3 == 0 {
            gate.exclusive {
              inside.withLock {
                $0.alone += 1
                if $0.alone != 1 || $0.sharing != 0 { $0.violations += 1 }
              }
              inside.withLock { $0.alone -= 1 }
            }
          } else {
            gate.shared {
              inside.withLock {
                $0.sharing += 1
                if $0.alone != 0 { $0.violations += 1 }
              }
              inside.withLock { $0.sharing -= 1 }
            }
          }
        }
      }
    }
    #expect(threads.count == 6)
    for thread in threads { thread.join() }
    #expect(inside.withLock { $0 } == (0, 0, 0))
  }

  @Test func sharersAreInsideTogether() {
    let gate = AccessGate()
    let (firstIsIn, secondWasIn) = (Semaphore(), Semaphore())
    let thread = Thread.start(name: "sharer") {
      gate.shared {
        firstIsIn.signal()
        secondWasIn.wait()
      }
    }
    firstIsIn.wait()
    // Would block for ever if sharers excluded each other.
    gate.shared { secondWasIn.signal() }
    thread?.join()
  }

  /// While a sharer is inside, one who wants to be alone is queued; sharers who come later must not pass it.
  @Test func oneWhoWantsToBeAloneGoesBeforeLaterSharers() {
    let gate = AccessGate()
    let order = Mutex<[String]>([])
    let (isIn, letGo, queued) = (Semaphore(), Semaphore(), Semaphore())
    let holder = Thread.start(name: "holder") {
      gate.shared {
        isIn.signal()
        letGo.wait()
      }
    }
    isIn.wait()
    let writer = Thread.start(name: "writer") {
      queued.signal()
      gate.exclusive { order.withLock { $0.append("alone") } }
    }
    queued.wait()
    waitUntilBlocked("writer")
    let sharer = Thread.start(name: "late-sharer") {
      queued.signal()
      gate.shared { order.withLock { $0.append("shared") } }
    }
    queued.wait()
    waitUntilBlocked("late-sharer")
    #expect(order.withLock { $0 }.isEmpty)
    letGo.signal()
    for thread in [holder, writer, sharer] { thread?.join() }
    #expect(order.withLock { $0 } == ["alone", "shared"])
  }

  @Test func errorsPassThroughAndFreeTheGate() {
    struct Refused: Error {}
    let gate = AccessGate()
    #expect(throws: Refused.self) { try gate.exclusive { () throws(Refused) in throw Refused() } }
    #expect(throws: Refused.self) { try gate.shared { () throws(Refused) in throw Refused() } }
    #expect(gate.exclusive { 7 } == 7)
    #expect(gate.shared { 8 } == 8)
  }

  @Test func whoWaitsToBeAloneCanGiveUp() {
    struct Interrupted: Error {}
    let gate = AccessGate()
    let cancellation = Cancellation()
    let gaveUp = OneShot<Bool>()
    let late = OneShot<Void>()
    gate.shared {
      let writer = Thread.start(name: "patient") {
        do throws(Interrupted) {
          try gate.exclusive(cancellation, orThrow: Interrupted()) { () throws(Interrupted) in gaveUp.fulfil(false) }
        } catch {
          gaveUp.fulfil(true)
        }
      }
      waitUntilBlocked("patient")
      // Behind the one who wants to be alone.
      let sharer = Thread.start(name: "behind") { gate.shared { late.fulfil(()) } }
      waitUntilBlocked("behind")
      cancellation.cancel()
      #expect(gaveUp.wait())
      late.wait()
      for thread in [writer, sharer] { thread?.join() }
    }
    #expect(gate.exclusive { true })
  }
}
