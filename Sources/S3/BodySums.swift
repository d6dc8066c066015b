import Basics
import CChecksum
import ObjectStore
import Synchronization

/// Computes the MD5 of large bodies that many threads are about to send, several in one go
/// (docs/decisions/0015-sums-of-many-parts-at-once.md).
///
/// A sum is a chain of steps that wait for each other; sixteen take little more than twice the time of one. Whoever
/// brings a body waits for others while enough of those before are on their way, since it would wait for the network
/// anyway. One of the waiting threads does the work for all.
///
/// Thread-safe. `sum` blocks. The lock is taken alone, and never held while bytes are read or hashed.
final class BodySums: Sendable {
  /// Smaller bodies are not worth a handover, in bytes.
  static let smallest: UInt64 = 1 << 20
  /// OpenSSL in a FIPS configuration refuses MD5, and what it forbids is not done behind its back.
  static let isAvailable = !Digest.of([], .md5).isEmpty
  /// As many bodies on their way keep the network busy while others gather.
  static let enoughOnTheirWay = 4
  /// Nobody waits longer for others, in seconds. Where a body takes longer than that to send, it costs nothing.
  static let patience = 0.5
  /// Fewer are faster one by one.
  private static let worthGathering = 3

  /// A body that waits for its sum.
  private final class Job: Sendable {
    enum Call {
      /// To compute the sums of these; the first is its own.
      case lead([Job])
      case done(Result<[UInt8], ObjectStoreError>)
    }

    let body: FileRange
    let call = OneShot<Call>()

    init(_ body: FileRange) { self.body = body }
  }

  private struct State {
    var waiting: [Job] = []
    /// Whether somebody computes.
    var isLed = false
    /// Bodies whose sums are or were computed, and that are not sent yet.
    var onTheirWay = 0
    /// One of the waiting has waited long enough.
    var isOverdue = false

    /// The jobs to do now, if any; the first is to be told.
    mutating func take() -> [Job] {
      guard !isLed, !waiting.isEmpty else { return [] }
      guard waiting.count >= ParallelSums.lanes || onTheirWay < enoughOnTheirWay || isOverdue else { return [] }
      let batch = BodySums.batch(of: waiting.map(\.body.length)).map { waiting[$0] }
      waiting.removeAll { job in batch.contains { $0 === job } }
      isLed = true
      isOverdue = isOverdue && !waiting.isEmpty
      onTheirWay += batch.count
      return batch
    }
  }

  /// Which of those that wait are done next, told by their lengths. The first, who leads, has the longest: its sum is
  /// there when all are, and the others get theirs as soon as they are done.
  static func batch(of lengths: [UInt64]) -> [Int] {
    guard let first = lengths.first else { return [] }
    // A short one would be as slow as a long one.
    let alike = lengths.indices.filter { lengths[$0] / 4 <= first && first / 4 <= lengths[$0] }
    guard alike.count >= worthGathering else { return [0] }
    var batch = Array(alike.prefix(ParallelSums.lanes))
    let longest = batch.indices.reduce(0) { lengths[batch[$1]] > lengths[batch[$0]] ? $1 : $0 }
    batch.swapAt(0, longest)
    return batch
  }

  private let state = Mutex(State())
  private let schedule: @Sendable (_ seconds: Double, _ body: @escaping @Sendable () -> Void) -> Void

  /// - Parameter schedule: calls something after a number of seconds, on a thread where it must not block.
  init(schedule: @escaping @Sendable (_ seconds: Double, _ body: @escaping @Sendable () -> Void) -> Void) {
    self.schedule = schedule
  }

  /// How many wait for others now; for tests.
  var waiting: Int { state.withLock { $0.waiting.count } }

  /// The MD5 of a range of a file; then it counts as on its way until `bodyEnded`, unless this throws.
  /// - Throws: `localReadFailed`.
  func sum(of file: SharedDescriptor, offset: UInt64, length: UInt64) throws(ObjectStoreError) -> [UInt8] {
    let job = Job(FileRange(file: file, offset: offset, length: length))
    if !start({ $0.waiting.append(job) }) {
      schedule(Self.patience) { [weak self] in self?.hurry(job) }
    }
    do throws(ObjectStoreError) {
      switch job.call.wait() {
      case .done(let result): return try result.get()
      case .lead(let batch): return try lead(batch).get()
      }
    } catch {
      bodyEnded()
      throw error
    }
  }

  /// A body that got its sum is sent, or is not to be sent any more.
  func bodyEnded() { start { $0.onTheirWay -= 1 } }

  private func hurry(_ job: Job) {
    start { state in if state.waiting.contains(where: { $0 === job }) { state.isOverdue = true } }
  }

  /// Changes the state and has one of the waiting lead when that allows it.
  /// - Returns: whether it did.
  @discardableResult
  private func start(_ change: (inout State) -> Void) -> Bool {
    let batch = state.withLock { state in
      change(&state)
      return state.take()
    }
    batch.first?.call.fulfil(.lead(batch))
    return !batch.isEmpty
  }

  /// Computes the sums of a batch on this thread, and returns that of the first.
  private func lead(_ batch: [Job]) -> Result<[UInt8], ObjectStoreError> {
    defer { start { $0.isLed = false } }
    if batch.count == 1 {
      let body = batch[0].body
      return Result { () throws(ObjectStoreError) in
        try Digest.of(.file(body.file, offset: body.offset, length: body.length), .md5)
      }
    }
    var own = Result<[UInt8], ObjectStoreError>.success([])
    ParallelSums.compute(batch.map(\.body)) { index, result in
      if index == 0 { own = result } else { batch[index].call.fulfil(.done(result)) }
    }
    return own
  }
}
