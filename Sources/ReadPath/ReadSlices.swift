/// The memory of a finished read, in order of offset; valid only until the completion returns.
public struct ReadSlices: @unchecked Sendable {
  // Sendable: it only travels to the completion that is being called, which keeps nothing of it.
  /// The memory. Empty at the end of the object.
  public let buffers: [UnsafeRawBufferPointer]

  /// Wraps memory.
  public init(_ buffers: [UnsafeRawBufferPointer]) { self.buffers = buffers }

  /// Bytes in all buffers.
  public var count: Int { buffers.reduce(0) { $0 + $1.count } }
}
