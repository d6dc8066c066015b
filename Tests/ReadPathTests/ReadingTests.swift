import Basics
import BlockCache
import ObjectStore
import Testing

@testable import ReadPath

@Suite struct ReadingTests {
  @Test func firstReadFetchesAMebibyteInOneGet() throws {
    let fixture = try Fixture(size: 10 * mib)
    let reader = fixture.open()
    let outcome = reader.check(0, 128 * kib)
    #expect(outcome.report == nil)
    #expect(fixture.store.ranges == [ByteRange(offset: 0, length: mib)])
    #expect(fixture.store.requests.first?.ifMatch == Fixture.etag)
    fixture.store.finishAll()
    #expect(outcome.report == .bytes(131072, areRight: true))
    #expect(outcome.count == 1)
  }

  @Test func readIsAnsweredBeforeItsGetEnds() throws {
    let fixture = try Fixture(size: 10 * mib)
    let reader = fixture.open()
    let outcome = reader.check(0, 128 * kib)
    let get = try #require(fixture.store.waiting.first)
    fixture.store.deliver(get, 128 * kib - 1)
    #expect(outcome.report == nil)
    fixture.store.deliver(get, 1)
    #expect(outcome.report == .bytes(131072, areRight: true))
    fixture.store.finishAll()
    #expect(fixture.pool.statistics.pinned == 0)
  }

  @Test func wholeObjectReadInOrder() throws {
    let size = 37 * mib + 12345
    let fixture = try Fixture(.inline, size: size)
    let reader = fixture.open()
    var offset: UInt64 = 0
    while offset < size {
      let outcome = reader.check(offset, 128 * kib)
      let count = min(128 * kib, size - offset)
      #expect(outcome.report == .bytes(Int(count), areRight: true))
      offset += count
    }
    #expect(fixture.store.fetched == size)
    #expect(fixture.pool.statistics.peakInUse <= 64)
  }

  @Test func readsAreClippedToTheObject() throws {
    let fixture = try Fixture(.inline, size: mib + 10)
    let reader = fixture.open()
    #expect(reader.check(mib, 100).report == .bytes(10, areRight: true))
    #expect(reader.check(mib + 10, 1).report == .bytes(0, areRight: true))
    #expect(reader.check(.max, 1).report == .bytes(0, areRight: true))
    #expect(reader.check(0, 0).report == .bytes(0, areRight: true))
    let outcome = Outcome()
    reader.read(offset: 3, count: -5, nil) { outcome.take($0, offset: 3, contents: Contents(seed: 1)) }
    #expect(outcome.report == .bytes(0, areRight: true))
    let empty = fixture.path.open(key: ObjectKey("none"), etag: ETag("x"), size: 0)
    #expect(empty.check(0, 100).report == .bytes(0, areRight: true))
    #expect(reader.check(0, 100 * mib).report == .bytes(Int(mib) + 10, areRight: true))
  }

  @Test func readLongerThanThePoolIsRefused() throws {
    let fixture = try Fixture(.inline, size: 100 * mib, blocks: 4)
    let reader = fixture.open()
    #expect(fixture.path.maximumReadLength == 3 << 20)
    #expect(reader.check(mib / 2, 3 * mib).report == .bytes(3 << 20, areRight: true))
    #expect(reader.check(0, 3 * mib + 1).report == .failure(.invalidRequest))
  }

  @Test func overlappingReadsShareAGet() throws {
    let fixture = try Fixture(size: 100 * mib)
    let readers = (0..<4).map { _ in fixture.open() }
    let offset = 50 * mib + 10 * kib
    let outcomes = readers.flatMap { reader in (0..<4).map { reader.check(offset - $0 * kib, 16 * kib) } }
    #expect(fixture.store.ranges == [ByteRange(offset: 50 * mib, length: 128 * kib)])
    fixture.store.finishAll()
    #expect(outcomes.allSatisfy { $0.report == .bytes(16384, areRight: true) && $0.count == 1 })
    // Half of this one is there: only the rest is asked for.
    let next = readers[0].check(50 * mib + 64 * kib, 128 * kib)
    #expect(fixture.store.ranges.count == 2)
    #expect(fixture.store.ranges.last?.offset == 50 * mib + 128 * kib)
    fixture.store.finishAll()
    #expect(next.report == .bytes(131072, areRight: true))
  }

