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
}
