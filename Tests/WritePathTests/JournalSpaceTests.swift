import Basics
import Glibc
import Synchronization
import SystemPackage
import Testing

@testable import WritePath

/// A disk that counts how often it is asked.
private final class TestDisk: Sendable {
  let room: Mutex<DiskRoom?>
  let asked = Atomic<Int>(0)

  init(size: UInt64, free: UInt64) { room = Mutex(DiskRoom(size: size, free: free)) }

  func space(_ bounds: JournalBounds) -> JournalSpace {
    JournalSpace(bounds: bounds) {
      self.asked.add(1, ordering: .relaxed)
      return self.room.withLock { $0 }
    }
  }

  func take(_ bytes: UInt64) { room.withLock { $0?.free -= bytes } }
}

@Suite struct JournalSpaceTests {
  private let roomy = TestDisk(size: 1 << 40, free: 1 << 40)

  @Test func theLimitIsExact() throws {
    let space = roomy.space(JournalBounds(limit: 100))
    try space.reserve(60)
    try space.reserve(40)
    #expect(throws: Errno.noSpace) { try space.reserve(1) }
    try space.reserve(0)
    space.release(10)
    #expect(throws: Errno.noSpace) { try space.reserve(11) }
    try space.reserve(10)
    #expect(space.used == 100)
    // Too much given back is not a credit.
    space.release(1000)
    #expect(space.used == 0)
    #expect(throws: Errno.noSpace) { try space.reserve(.max) }
  }

  @Test func ofASharedRoomEachLeavesHalfToTheOthers() throws {
    let disk = roomy
    let room = JournalRoom(bounds: JournalBounds(limit: 1000), isShared: true, disk: { disk.room.withLock { $0 } })
    let spaces = (0..<4).map { _ in JournalSpace(in: room) }
    // A half, a half of what is left, and so on: there is always something for one more.
    for (space, share) in zip(spaces, [500, 250, 125, 62] as [UInt64]) {
      #expect(throws: Errno.noSpace) { try space.reserve(share + 1) }
      try space.reserve(share - 10)
      try space.reserve(10)
      #expect(throws: Errno.noSpace) { try space.reserve(1) }
      #expect(space.used == share && space.isTight)
    }
    spaces[0].release(500)
    // What one gives back is for the others, too.
    try spaces[3].reserve(100)
    #expect(spaces[3].used == 162 && spaces[0].used == 0)
    #expect(throws: Errno.noSpace) { try spaces[0].reserve(501) }
  }

  @Test func ofASharedDiskEachLeavesHalfToTheOthers() throws {
    let disk = TestDisk(size: 1 << 40, free: 1 << 30)
    let room = JournalRoom(bounds: JournalBounds(freeFraction: 0), isShared: true) { disk.room.withLock { $0 } }
    let (first, second) = (JournalSpace(in: room), JournalSpace(in: room))
    #expect(throws: Errno.noSpace) { try first.reserve(1 << 29 + 1) }
    try first.reserve(1 << 29)
    disk.take(1 << 29)
    #expect(throws: Errno.noSpace) { try first.reserve(32 << 20) }
    try second.reserve(1 << 28)
  }

  @Test func theDiskKeepsItsPart() throws {
    let disk = TestDisk(size: 1000, free: 150)
    let space = disk.space(JournalBounds(freeFraction: 0.1))
    try space.reserve(50)
    disk.take(50)
    #expect(throws: Errno.noSpace) { try space.reserve(1) }
    disk.room.withLock { $0?.free = 200 }
    try space.reserve(100)
    disk.room.withLock { $0?.free = 50 }
    #expect(throws: Errno.noSpace) { try space.reserve(1) }
    // One that does not answer is left to the write.
    disk.room.withLock { $0 = nil }
    try space.reserve(1 << 30)
  }

  @Test func theDiskIsAskedRarely() throws {
    let space = roomy.space(JournalBounds())
    for _ in 0..<(64 << 20) / 65_536 { try space.reserve(65_536) }
    #expect(roomy.asked.load(ordering: .relaxed) <= 5)
    // But for a large piece at once.
    let before = roomy.asked.load(ordering: .relaxed)
    try space.reserve(1 << 30)
    #expect(roomy.asked.load(ordering: .relaxed) == before + 1)
  }

  @Test func aWriterWaitsForWhoFrees() throws {
    let space = roomy.space(JournalBounds(limit: 100))
    try space.reserve(100)
    space.beginFreeing()
    #expect(throws: Errno.noSpace) { try space.reserve(10, waits: false) }
    // More than there can ever be is not waited for.
    #expect(throws: Errno.noSpace) { try space.reserve(101) }
    let outcome = OneShot<Errno?>()
    let thread = Thread.start(name: "writer") {
      do throws(Errno) {
        try space.reserve(50)
        outcome.fulfil(nil)
      } catch {
        outcome.fulfil(error)
      }
    }
    while space.waitingCount == 0 { sched_yield() }
    // Not enough: it looks, and waits again.
    space.release(20)
    while space.waitingCount == 0 { sched_yield() }
    #expect(space.used == 80)
    space.release(30)
    #expect(outcome.wait() == nil)
    #expect(space.used == 100)
    thread?.join()
    space.endFreeing()
    #expect(throws: Errno.noSpace) { try space.reserve(1) }
  }

