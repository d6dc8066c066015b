public import SystemPackage

/// A file descriptor that is closed when its last user lets go of it. Thread-safe.
public final class SharedDescriptor: Sendable {
  /// The descriptor; valid while this object lives.
  public let descriptor: FileDescriptor

  /// Takes ownership of `descriptor`.
  public init(owning descriptor: FileDescriptor) {
    self.descriptor = descriptor
  }

  deinit {
    // Nothing is left to report an error to; whoever needs durability has called fsync before.
    try? descriptor.close()
  }
}
