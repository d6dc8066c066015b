import Synchronization
public import SystemPackage

/// A file descriptor that is closed when its last user lets go of it. Thread-safe.
public final class SharedDescriptor: Sendable {
  /// The descriptor; valid while this object lives.
  public let descriptor: FileDescriptor
  private let ending = Mutex<(@Sendable (FileDescriptor) -> Void)?>(nil)

  /// Takes ownership of `descriptor`.
  public init(owning descriptor: FileDescriptor) {
    self.descriptor = descriptor
  }

  /// Has something done with the descriptor when its last user has let go of it, right before it is closed; in place of
  /// what was to be done before. On whatever thread that is, so it must be short and take no lock that is held across
  /// other calls.
  public func atEnd(_ body: @escaping @Sendable (FileDescriptor) -> Void) { ending.withLock { $0 = body } }

  deinit {
    ending.withLock { $0 }?(descriptor)
    // Nothing is left to report an error to; whoever needs durability has called fsync before.
    try? descriptor.close()
  }
}
