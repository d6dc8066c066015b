import Basics
import Synchronization
import Testing

@Suite struct FanOutTests {
  private enum Failed: Error { case at(Int) }

  @Test func resultsAreInTheOrderOfTheItems() {
    let pending = Mutex<[(Int, Completion<Int, Never>)]>([])
    // All are under way before the first reports, and they report in reverse.
    let results: [Result<Int, Never>] = fanOut(over: Array(0..<8), limit: 8) { item, done in
      let all = pending.withLock { pending in
        pending.append((item, done))
        return pending.count == 8 ? pending : []
      }
      for (item, done) in all.reversed() { done(.success(item * item)) }
    }
    #expect(results.map { $0.get() } == (0..<8).map { $0 * $0 })
  }

  @Test(arguments: [-1, 0, 1, 3, 100]) func noMoreThanTheLimitAreUnderWay(limit: Int) {
    let pool = WorkerPool(name: "fan", limit: 8)
    let under = Mutex((now: 0, most: 0))
    let results: [Result<Int, Never>] = fanOut(over: Array(0..<40), limit: limit) { item, done in
      under.withLock {
        $0.now += 1
        $0.most = max($0.most, $0.now)
      }
      pool.submit {
        under.withLock { $0.now -= 1 }
        done(.success(item))
      }
    }
    pool.shutdown()
    #expect(results.map { $0.get() } == Array(0..<40))
    #expect(under.withLock { $0.most } <= max(1, limit))
  }

  @Test func nothingToDoIsDoneAtOnce() {
    let results: [Result<Int, Never>] = fanOut(over: [Int](), limit: 4) { _, _ in Issue.record("started") }
    #expect(results.isEmpty)
  }

  @Test func failuresAreResultsToo() {
    let results: [Result<Int, Failed>] = fanOut(over: Array(0..<5), limit: 2) { item, done in
      done(item % 2 == 0 ? .success(item) : .failure(.at(item)))
    }
    #expect(results.count == 5)
    for (index, result) in results.enumerated() {
      switch result {
      case .success(let value): #expect(value == index && index % 2 == 0)
      case .failure(.at(let value)): #expect(value == index && index % 2 == 1)
      }
    }
  }
}

@Suite struct OneShotTests {
  @Test func theFirstValueWins() {
    let shot = OneShot<Int>()
    shot.fulfil(1)
    shot.fulfil(2)
    #expect(shot.wait() == 1)
    #expect(shot.wait() == 1)
  }

  @Test func waitsForAnotherThread() {
    for index in 0..<200 {
      let shot = OneShot<Int>()
      let thread = Thread.start(name: "fulfil") { shot.fulfil(index) }
      #expect(shot.wait() == index)
      thread?.join()
    }
  }

  @Test func waitForGivesValuesAndErrors() throws {
    struct Refused: Error {}
    let value = try waitFor { (done: @escaping Completion<Int, Refused>) in done(.success(5)) }
    #expect(value == 5)
    #expect(throws: Refused.self) {
      try waitFor { (done: @escaping Completion<Int, Refused>) in
        Thread.start(name: "fail") { done(.failure(Refused())) }?.detach()
      }
    }
  }

  @Test func aSemaphoreCounts() {
    let semaphore = Semaphore(value: 2)
    semaphore.wait()
    semaphore.wait()
    let passed = Mutex(0)
    let threads = (0..<3).compactMap { _ in
      Thread.start(name: "semaphore") {
        semaphore.wait()
        passed.withLock { $0 += 1 }
      }
    }
    for _ in 0..<3 { semaphore.signal() }
    for thread in threads { thread.join() }
    #expect(passed.withLock { $0 } == 3)
  }
}

@Suite struct CancellationTests {
  @Test func handlersRunOnce() {
    let cancellation = Cancellation()
    let ran = Mutex(0)
    for _ in 0..<3 { cancellation.addHandler { ran.withLock { $0 += 1 } } }
    #expect(!cancellation.isCancelled)
    #expect(ran.withLock { $0 } == 0)
    cancellation.cancel()
    cancellation.cancel()
    #expect(cancellation.isCancelled)
    #expect(ran.withLock { $0 } == 3)
  }

  @Test func removedHandlersDoNotRun() {
    let cancellation = Cancellation()
    let ran = Mutex<[String]>([])
    let first = cancellation.addHandler { ran.withLock { $0.append("first") } }
    cancellation.addHandler { ran.withLock { $0.append("second") } }
    cancellation.removeHandler(first)
    cancellation.removeHandler(first)
    cancellation.removeHandler(nil)
    cancellation.cancel()
    #expect(ran.withLock { $0 } == ["second"])
  }

  @Test func afterTheFactAHandlerRunsAtOnce() {
    let cancellation = Cancellation()
    cancellation.cancel()
    let ran = Mutex(0)
    #expect(cancellation.addHandler { ran.withLock { $0 += 1 } } == nil)
    #expect(ran.withLock { $0 } == 1)
  }

  @Test func aHandlerMayUseTheCancellation() {
    let cancellation = Cancellation()
    let ran = Mutex(0)
    cancellation.addHandler {
      cancellation.cancel()
      cancellation.addHandler { ran.withLock { $0 += 1 } }
    }
    cancellation.cancel()
    #expect(ran.withLock { $0 } == 1)
  }

  @Test func eachHandlerRunsOnceWhenManyCancel() {
    for _ in 0..<50 {
      let cancellation = Cancellation()
      let ran = Mutex(0)
      let threads = (0..<4).compactMap { index in
        Thread.start(name: "cancel") {
          if index % 2 == 0 {
            cancellation.cancel()
          } else {
            cancellation.addHandler { ran.withLock { $0 += 1 } }
          }
        }
      }
      for thread in threads { thread.join() }
      #expect(ran.withLock { $0 } == 2)
    }
  }
}
