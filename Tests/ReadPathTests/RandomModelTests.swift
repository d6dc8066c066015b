import Basics
import BlockCache
import Logging
import ObjectStore
import Testing

@testable import ReadPath

/// Random reads, deliveries, failures, cancellations, closes and trims in one thread, so that every order that a seed
/// brings about can be brought about again.
@Suite struct RandomModelTests {
  private struct Pending {
    var outcome: Outcome
    var expected: Int
    var isCancelled = false
  }

  private struct World {
    var random: SplitMix
    let store = ScriptedStore()
    let pool: BlockPool
    let path: ReadPath
    let sizes: [UInt64]
    var readers: [(object: Int, reader: ObjectReader, position: UInt64)] = []
    var pending: [Pending] = []
    var failures = 0

    init(seed: UInt64) throws {
      random = SplitMix(seed)
      pool = try BlockPool(budget: Int.random(in: 2...12, using: &random) << 20)
      var configuration = ReadPathConfiguration()
      configuration.maximumGets = Int.random(in: 1...6, using: &random)
      configuration.readAhead.maximumGet = UInt64.random(in: 1...4, using: &random) * mib
      path = ReadPath(store: store, pool: pool, configuration: configuration, log: Logger(label: "model"))
      sizes = (0..<3).map { [random] _ in
        var random = random
        return UInt64.random(in: 1...20 * mib, using: &random)
      }
      for (index, size) in sizes.enumerated() {
        store.put("o\(index)", etag: "e\(index)", size: size, seed: UInt64(index))
      }
    }

    mutating func open() {
      let object = Int.random(in: 0..<sizes.count, using: &random)
      let reader = path.open(key: ObjectKey("o\(object)"), etag: ETag("e\(object)"), size: sizes[object])
      readers.append((object, reader, 0))
    }

    mutating func read() {
      guard let index = readers.indices.randomElement(using: &random) else { return }
      let (object, reader, position) = readers[index]
      let isSequential = Int.random(in: 0..<4, using: &random) > 0
      let offset = isSequential ? position : UInt64.random(in: 0...sizes[object], using: &random)
      let limit = UInt64(path.maximumReadLength)
      let count = min(limit, [4 * kib, 128 * kib, 1 * mib, 3 * mib].randomElement(using: &random) ?? 1)
      readers[index].position = offset + count >= sizes[object] ? 0 : offset + count
      let cancellation = Int.random(in: 0..<8, using: &random) == 0 ? Cancellation() : nil
      let outcome = reader.check(offset, count, seed: UInt64(object), cancellation)
      let isCancelled = cancellation != nil && Bool.random(using: &random)
      if isCancelled { cancellation?.cancel() }
      let expected = offset < sizes[object] ? Int(min(count, sizes[object] - offset)) : 0
      pending.append(Pending(outcome: outcome, expected: expected, isCancelled: isCancelled))
    }

    mutating func progress(failing: Bool) {
      guard let get = store.waiting.randomElement(using: &random) else { return }
      switch Int.random(in: 0..<10, using: &random) {
      case 0..<6: store.deliver(get, UInt64.random(in: 1...900 * kib, using: &random))
      case 6 where failing:
        failures += 1
        let codes: [ObjectStoreError.Code] = [.serverError, .connectionFailed, .corruptResponse, .throttled]
        store.fail(get, codes.randomElement(using: &random) ?? .timedOut)
      default: store.finish(get)
      }
    }

    mutating func step(failing: Bool) {
      switch Int.random(in: 0..<20, using: &random) {
      case 0: if readers.count < 32 { open() }
      case 1:
        guard let index = readers.indices.randomElement(using: &random) else { return }
        readers.remove(at: index).reader.close()
      case 2: if Int.random(in: 0..<10, using: &random) == 0 { pool.trim() }
      case 3..<11: read()
      default: progress(failing: failing)
      }
    }
  }

  @Test(arguments: 1...40, [false, true])
  func everyReadIsAnsweredOnceAndRight(seed: Int, failing: Bool) throws {
    var world = try World(seed: UInt64(seed))
    for _ in 0..<4 { world.open() }
    for _ in 0..<600 {
      world.step(failing: failing)
      let statistics = world.pool.statistics
      #expect(statistics.inUse <= statistics.capacity && statistics.peakInUse <= statistics.capacity)
    }
    while !world.store.waiting.isEmpty { world.progress(failing: false) }
    var failed = 0
    for pending in world.pending {
      #expect(pending.outcome.count == 1)
      switch pending.outcome.report {
      case .bytes(let count, let areRight): #expect(areRight && count == pending.expected)
      case .failure(.cancelled) where pending.isCancelled: break
      case .failure: failed += 1
      case nil: Issue.record("a read was never answered")
      }
    }
    #expect(world.failures > 0 || failed == 0, "nothing may fail where nothing was made to fail")
    for (_, reader, _) in world.readers { reader.close() }
    world.store.finishAll()
    #expect(world.pool.statistics.pinned == 0 && world.pool.statistics.waiting == 0)
    #expect(world.store.peak <= world.path.configuration.maximumGets)
    world.pool.trim()
    #expect(!world.pool.trim())
  }
}