  @Test(arguments: [false, true]) func whenNobodyFreesAnyMoreTheWriterIsTold(byDisk: Bool) throws {
    let disk = TestDisk(size: 1000, free: byDisk ? 0 : 1000)
    let space = disk.space(JournalBounds(limit: byDisk ? nil : 100, freeFraction: 0))
    if !byDisk { try space.reserve(100) }
    space.beginFreeing()
    space.beginFreeing()
    let outcome = OneShot<Errno?>()
    let thread = Thread.start(name: "writer") {
      do throws(Errno) {
        try space.reserve(50)
        outcome.fulfil(nil)
      } catch {
        outcome.fulfil(error)
      }
    }
    while space.waitingCount == 0 { sched_yield() }
    space.endFreeing()
    while space.waitingCount == 0 { sched_yield() }
    space.endFreeing()
    #expect(outcome.wait() == .noSpace)
    thread?.join()
  }

  @Test func whoHasHadItsShareDoesNotWaitForOthers() throws {
    let disk = roomy
    let room = JournalRoom(bounds: JournalBounds(limit: 1000), isShared: true, disk: { disk.room.withLock { $0 } })
    let (full, busy) = (JournalSpace(in: room), JournalSpace(in: room))
    try full.reserve(500)
    busy.beginFreeing()
    // Whatever the other one gives back: half of the room is the most.
    #expect(throws: Errno.noSpace) { try full.reserve(1) }
    full.release(100)
    try busy.reserve(300)
    // Now the other one is in the way.
    let outcome = OneShot<Errno?>()
    let thread = Thread.start(name: "writer") { outcome.fulfil(failure { () throws(Errno) in try full.reserve(50) }) }
    while room.waitingCount == 0 { sched_yield() }
    busy.release(300)
    #expect(outcome.wait() == nil && full.used == 450)
    thread?.join()
    busy.endFreeing()
  }

  @Test func ofAFullDiskNobodyWaitsForWhatOthersDoNotHave() throws {
    let disk = TestDisk(size: 1 << 40, free: 1 << 30)
    let room = JournalRoom(bounds: JournalBounds(freeFraction: 0), isShared: true) { disk.room.withLock { $0 } }
    let (full, busy) = (JournalSpace(in: room), JournalSpace(in: room))
    try full.reserve(1 << 29)
    disk.take(1 << 29)
    busy.beginFreeing()
    #expect(throws: Errno.noSpace) { try full.reserve(32 << 20) }
    busy.endFreeing()
  }

  @Test func whoGivesUpDoesNotWait() throws {
    let space = roomy.space(JournalBounds(limit: 100))
    try space.reserve(100)
    space.beginFreeing()
    let cancellation = Cancellation()
    let outcome = OneShot<Errno?>()
    let thread = Thread.start(name: "writer") {
      outcome.fulfil(failure { () throws(Errno) in try space.reserve(10, cancellation) })
    }
    while space.waitingCount == 0 { sched_yield() }
    cancellation.cancel()
    #expect(outcome.wait() == .interrupted && space.waitingCount == 0 && space.used == 100)
    thread?.join()
    space.endFreeing()
  }

  private func failure(_ body: () throws(Errno) -> Void) -> Errno? {
    do throws(Errno) {
      try body()
      return nil
    } catch {
      return error
    }
  }

  /// What is freed while the disk is being asked is not overlooked.
  @Test func freedWhileTheDiskIsAsked() throws {
    let calls = Atomic<Int>(0)
    let holder = Mutex<JournalSpace?>(nil)
    let space = JournalSpace(bounds: JournalBounds(freeFraction: 0)) {
      if calls.add(1, ordering: .relaxed).newValue == 1 {
        // After the look, before the decision: the last upload ends, and its space is free.
        holder.withLock { $0 }?.endFreeing()
        return DiskRoom(size: 100, free: 0)
      }
      return DiskRoom(size: 100, free: 100)
    }
    holder.withLock { $0 = space }
    space.beginFreeing()
    try space.reserve(10)
    #expect(calls.load(ordering: .relaxed) == 2)
    holder.withLock { $0 = nil }
  }

  @Test func manyWritersNeverPassTheLimit() {
    let space = roomy.space(JournalBounds(limit: 1000))
    let violations = Atomic<Int>(0)
    space.beginFreeing()
    let threads = (0..<6).compactMap { index in
      Thread.start(name: "writer") {
        var random = Random(UInt64(index + 1))
        for _ in 0..<500 {
          let bytes = UInt64(random.below(400))
          do throws(Errno) {
            try space.reserve(bytes)
          } catch {
            violations.add(1, ordering: .relaxed)
            continue
          }
          if space.used > 1000 { violations.add(1, ordering: .relaxed) }
          space.release(bytes)
        }
      }
    }
    for thread in threads { thread.join() }
    #expect(threads.count == 6 && space.used == 0)
    #expect(violations.load(ordering: .relaxed) == 0)
  }
}
