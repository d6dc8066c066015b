/// A block of the pool as its owner knows it. It goes stale when the pool reclaims the block: `BlockPool.pin` tells.
public struct BlockHandle: Hashable, Sendable {
  let slot: Int
  /// Grows each time the slot is reclaimed, so that a stale handle never reaches somebody else's bytes.
  let generation: UInt64
}

/// What became of the bytes of a block while it was pinned.
public enum BlockUse: Hashable, Sendable {
  /// Nobody has read them.
  case none
  /// Somebody has read them.
  case read
  /// Somebody who reads in order has come to the end of the block.
  case passed
}

/// Who keeps bytes in a block.
public protocol BlockOwner: AnyObject, Sendable {
  /// The pool took `block` back for others. Called with no lock held, possibly some time after it happened.
  func blockWasReclaimed(_ block: BlockHandle, index: UInt64)
}

/// A block that an owner wants pinned: the one it has, if that is still there, or else a new one.
public struct BlockClaim: Sendable {
  /// The block's number within its object.
  public var index: UInt64
  /// The block; nil where there is none yet.
  public var handle: BlockHandle?
  /// Whether the pool gave out a new block, whose contents are garbage.
  public internal(set) var isNew = false

  /// Makes a claim.
  public init(index: UInt64, handle: BlockHandle?) {
    self.index = index
    self.handle = handle
  }
}

/// Blocks that one read has pinned. Two fit without a heap allocation; a read of 1 MiB spans no more.
public struct PinnedBlocks: Sendable {
  private(set) var first: BlockHandle?
  private(set) var second: BlockHandle?
  private(set) var others: [BlockHandle] = []

  /// No blocks.
  public init() {}

  /// Adds a block.
  public mutating func append(_ handle: BlockHandle) {
    if first == nil {
      first = handle
    } else if second == nil {
      second = handle
    } else {
      others.append(handle)
    }
  }

  /// How many blocks.
  public var count: Int { (first == nil ? 0 : 1) + (second == nil ? 0 : 1) + others.count }

  /// The block at `position`, in the order they were added.
  public subscript(position: Int) -> BlockHandle? {
    switch position {
    case 0: first
    case 1: second
    default: others.indices.contains(position - 2) ? others[position - 2] : nil
    }
  }
}
