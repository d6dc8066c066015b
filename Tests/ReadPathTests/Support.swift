import Basics
import BlockCache
import Logging
import ObjectStore
import Synchronization

@testable import ReadPath

let kib: UInt64 = 1 << 10
let mib: UInt64 = 1 << 20

/// A read path over a scripted store with one object, `key`.
struct Fixture {
  let store: ScriptedStore
  let pool: BlockPool
  let path: ReadPath
  let size: UInt64

  static let etag = ETag("v1")

  init(
    _ mode: ScriptedStore.Mode = .scripted, size: UInt64, blocks: Int = 64, cache: DiskCache? = nil,
    configure: (inout ReadPathConfiguration) -> Void = { _ in }
  ) throws {
    store = ScriptedStore(mode)
    pool = try BlockPool(budget: blocks << 20)
    var configuration = ReadPathConfiguration()
    configure(&configuration)
    path = ReadPath(store: store, pool: pool, cache: cache, configuration: configuration, log: Logger(label: "test"))
    self.size = size
    store.put("key", etag: "v1", size: size)
  }

  func open(_ key: String = "key") -> ObjectReader {
    path.open(key: ObjectKey(key), etag: Self.etag, size: size)
  }
}

/// What a read reported, seen from the test.
final class Outcome: Sendable {
  enum Report: Equatable {
    case bytes(Int, areRight: Bool)
    case failure(ObjectStoreError.Code)
  }

  private let reports = Mutex<[Report]>([])
  let ended: Basics.Semaphore = Basics.Semaphore()

  /// Nil while it has not reported.
  var report: Report? { reports.withLock { $0.first } }
  var count: Int { reports.withLock { $0.count } }

  func take(_ result: Result<ReadSlices, ObjectStoreError>, offset: UInt64, contents: Contents) {
    let report: Report
    switch result {
    case .success(let slices):
      let range = ByteRange(offset: offset, length: UInt64(slices.count))
      report = .bytes(slices.count, areRight: contents.matches(slices.buffers, range))
    case .failure(let error):
      report = .failure(error.code)
    }
    reports.withLock { $0.append(report) }
    ended.signal()
  }
}

extension ObjectReader {
  /// Starts a read whose bytes are compared with what they have to be.
  func check(
    _ offset: UInt64, _ count: UInt64, seed: UInt64 = 1, _ cancellation: Cancellation? = nil
  ) -> Outcome {
    let outcome = Outcome()
    read(offset: offset, count: Int(count), cancellation) {
      outcome.take($0, offset: offset, contents: Contents(seed: seed))
    }
    return outcome
  }
}

/// Reproducible randomness.
struct SplitMix: RandomNumberGenerator {
  var state: UInt64

  init(_ seed: UInt64) { state = seed }

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var z = state
    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
    return z ^ (z >> 31)
  }
}

/// Timers that fire when the test says so.
final class Timers: Sendable {
  private let waiting = Mutex<[@Sendable () -> Void]>([])

  var count: Int { waiting.withLock { $0.count } }

  func add(_ work: @escaping @Sendable () -> Void) { waiting.withLock { $0.append(work) } }

  func fire() {
    let due = waiting.withLock { waiting in
      defer { waiting = [] }
      return waiting
    }
    for work in due { work() }
  }
}
