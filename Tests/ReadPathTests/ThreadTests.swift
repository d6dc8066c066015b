import Basics
import BlockCache
import ObjectStore
import Synchronization
import Testing

@testable import ReadPath

/// Many threads over a store that answers from threads of its own, in random pieces.
@Suite struct ThreadTests {
  private final class Tally: Sendable {
    private let wrong = Atomic(0)
    private let busy: Atomic<Int>

    init(readers: Int) { busy = Atomic(readers) }

    var errors: Int { wrong.load(ordering: .sequentiallyConsistent) }
    var isOver: Bool { busy.load(ordering: .sequentiallyConsistent) == 0 }
    func error() { wrong.add(1, ordering: .sequentiallyConsistent) }
    func readerIsDone() { busy.subtract(1, ordering: .sequentiallyConsistent) }
  }

  /// Runs readers on threads while others play the network.
  private func run(
    _ fixture: Fixture, readers: Int, network: Int = 3, _ body: @escaping @Sendable (Int, () -> Void) -> Void
  ) -> Int {
    let tally = Tally(readers: readers)
    let store = fixture.store
    onThreads(network + readers) { number in
      if number >= network {
        body(number - network) { tally.error() }
        tally.readerIsDone()
        if tally.isOver { for _ in 0..<network { store.arrivals.signal() } }
        return
      }
      var random = SplitMix(UInt64(number))
      while true {
        store.arrivals.wait()
        guard let get = store.claim() else {
          if tally.isOver { return }
          continue
        }
        let pieces = Int.random(in: 0..<4, using: &random)
        for _ in 0..<pieces { store.deliver(get, UInt64.random(in: 1...300 * kib, using: &random)) }
        store.finish(get)
      }
    }
    return tally.errors
  }

  @Test(arguments: [2, 3, 4])
  func manyReadersInATinyPoolAllGetTheirBytes(blocks: Int) throws {
    let fixture = try Fixture(size: 24 * mib, blocks: blocks)
    let errors = run(fixture, readers: 32) { number, error in
      let reader = fixture.open()
      var random = SplitMix(UInt64(number))
      var position = UInt64.random(in: 0..<20 * mib, using: &random)
      for _ in 0..<30 {
        if Int.random(in: 0..<3, using: &random) == 0 { position = UInt64.random(in: 0..<23 * mib, using: &random) }
        let outcome = reader.check(position, 300 * kib)
        outcome.ended.wait()
        let count = Int(min(300 * kib, 24 * mib - min(position, 24 * mib)))
        if outcome.report != .bytes(count, areRight: true) || outcome.count != 1 { error() }
        position += 300 * kib
      }
      reader.close()
    }
    #expect(errors == 0)
    fixture.store.finishAll()
    let statistics = fixture.pool.statistics
    #expect(statistics.peakInUse <= blocks && statistics.pinned == 0 && statistics.waiting == 0)
  }

  @Test func threadsShareOneHandle() throws {
    let fixture = try Fixture(size: 64 * mib, blocks: 32)
    let reader = fixture.open()
    let errors = run(fixture, readers: 16) { number, error in
      var random = SplitMix(UInt64(number) + 99)
      for _ in 0..<100 {
        let offset = UInt64.random(in: 0..<63 * mib, using: &random)
        let outcome = reader.check(offset, 64 * kib)
        outcome.ended.wait()
        if outcome.report != .bytes(65536, areRight: true) { error() }
      }
    }
    #expect(errors == 0)
    reader.close()
    fixture.store.finishAll()
    #expect(fixture.pool.statistics.pinned == 0)
  }

  @Test func cancellingClosingAndTrimmingRaceWithDeliveries() throws {
    let fixture = try Fixture(size: 40 * mib, blocks: 6)
    let errors = run(fixture, readers: 12) { number, error in
      var random = SplitMix(UInt64(number) + 7)
      for step in 0..<40 {
        let reader = fixture.open()
        var outcomes: [Outcome] = []
        var position = UInt64.random(in: 0..<30 * mib, using: &random)
        for _ in 0..<4 {
          let cancellation = Cancellation()
          outcomes.append(reader.check(position, 128 * kib, cancellation))
          position += 128 * kib
          if Int.random(in: 0..<3, using: &random) == 0 { cancellation.cancel() }
        }
        if Bool.random(using: &random) { reader.close() }
        for outcome in outcomes {
          outcome.ended.wait()
          switch outcome.report {
          case .bytes(131072, areRight: true), .failure(.cancelled): break
          default: error()
          }
        }
        if step % 10 == 0 { fixture.path.trim() }
        reader.close()
      }
    }
    #expect(errors == 0)
    fixture.store.finishAll()
    let statistics = fixture.pool.statistics
    #expect(statistics.peakInUse <= 6 && statistics.pinned == 0 && statistics.waiting == 0)
  }
}
