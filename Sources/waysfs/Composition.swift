import Basics
import Logging
import ObjectStore

/// Wires the layers together; the only file of this target that knows their types.
enum Composition {
  /// Builds the engine of a mount: key pair, transport, store, caches, filesystem, session.
  static func connect(
    _ plan: MountPlan, _ log: Logger, _ cancellation: Cancellation
  ) throws(Failure) -> any MountEngine {
    throw Failure("this build has no filesystem yet")
  }
}
