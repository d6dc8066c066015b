import Basics
import BlockCache
import ObjectStore
import Synchronization

/// A read that waits for memory or bytes.
///
/// It either holds pins on every block it needs, or on none while it waits in the pool's queue; so it never holds what
/// another needs to get on.
final class PendingRead: @unchecked Sendable {
  enum Phase {
    case starting
    case waitingForMemory(DemandTicket)
    case waitingForBytes
    case finished
  }

  /// The bytes asked for, clipped to the object; not empty.
  let range: ByteRange
  /// What to fetch where something of `range` is missing.
  let demand: ByteRange
  /// The reader on whose behalf.
  let reader: UInt64
  let isStreaming: Bool
  let cancellation: Cancellation?
  let completion: Completion<ReadSlices, ObjectStoreError>

  // Guarded by the lock of the `SharedObject`.
  var phase = Phase.starting
  /// The blocks of `range`, pinned while waiting for bytes.
  var claims: [BlockClaim] = []
  /// Granules of `range` that are not there yet.
  var missing = 0
  /// Whether a failed GET was already repeated for it.
  var hasRetried = false
  var cancellationToken: Int?

  init(
    range: ByteRange, demand: ByteRange, reader: UInt64, isStreaming: Bool, cancellation: Cancellation?,
    completion: @escaping Completion<ReadSlices, ObjectStoreError>
  ) {
    self.range = range
    self.demand = demand
    self.reader = reader
    self.isStreaming = isStreaming
    self.cancellation = cancellation
    self.completion = completion
  }

  var isFinished: Bool {
    if case .finished = phase { true } else { false }
  }

  var granules: Range<UInt64> { Granules.covering(range) }
}

/// Arithmetic of granules, numbered through the whole object.
enum Granules {
  static let size = UInt64(BlockGeometry.granuleSize)
  static let perBlock = UInt64(BlockGeometry.granulesPerBlock)
  static let blockSize = UInt64(BlockGeometry.blockSize)

  /// The granules that `range`, which is not empty, touches.
  static func covering(_ range: ByteRange) -> Range<UInt64> {
    range.offset / size..<(range.end - 1) / size + 1
  }

  /// The blocks that `range`, which is not empty, touches.
  static func blocks(_ range: ByteRange) -> Range<UInt64> {
    range.offset / blockSize..<(range.end - 1) / blockSize + 1
  }

  /// The blocks that hold these granules.
  static func blocks(_ granules: Range<UInt64>) -> Range<UInt64> {
    guard !granules.isEmpty else { return 0..<0 }
    return granules.lowerBound / perBlock..<(granules.upperBound - 1) / perBlock + 1
  }

  /// Those of `granules` that lie in block `index`.
  static func mask(_ granules: Range<UInt64>, in index: UInt64) -> GranuleMask {
    let part = granules.clamped(to: index * perBlock..<(index + 1) * perBlock)
    guard !part.isEmpty else { return .none }
    return GranuleMask(Int(part.lowerBound - index * perBlock)..<Int(part.upperBound - index * perBlock))
  }
}
