import Basics
import CChecksum
import ObjectStore
import Synchronization
import Testing

@testable import S3

/// Sums of several bodies at once are those that OpenSSL computes one by one.
@Suite struct BodySumsTests {
  private static func bytes(_ count: Int, seed: UInt64) -> [UInt8] {
    var word = seed &* 0x9E37_79B9_7F4A_7C15 | 1
    return (0..<count).map { _ in
      word ^= word << 13
      word ^= word >> 7
      word ^= word << 17
      return UInt8(truncatingIfNeeded: word >> 24)
    }
  }

  private static func range(_ body: ObjectBody) throws -> FileRange {
    guard case .file(let file, let offset, let length) = body else { throw CancellationError() }
    return FileRange(file: file, offset: offset, length: length)
  }

  /// Every length around the blocks of 64 bytes and the chunks that are read, each in another lane.
  @Test func everyLength() throws {
    let chunk = ParallelSums.chunk
    let lengths = Array(0...130) + [chunk - 65, chunk - 1, chunk, chunk + 1, 2 * chunk, 3 * chunk + 63]
    let content = Self.bytes(4 * chunk, seed: 1)
    let file = try Self.range(temporaryFile(content))
    for start in stride(from: 0, to: lengths.count, by: ParallelSums.lanes) {
      let batch = lengths[start..<min(start + ParallelSums.lanes, lengths.count)].enumerated().map {
        FileRange(file: file.file, offset: UInt64($0 * 7), length: UInt64($1))
      }
      var sums: [Int: [UInt8]] = [:]
      ParallelSums.compute(batch) { sums[$0] = try? $1.get() }
      for (lane, range) in batch.enumerated() {
        let bytes = Array(content[Int(range.offset)..<Int(range.offset + range.length)])
        #expect(sums[lane] == Digest.of(bytes, .md5), Comment("\(range.length) bytes in lane \(lane)"))
      }
    }
  }

  @Test func aRangeThatCannotBeReadHarmsNoOther() throws {
    let content = Self.bytes(100_000, seed: 2)
    let file = try Self.range(temporaryFile(content)).file
    let ranges = [
      FileRange(file: file, offset: 0, length: 100_000), FileRange(file: file, offset: 50_000, length: 50_001),
      FileRange(file: file, offset: 1, length: 99_999), FileRange(file: file, offset: 200_000, length: 70_000),
    ]
    var results: [Int: Result<[UInt8], ObjectStoreError>] = [:]
    ParallelSums.compute(ranges) { results[$0] = $1 }
    #expect(try results[0]?.get() == Digest.of(content, .md5))
    #expect(try results[2]?.get() == Digest.of(Array(content.dropFirst()), .md5))
    for index in [1, 3] {
      #expect(failure { () throws(ObjectStoreError) in try results[index]?.get() }?.code == .localReadFailed)
    }
  }

  // MARK: Gathering

  /// A clock that is moved by hand.
  private final class Timers: Sendable {
    let waiting = Mutex<[@Sendable () -> Void]>([])

    func fire() {
      let due = waiting.withLock { waiting in
        defer { waiting = [] }
        return waiting
      }
      for timer in due { timer() }
    }
  }

  /// Several threads that want the sum of the same body.
  private final class Bench: Sendable {
    let timers = Timers()
    let results = Mutex<[Result<[UInt8], ObjectStoreError>]>([])
    let finished = Semaphore()
    let file: FileRange
    let right: [UInt8]
    let sums: BodySums

    init() throws {
      let content = BodySumsTests.bytes(3000, seed: 3)
      file = try BodySumsTests.range(temporaryFile(content))
      right = Digest.of(content, .md5)
      sums = BodySums { [timers] _, body in timers.waiting.withLock { $0.append(body) } }
    }

    func start(_ count: Int, length: UInt64 = 3000) {
      for _ in 0..<count {
        let thread = Thread.start(name: "sum") { [self] in
          let result = Result { () throws(ObjectStoreError) in
            try sums.sum(of: file.file, offset: file.offset, length: length)
          }
          results.withLock { $0.append(result) }
          finished.signal()
        }
        thread?.detach()
      }
    }

