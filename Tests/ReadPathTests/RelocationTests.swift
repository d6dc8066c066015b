import Basics
import BlockCache
import ObjectStore
import Testing

@testable import ReadPath

@Suite struct RelocationTests {
  private let size = 100 * mib

  private func move(_ fixture: Fixture) {
    fixture.store.put("new", etag: "n1", size: size)
    fixture.store.remove("key")
  }

  @Test func getsUnderWayAreRepeatedAtTheNewPlace() throws {
    let fixture = try Fixture(size: size)
    let reader = fixture.open()
    let outcome = reader.check(10 * mib, 256 * kib)
    let get = try #require(fixture.store.waiting.first)
    fixture.store.deliver(get, 70 * kib)
    move(fixture)
    reader.relocate(to: ObjectKey("new"), etag: ETag("n1"))
    fixture.store.finishAll()
    #expect(outcome.report == .bytes(262144, areRight: true))
    let last = try #require(fixture.store.requests.last)
    #expect(last.key == ObjectKey("new") && last.ifMatch == ETag("n1"))
    #expect(last.range == ByteRange(offset: 10 * mib + 64 * kib, length: 192 * kib), "what arrived stays")
    #expect(fixture.pool.statistics.pinned == 0)
  }

  @Test func laterGetsGoToTheNewPlaceAndBytesAreShared() throws {
    let fixture = try Fixture(.inline, size: size)
    let reader = fixture.open()
    #expect(reader.check(0, 128 * kib).report == .bytes(131072, areRight: true))
    move(fixture)
    reader.relocate(to: ObjectKey("new"), etag: ETag("n1"))
    #expect(reader.check(50 * mib, 128 * kib).report == .bytes(131072, areRight: true))
    let count = fixture.store.requests.count
    let other = fixture.path.open(key: ObjectKey("new"), etag: ETag("n1"), size: size)
    #expect(other.check(50 * mib, 128 * kib).report == .bytes(131072, areRight: true))
    #expect(fixture.store.requests.count == count)
    // The old name is nobody's now: whoever opens it asks there.
    let stranger = fixture.open()
    #expect(stranger.check(50 * mib, 128 * kib).report == .failure(.notFound))
  }

  @Test func failuresDuringAnAnnouncedMoveAreHeld() throws {
    let fixture = try Fixture(size: size)
    let reader = fixture.open()
    reader.prepareToRelocate()
    let outcome = reader.check(10 * mib, 128 * kib)
    move(fixture)
    fixture.store.finishAll()
    #expect(outcome.report == nil, "not found, but the new place is not known yet")
    reader.relocate(to: ObjectKey("new"), etag: ETag("n1"))
    fixture.store.finishAll()
    #expect(outcome.report == .bytes(131072, areRight: true))
  }

  @Test func aMoveThatIsGivenUpLetsFailuresThrough() throws {
    let fixture = try Fixture(size: size)
    let reader = fixture.open()
    reader.prepareToRelocate()
    let outcome = reader.check(10 * mib, 128 * kib)
    let cancellation = Cancellation()
    let cancelled = reader.check(20 * mib, 128 * kib, cancellation)
    fixture.store.remove("key")
    fixture.store.finishAll()
    cancellation.cancel()
    #expect(cancelled.report == .failure(.cancelled))
    #expect(outcome.report == nil)
    reader.cancelRelocation()
    fixture.store.finishAll()
    #expect(outcome.report == .failure(.notFound))
    #expect(fixture.pool.statistics.pinned == 0)
  }

  @Test func closingDuringAMoveLeavesNothingPinned() throws {
    let fixture = try Fixture(size: size)
    let reader = fixture.open()
    let outcome = reader.check(0, 128 * kib)
    try fixture.store.deliver(#require(fixture.store.waiting.first), 128 * kib)
    #expect(outcome.report == .bytes(131072, areRight: true))
    reader.prepareToRelocate()
    fixture.store.remove("key")
    fixture.store.finishAll()
    #expect(fixture.pool.statistics.pinned == 1)
    reader.close()
    #expect(fixture.pool.statistics.pinned == 0)
  }
}
