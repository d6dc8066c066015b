import Basics
import BlockCache
import ObjectStore
import Testing

@testable import ReadPath

@Suite struct FailureTests {
  private let size = 100 * mib

  @Test func failureReachesTheReaderAndTheNextReadAsksAgain() throws {
    let fixture = try Fixture(size: size)
    let reader = fixture.open()
    let outcome = reader.check(0, 128 * kib)
    try fixture.store.fail(#require(fixture.store.waiting.first), .serverError)
    #expect(outcome.report == .failure(.serverError))
    #expect(fixture.store.requests.count == 1, "the store has retried already")
    let again = reader.check(0, 128 * kib)
    fixture.store.finishAll()
    #expect(again.report == .bytes(131072, areRight: true))
    #expect(fixture.pool.statistics.pinned == 0)
  }

  @Test func whatArrivedBeforeAFailureStays() throws {
    let fixture = try Fixture(size: size)
    let reader = fixture.open()
    let early = reader.check(0, 128 * kib)
    let late = reader.check(512 * kib, 128 * kib)
    let get = try #require(fixture.store.waiting.first)
    fixture.store.deliver(get, 300 * kib)
    fixture.store.fail(get, .connectionFailed)
    #expect(early.report == .bytes(131072, areRight: true))
    #expect(late.report == nil, "who merely joined gets a GET of its own")
    #expect(reader.check(128 * kib, 128 * kib).report == .bytes(131072, areRight: true))
    #expect(reader.check(192 * kib, 128 * kib).report == nil, "the granule at 256 KiB was torn")
    fixture.store.finishAll()
    #expect(late.report == .bytes(131072, areRight: true))
  }

  @Test func joinedReadersAreRepeatedOnce() throws {
    let fixture = try Fixture(size: size)
    let readers = (0..<5).map { _ in fixture.open() }
    let outcomes = readers.map { $0.check(0, 128 * kib) }
    var gets = 0
    while let get = fixture.store.waiting.first {
      gets += 1
      fixture.store.fail(get, .timedOut)
    }
    #expect(gets == 2)
    #expect(outcomes.allSatisfy { $0.report == .failure(.timedOut) && $0.count == 1 })
    #expect(fixture.pool.statistics.pinned == 0)
  }

  @Test func changedObjectIsAFailureButCachedBytesStay() throws {
    let fixture = try Fixture(size: size)
    let reader = fixture.open()
    _ = reader.check(0, 128 * kib)
    fixture.store.finishAll()
    fixture.store.put("key", etag: "v2", size: size, seed: 2)
    let outcome = reader.check(50 * mib, 128 * kib)
    let other = fixture.open().check(50 * mib, 128 * kib)
    fixture.store.finishAll()
    #expect(outcome.report == .failure(.preconditionFailed))
    #expect(other.report == .failure(.preconditionFailed))
    #expect(reader.check(0, 128 * kib).report == .bytes(131072, areRight: true))
  }

  /// A server that ignores If-Match must not get its bytes in.
  @Test(arguments: [("v2", 100 * mib), ("v1", 100 * mib + 1)])
  func otherVersionsBytesNeverGetIn(etag: String, size: UInt64) throws {
    let fixture = try Fixture(size: self.size)
    let reader = fixture.open()
    let outcome = reader.check(0, 128 * kib)
    let get = try #require(fixture.store.waiting.first)
    let metadata = ObjectMetadata(size: size, etag: ETag(etag), lastModified: Timestamp(seconds: 0))
    get.sink.begin(metadata: metadata, range: get.range)
    #expect(get.cancellation?.isCancelled == true)
    Contents(seed: 9).withPieces(get.range) { get.sink.receive($0, at: $1) }
    #expect(outcome.report == nil)
    fixture.store.end(get, .success(metadata))
    #expect(outcome.report == .failure(.preconditionFailed))
    let again = reader.check(0, 128 * kib)
    fixture.store.finishAll()
    #expect(again.report == .bytes(131072, areRight: true))
  }

  enum Lie: CaseIterable {
    case noBegin, otherRange, gap, backwards, tooMuch, tooLittle, farAway
  }

  /// A store that breaks its contract costs one repetition and never brings wrong bytes or a crash.
  @Test(arguments: Lie.allCases)
  func brokenDeliveriesAreRefused(lie: Lie) throws {
    let fixture = try Fixture(size: size)
    let reader = fixture.open()
    let outcome = reader.check(0, 128 * kib)
    let get = try #require(fixture.store.waiting.first)
    let metadata = ObjectMetadata(size: size, etag: Fixture.etag, lastModified: Timestamp(seconds: 0))
    let garbage = [UInt8](repeating: 0xEE, count: 2 << 20)
    func deliver(_ count: Int, at offset: UInt64) {
      garbage[..<count].withUnsafeBytes { get.sink.receive($0, at: offset) }
    }
    if lie != .noBegin {
      let shift = lie == .otherRange ? 64 * kib : 0
      get.sink.begin(metadata: metadata, range: ByteRange(offset: shift, length: get.range.length))
    }
    switch lie {
    case .noBegin, .otherRange: deliver(1 << 20, at: 0)
    case .gap: deliver(1 << 20, at: 1)
    case .backwards:
      fixture.store.deliver(get, 10 * kib)
      deliver(100, at: 0)
    case .tooMuch: deliver((1 << 20) + 1, at: 0)
    case .tooLittle: break
    case .farAway: deliver(100, at: .max - 50)
    }
    fixture.store.end(get, .success(metadata))
    #expect(outcome.report == nil, "asked for again")
    fixture.store.finishAll()
    #expect(outcome.report == .bytes(131072, areRight: true))
    #expect(outcome.count == 1 && fixture.pool.statistics.pinned == 0)
  }

  @Test func failedGuessesDoNotHoldMemory() throws {
    let fixture = try Fixture(size: size, blocks: 16)
    let reader = fixture.open()
    for step in 0..<24 {
      _ = reader.check(UInt64(step) * 128 * kib, 128 * kib)
      if let get = fixture.store.waiting.first { fixture.store.deliver(get, 128 * kib) }
    }
    while let get = fixture.store.waiting.last { fixture.store.fail(get, .throttled) }
    let statistics = fixture.pool.statistics
    #expect(statistics.pinned == 0 && statistics.inUse <= 6)
  }
}
