import Glibc

private final class Work {
  let run: @Sendable () -> Void
  init(_ run: @escaping @Sendable () -> Void) { self.run = run }
}

private func runWork(_ argument: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? {
  if let argument { Unmanaged<Work>.fromOpaque(argument).takeRetainedValue().run() }
  return nil
}

/// Runs `work` once on a thread of its own; on the caller's when none can be made. For rare work that would hold up the
/// event thread.
func runOnThread(_ work: @escaping @Sendable () -> Void) {
  let retained = Unmanaged.passRetained(Work(work))
  var thread = pthread_t()
  guard pthread_create(&thread, nil, runWork, retained.toOpaque()) == 0 else {
    return retained.takeRetainedValue().run()
  }
  pthread_detach(thread)
}
