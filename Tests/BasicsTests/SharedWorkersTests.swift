import Synchronization
import Testing

@testable import Basics

@Suite struct SharedPlacesTests {
  @Test func oneAloneMayHaveAll() {
    var places = SharedPlaces<String>(3, isShared: false)
    for _ in 0..<3 {
      #expect(places.hasRoom() && places.allows("a"))
      places.take("a")
    }
    #expect(!places.hasRoom() && places["a"] == 3 && places.taken == 3)
    places.giveBack("a")
    #expect(places.hasRoom() && places["a"] == 2)
  }

  @Test(arguments: [1, 2, 3, 4, 5, 8, 16, 22, 32, 1000])
  func whoKeepsAllItCanGetLeavesSomeToOthers(_ limit: Int) {
    var places = SharedPlaces<Int>(limit, isShared: true)
    var members = 0
    while places.hasRoom() {
      members += 1
      let left = limit - places.taken
      while places.hasRoom(), places.allows(members) { places.take(members) }
      // One at least, and of many three quarters.
      #expect(places[members] == max(1, left - (left + 3) / 4))
    }
    #expect(members >= min(limit, 2) && places.taken == limit)
    // Whoever comes now waits for one place only.
    places.giveBack(1)
    #expect(places.hasRoom() && places.allows(members + 1))
  }

  @Test func manyAtOnceAreForWhoHasNoneOrLittle() {
    var bytes = SharedPlaces<Int>(64, isShared: true)
    #expect(bytes.allows(1, 64) && bytes.hasRoom(for: 64) && !bytes.hasRoom(for: 65))
    bytes.take(1, 40)
    #expect(bytes.allows(1, 8) && !bytes.allows(1, 9))
    #expect(bytes.allows(2, 64) && !bytes.hasRoom(for: 25))
    bytes.take(2, 8)
    #expect(bytes.greatestHolder == 1)
    bytes.giveBack(2, 8)
    bytes.giveBack(1, 40)
    #expect(bytes.taken == 0 && bytes[1] == 0 && bytes.greatestHolder == nil)
  }
}

@Suite struct SharedWorkersTests {
  /// Jobs that note that they run, and end when they may.
  private final class Jobs: Sendable {
    let started = Mutex<[String]>([])
    let hasStarted = Semaphore()
    let mayEnd = Semaphore()

    func add(_ name: String, to share: WorkerShare, count: Int = 1) {
      for number in 0..<count {
        share.submit { [self] in
          started.withLock { $0.append("\(name) \(number)") }
          hasStarted.signal()
          mayEnd.wait()
        }
      }
    }

    func wait(for count: Int) { for _ in 0..<count { hasStarted.wait() } }

    var names: [String] { started.withLock { $0 } }
  }

  @Test func oneShareRunsItsJobsInOrder() {
    let workers = SharedWorkers(name: "order", each: 1, isShared: false)
    let share = workers.share()
    let ran = Mutex<[Int]>([])
    for index in 0..<100 { share.submit { ran.withLock { $0.append(index) } } }
    share.waitUntilIdle()
    #expect(ran.withLock { $0 } == Array(0..<100))
    workers.shutdown()
    share.submit { ran.withLock { $0.append(100) } }
    #expect(ran.withLock { $0.last } == 100)
  }

  /// Whose server does not answer keeps its threads for long.
  @Test func jobsThatDoNotEndKeepNobodyElseFromTheThreads() {
    let workers = SharedWorkers(name: "silent", each: 6, isShared: true)
    let (silent, other) = (workers.share(), workers.share())
    let jobs = Jobs()
    jobs.add("silent", to: silent, count: 50)
    // As many as one may have, of the eight that there are.
    jobs.wait(for: 6)
    let ran = Mutex(0)
    for _ in 0..<50 { other.submit { ran.withLock { $0 += 1 } } }
    other.waitUntilIdle()
    #expect(ran.withLock { $0 } == 50 && jobs.names.count == 6)
    for _ in 0..<50 { jobs.mayEnd.signal() }
    workers.shutdown()
    #expect(jobs.names.count == 50)
  }

  @Test func whoHasTheFewestRunningGoesBeforeALongQueue() {
    let workers = SharedWorkers(name: "queue", each: 6, isShared: true)
    let (busy, calm) = (workers.share(), workers.share())
    let jobs = Jobs()
    jobs.add("busy", to: busy, count: 100)
    jobs.wait(for: 6)
    jobs.add("calm", to: calm, count: 2)
    jobs.wait(for: 1)
    #expect(jobs.names.last == "calm 0")
    jobs.mayEnd.signal()
    jobs.wait(for: 1)
    #expect(jobs.names.last == "calm 1")
    for _ in 0..<101 { jobs.mayEnd.signal() }
    workers.shutdown()
    #expect(jobs.names.count == 102)
  }

  @Test func whoGivesUpDoesNotWait() {
    let workers = SharedWorkers(name: "waits", each: 1, isShared: false)
    let share = workers.share()
    let jobs = Jobs()
    jobs.add("job", to: share)
    jobs.wait(for: 1)
    let cancellation = Cancellation()
    cancellation.cancel()
    share.waitUntilIdle(cancellation)
    #expect(jobs.names.count == 1)
    jobs.mayEnd.signal()
    workers.shutdown()
  }

  @Test func manySubmittersLoseNothing() {
    for round in 0..<20 {
      let workers = SharedWorkers(name: "many", each: 1 + round % 4, isShared: true)
      let ran = Mutex(0)
      let submitters = (0..<6).compactMap { _ in
        let share = workers.share()
        return Thread.start(name: "submitter") {
          for _ in 0..<50 { share.submit { ran.withLock { $0 += 1 } } }
        }
      }
      for thread in submitters { thread.join() }
      workers.shutdown()
      #expect(ran.withLock { $0 } == 50 * submitters.count)
    }
  }
}
