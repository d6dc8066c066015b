import Glibc

/// The address space of a pool: one mapping, of which only touched pages take memory.
///
/// One mapping rather than a slab at a time: a block's address follows from its slot without a lock, and the budget
/// cannot be exceeded by construction. The first touch of a block costs 320-400 us, as much as bringing its bytes, so
/// the pool rather uses warm memory again. Huge pages are no way out: in a virtual machine that returns free memory to
/// its host they come without memory behind them, and the touch costs 2,200 us (measured).
final class BlockMemory: @unchecked Sendable {
  // The mapping is fixed for the lifetime of this object; who may touch which block is the pool's business.
  private let base: UnsafeMutableRawPointer
  private let length: Int

  init(blocks: Int) throws(BlockPoolError) {
    let (length, overflow) = blocks.multipliedReportingOverflow(by: BlockGeometry.blockSize)
    guard !overflow, blocks > 0 else { throw BlockPoolError(errno: ENOMEM, bytes: length) }
    let flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE
    guard let base = mmap(nil, length, PROT_READ | PROT_WRITE, flags, -1, 0), base != MAP_FAILED else {
      throw BlockPoolError(errno: errno, bytes: length)
    }
    self.base = base
    self.length = length
  }

  deinit {
    munmap(base, length)
  }

  subscript(slot: Int) -> UnsafeMutableRawBufferPointer {
    UnsafeMutableRawBufferPointer(start: base + slot * BlockGeometry.blockSize, count: BlockGeometry.blockSize)
  }

  /// Gives the pages of blocks back to the system; they read as zeros until they are written again.
  func release(_ slots: [Int]) {
    var rest = slots.sorted()[...]
    while let first = rest.popFirst() {
      var end = first + 1
      while rest.first == end {
        end += 1
        rest.removeFirst()
      }
      // Neighbours in one call. Should the kernel refuse, the pages merely stay.
      _ = madvise(self[first].baseAddress, (end - first) * BlockGeometry.blockSize, MADV_DONTNEED)
    }
  }
}

/// The address space for a pool could not be had.
public struct BlockPoolError: Error, Hashable, Sendable, CustomStringConvertible {
  /// What mmap(2) said.
  public var errno: Int32
  /// How many bytes were asked for.
  public var bytes: Int

  /// One line for a person.
  public var description: String {
    "cannot map \(bytes) bytes for the block cache: \(String(cString: strerror(errno)))"
  }
}