    /// Waits until so many have their sums.
    func wait(_ count: Int) {
      for _ in 0..<count { finished.wait() }
    }

    func waitUntilWaiting(_ count: Int) {
      while sums.waiting < count { Semaphore().wait(seconds: 0.001) }
    }

    var areRight: Bool { results.withLock { $0.allSatisfy { (try? $0.get()) == right } } }
  }

  @Test func whoHasTheLongestBodyLeads() {
    #expect(BodySums.batch(of: []) == [])
    // Two are faster one by one, and the first has waited longest.
    #expect(BodySums.batch(of: [1, 4]) == [0])
    #expect(BodySums.batch(of: [4, 4, 4]) == [0, 1, 2])
    #expect(BodySums.batch(of: [4, 2, 16, 9]) == [2, 1, 0, 3])
    // Those that are much longer or shorter wait for their like.
    #expect(BodySums.batch(of: [8, 100, 1, 9, 7]) == [3, 0, 4])
    let many = Array(repeating: UInt64(8), count: ParallelSums.lanes) + [20]
    #expect(BodySums.batch(of: many) == Array(0..<ParallelSums.lanes))
  }

  @Test func nobodyWaitsForOthersWhileTheNetworkIsIdle() throws {
    let bench = try Bench()
    for _ in 0..<BodySums.enoughOnTheirWay {
      bench.start(1)
      bench.wait(1)
    }
    #expect(bench.areRight)
  }

  @Test func theyGatherUntilABodyHasArrived() throws {
    let bench = try Bench()
    bench.start(BodySums.enoughOnTheirWay)
    bench.wait(BodySums.enoughOnTheirWay)
    bench.start(6)
    bench.waitUntilWaiting(6)
    #expect(bench.results.withLock { $0.count } == BodySums.enoughOnTheirWay)
    bench.sums.bodyEnded()
    bench.wait(6)
    #expect(bench.sums.waiting == 0 && bench.areRight)
  }

  @Test func asManyAsFitDoNotWait() throws {
    let bench = try Bench()
    bench.start(BodySums.enoughOnTheirWay)
    bench.wait(BodySums.enoughOnTheirWay)
    bench.start(ParallelSums.lanes)
    bench.wait(ParallelSums.lanes)
    #expect(bench.areRight)
  }

  @Test func patienceEnds() throws {
    let bench = try Bench()
    bench.start(BodySums.enoughOnTheirWay)
    bench.wait(BodySums.enoughOnTheirWay)
    bench.start(2)
    bench.waitUntilWaiting(2)
    while bench.timers.waiting.withLock({ $0.count }) < 2 { Semaphore().wait(seconds: 0.001) }
    bench.timers.fire()
    bench.wait(2)
    #expect(bench.areRight)
  }

  @Test func oneThatFailedIsNotOnItsWay() throws {
    let bench = try Bench()
    bench.start(BodySums.enoughOnTheirWay, length: 4000)
    bench.wait(BodySums.enoughOnTheirWay)
    #expect(bench.results.withLock { $0.allSatisfy { (try? $0.get()) == nil } })
    bench.results.withLock { $0 = [] }
    bench.start(1)
    bench.wait(1)
    #expect(bench.areRight)
  }

  @Test func manyAtOnce() throws {
    let bench = try Bench()
    bench.start(200)
    for _ in 0..<200 {
      bench.wait(1)
      bench.sums.bodyEnded()
    }
    #expect(bench.sums.waiting == 0 && bench.areRight && bench.results.withLock { $0.count } == 200)
  }

  /// A body that is no longer sent lets others go.
  @Test func aBodyIsOnItsWayAsLongAsItLives() throws {
    let http = ScriptedHTTP(.ok())
    let core = try scriptedBucket(http).core
    let content = Self.bytes(Int(BodySums.smallest), seed: 4)
    let body = try temporaryFile(content)
    for _ in 0..<(2 * BodySums.enoughOnTheirWay) {
      #expect(try SentBody(body, core).sum == Digest.of(content, .md5))
    }
  }
}
