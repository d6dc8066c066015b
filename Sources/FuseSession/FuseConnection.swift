import Basics
import CFuse
import Filesystem
import Glibc
import Logging
import Synchronization
import SystemPackage

/// The connection to the kernel: owns the session of CFuse and is what its callbacks are called on.
///
/// Every request that waits for its reply keeps it alive, so that a reply that comes after the unmount still finds the
/// device open, and not another file that was given the same descriptor.
final class FuseConnection: @unchecked Sendable {
  // Sendable: `raw` is freed in deinit only, and CFuse's functions on it may be called from any thread.
  let raw: OpaquePointer
  let operations: any FileOperations
  let log: Logger
  let metrics: OperationMetrics?
  let asker: AskingProcess?
  private let interrupted = Mutex<[Cancellation]>([])

  init(
    options: MountOptions, operations: any FileOperations, metrics: OperationMetrics?, asker: AskingProcess?,
    log: Logger
  ) throws(FuseSessionError) {
    self.operations = operations
    self.metrics = metrics
    self.asker = asker
    self.log = log
    raw = try makeRawSession(options)
    waysfs_session_set_context(raw, Unmanaged.passUnretained(self).toOpaque())
  }

  deinit { waysfs_session_free(raw) }

  /// Notes that a request was interrupted. libfuse holds locks meanwhile, and the handlers of a cancellation may want to
  /// answer the request, so they are run by `deliverInterrupts`.
  func noteInterrupt(_ token: UnsafeMutableRawPointer) {
    let cancellation = Unmanaged<Cancellation>.fromOpaque(token).takeUnretainedValue()
    interrupted.withLock { $0.append(cancellation) }
  }

  func deliverInterrupts() {
    let due = interrupted.withLock { list in
      defer { list = [] }
      return list
    }
    for cancellation in due { cancellation.cancel() }
  }
}

/// Calls a function of CFuse that may leave a message; returns its result, and the message in one line.
func withMessage<Result>(_ body: (UnsafeMutablePointer<CChar>, Int) -> Result) -> (result: Result, message: String) {
  var buffer = [CChar](repeating: 0, count: 1024)
  let result = body(&buffer, buffer.count)
  let bytes = buffer.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }
  return (result, String(decoding: bytes, as: UTF8.self).split(separator: "\n").joined(separator: "; "))
}

private func makeRawSession(_ options: MountOptions) throws(FuseSessionError) -> OpaquePointer {
  let arguments: [UnsafeMutablePointer<CChar>?] = options.libfuseArguments.map { strdup($0) }
  defer { for argument in arguments { free(argument) } }
  let made = arguments.compactMap { $0.map { UnsafePointer($0) } }.withUnsafeBufferPointer { vector in
    withMessage { message, size -> OpaquePointer? in
      guard let first = vector.baseAddress else { return nil }
      var config = waysfs_config(
        arguments: first,
        argument_count: Int32(vector.count), max_write: 1 << 20,
        max_background: UInt32(min(max(options.maxBackground, 1), 65535)),
        init_flags: initFlags | (options.passthrough ? WAYSFS_INIT_PASSTHROUGH : 0),
        max_workers: UInt32(min(max(options.workerThreads, 1), 1024)),
        idle_workers: idleWorkers)
      var callbacks = makeCallbacks()
      return waysfs_session_new(&config, &callbacks, message, size)
    }
  }
  guard let session = made.result else {
    throw FuseSessionError(.badOption, "the mount options are not understood: \(made.message)")
  }
  return session
}

/// Lookups in one directory run in parallel, and files opened for direct I/O can be mapped.
///
/// HANDLE_KILLPRIV_V2: without it the kernel asks for an extended attribute (security.capability) before every write, as
/// soon as there are extended attributes at all. With it the operations clear the set-user-ID bits of what is written.
private let initFlags =
  WAYSFS_INIT_PARALLEL_DIROPS | WAYSFS_INIT_DIRECT_IO_ALLOW_MMAP | WAYSFS_INIT_HANDLE_KILLPRIV_V2

/// Workers that wait for a request at the same time. With fewer than about 4 they park and are woken all the time, which
/// halves what 16 clients get; each that waits keeps up to 1 MiB of buffer.
private let idleWorkers: UInt32 = 8