  @Test func reopenedVersionIsReadFromMemory() throws {
    let fixture = try Fixture(.inline, size: 300 * kib)
    fixture.open().close()
    let first = fixture.open()
    #expect(first.check(0, 300 * kib).report == .bytes(307200, areRight: true))
    first.close()
    let second = fixture.open()
    #expect(second.check(1000, 200 * kib).report == .bytes(204800, areRight: true))
    #expect(fixture.store.requests.count == 1)
    // Another version shares nothing.
    fixture.store.put("key", etag: "v2", size: 300 * kib, seed: 2)
    let other = fixture.path.open(key: ObjectKey("key"), etag: ETag("v2"), size: 300 * kib)
    #expect(other.check(0, 300 * kib, seed: 2).report == .bytes(307200, areRight: true))
    #expect(fixture.store.requests.count == 2)
    #expect(second.check(0, 300 * kib).report == .bytes(307200, areRight: true))
  }

  @Test func closeCancelsWhatNobodyElseWants() throws {
    let fixture = try Fixture(size: 100 * mib)
    let reader = fixture.open()
    let other = fixture.open()
    for step in 0..<16 {
      _ = reader.check(UInt64(step) * 128 * kib, 128 * kib)
      if let get = fixture.store.waiting.first { fixture.store.deliver(get, 128 * kib) }
    }
    #expect(fixture.store.waiting.count > 1)
    let shared = other.check(0, 128 * kib)
    #expect(shared.report != nil)
    let pending = try #require(fixture.store.waiting.first { $0.request.range?.offset == mib })
    let wanted = other.check(mib + 900 * kib, 16 * kib)
    reader.close()
    reader.close()
    let cancelled = fixture.store.waiting.filter { $0.cancellation?.isCancelled == true }
    #expect(!cancelled.isEmpty)
    #expect(pending.cancellation?.isCancelled == false, "somebody waits for this one")
    fixture.store.finishAll()
    #expect(wanted.report == .bytes(16384, areRight: true))
    #expect(fixture.pool.statistics.pinned == 0)
  }

  @Test func cancelledReadReportsAtOnceAndOnce() throws {
    let fixture = try Fixture(size: 100 * mib)
    let reader = fixture.open()
    let cancellation = Cancellation()
    let outcome = reader.check(0, 128 * kib, cancellation)
    let other = reader.check(1000, 1000)
    cancellation.cancel()
    #expect(outcome.report == .failure(.cancelled))
    #expect(other.report == nil)
    fixture.store.finishAll()
    #expect(outcome.count == 1)
    #expect(other.report == .bytes(1000, areRight: true))
    #expect(reader.check(40 * mib, 10, cancellation).report == .failure(.cancelled))
    #expect(fixture.pool.statistics.pinned == 0)
  }

  @Test func blockingReadCrossesBlocks() throws {
    let fixture = try Fixture(.inline, size: 9 * mib + 5)
    let reader = fixture.open()
    let bytes = try reader.read(offset: mib - 7, count: 100 << 20)
    #expect(bytes == Contents(seed: 1).bytes(ByteRange(offset: mib - 7, length: 8 * mib + 12)))
    #expect(try reader.read(offset: 9 * mib + 5, count: 1).isEmpty)
    fixture.store.remove("key")
    let cold = try Fixture(.inline, size: mib)
    cold.store.remove("key")
    #expect(throws: ObjectStoreError.self) { try cold.open().read(offset: 0, count: 1) }
  }

  @Test func idleMemoryIsGivenBack() throws {
    let timers = Timers()
    let clock = ManualClock()
    let fixture = try Fixture(.inline, size: 8 * mib) {
      $0.schedule = { timers.add($1) }
      $0.time = clock.timeSource
    }
    let reader = fixture.open()
    for step in 0..<8 { _ = reader.check(UInt64(step) * mib, mib) }
    #expect(timers.count == 1 && fixture.pool.statistics.resident == 8)
    for _ in 0..<3 {
      clock.advance(seconds: 10)
      timers.fire()
    }
    #expect(fixture.pool.statistics.resident == 0)
    #expect(timers.count == 0, "an idle read path has no timer")
    #expect(reader.check(0, mib).report == .bytes(1 << 20, areRight: true))
    #expect(timers.count == 1)
    // At shutdown timers fire at once: that must not set another.
    timers.fire()
    #expect(timers.count == 0)
  }
}
