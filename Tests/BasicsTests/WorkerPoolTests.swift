import Glibc
import Synchronization
import Testing

@testable import Basics

@Suite struct WorkerPoolTests {
  @Test func oneWorkerRunsJobsInOrder() {
    let pool = WorkerPool(name: "order", limit: 1)
    let ran = Mutex<[Int]>([])
    for index in 0..<100 { pool.submit { ran.withLock { $0.append(index) } } }
    pool.shutdown()
    #expect(ran.withLock { $0 } == Array(0..<100))
  }

  @Test func runsNoMoreThanTheLimitAtOnceAndAsManyAsThat() {
    let pool = WorkerPool(name: "limit", limit: 3)
    let running = Mutex((now: 0, most: 0))
    let (arrived, letGo) = (Semaphore(), Semaphore())
    for _ in 0..<9 {
      pool.submit {
        running.withLock {
          $0.now += 1
          $0.most = max($0.most, $0.now)
        }
        arrived.signal()
        letGo.wait()
        running.withLock { $0.now -= 1 }
      }
    }
    // Three come although none has left: the pool grows while there is work.
    for _ in 0..<3 { arrived.wait() }
    for _ in 0..<9 { letGo.signal() }
    pool.shutdown()
    #expect(running.withLock { $0 } == (0, 3))
  }

  /// Many submitters at once must not start more threads than the limit.
  @Test func theLimitHoldsWhenManySubmit() {
    for _ in 0..<20 {
      let started = Mutex(0)
      let pool = WorkerPool(name: "race", limit: 2) { name, body in
        started.withLock { $0 += 1 }
        return Thread.start(name: name, body)
      }
      let ran = Mutex(0)
      let submitters = (0..<8).compactMap { _ in
        Thread.start(name: "submitter") {
          for _ in 0..<10 { pool.submit { ran.withLock { $0 += 1 } } }
        }
      }
      for thread in submitters { thread.join() }
      pool.shutdown()
      #expect(started.withLock { $0 } <= 2)
      #expect(ran.withLock { $0 } == 10 * submitters.count)
    }
  }

  @Test func shutdownRunsEverythingAndWaitsForIt() {
    for round in 0..<30 {
      let pool = WorkerPool(name: "shutdown", limit: 1 + round % 4)
      let ran = Mutex(0)
      for _ in 0..<20 { pool.submit { ran.withLock { $0 += 1 } } }
      pool.shutdown()
      #expect(ran.withLock { $0 } == 20)
    }
  }

  @Test func jobsRunOnTheCallerAfterShutdown() {
    let pool = WorkerPool(name: "late", limit: 2)
    pool.submit {}
    pool.shutdown()
    let ran = Mutex(false)
    pool.submit { ran.withLock { $0 = true } }
    #expect(ran.withLock { $0 })
    pool.shutdown()
  }

  @Test func aJobMaySubmitJobs() {
    let pool = WorkerPool(name: "nested", limit: 1)
    let done = Semaphore()
    pool.submit { pool.submit { done.signal() } }
    done.wait()
    pool.shutdown()
  }

  @Test func submittersRacingWithShutdownLoseNothing() {
    for _ in 0..<20 {
      let pool = WorkerPool(name: "racing", limit: 3)
      let ran = Mutex(0)
      let submitters = (0..<4).compactMap { _ in
        Thread.start(name: "submitter") {
          for _ in 0..<25 { pool.submit { ran.withLock { $0 += 1 } } }
        }
      }
      pool.shutdown()
      for thread in submitters { thread.join() }
      #expect(ran.withLock { $0 } == 25 * submitters.count)
    }
  }

  @Test func threadsWithoutWorkEnd() {
    let pool = WorkerPool(name: "idle", limit: 3, idleSeconds: 0.01)
    let ran = Mutex(0)
    for round in 1...3 {
      let arrived = Semaphore()
      for _ in 0..<3 {
        pool.submit {
          ran.withLock { $0 += 1 }
          arrived.signal()
        }
      }
      for _ in 0..<3 { arrived.wait() }
      while pool.threadCount > 0 { sched_yield() }
      #expect(ran.withLock { $0 } == 3 * round)
    }
    pool.shutdown()
  }

  /// They end all the time, and no job is left to one that has ended.
  @Test func endingThreadsLoseNothing() {
    for _ in 0..<10 {
      let pool = WorkerPool(name: "ending", limit: 2, idleSeconds: 0)
      let done = Semaphore()
      let submitters = (0..<4).compactMap { _ in
        Thread.start(name: "submitter") {
          for _ in 0..<100 {
            pool.submit { done.signal() }
            sched_yield()
          }
        }
      }
      for _ in 0..<100 * submitters.count { done.wait() }
      for thread in submitters { thread.join() }
      pool.shutdown()
      #expect(pool.threadCount == 0)
    }
  }

  @Test func jobsRunOnTheCallerWhenTheSystemHasNoThreads() {
    let pool = WorkerPool(name: "none", limit: 4) { _, _ in nil }
    let ran = Mutex(0)
    for _ in 0..<3 { pool.submit { ran.withLock { $0 += 1 } } }
    #expect(ran.withLock { $0 } == 3)
    pool.shutdown()
  }

  @Test func oneThreadIsEnoughWhenTheSystemHasNoMore() {
    let given = Mutex(false)
    let pool = WorkerPool(name: "few", limit: 4) { name, body in
      let isFirst = given.withLock { given in
        defer { given = true }
        return !given
      }
      return isFirst ? Thread.start(name: name, body) : nil
    }
    let ran = Mutex(0)
    for _ in 0..<50 { pool.submit { ran.withLock { $0 += 1 } } }
    pool.shutdown()
    #expect(ran.withLock { $0 } == 50)
  }
}

@Suite struct ThreadTests {
  @Test func hasItsNameAndBlocksSignals() {
    let seen = OneShot<(name: String, status: String)>()
    let thread = Thread.start(name: "a-name-longer-than-15") {
      seen.fulfil((text(of: "/proc/thread-self/comm"), text(of: "/proc/thread-self/status")))
    }
    thread?.join()
    let (name, status) = seen.wait()
    #expect(name == "a-name-longer-t\n")
    let blocked = status.split(separator: "\n").first { $0.hasPrefix("SigBlk:") }
    // SIGINT (2) and SIGTERM (15) among them.
    let mask = blocked.flatMap { UInt64($0.split(separator: "\t").last ?? "", radix: 16) } ?? 0
    #expect(mask & (1 << 1) != 0 && mask & (1 << 14) != 0)
  }

  @Test func joinWaitsForTheEnd() {
    let count = Mutex(0)
    let threads = (0..<8).compactMap { _ in Thread.start(name: "join") { count.withLock { $0 += 1 } } }
    for thread in threads { thread.join() }
    #expect(count.withLock { $0 } == 8)
  }
}
