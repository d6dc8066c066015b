import CCurl
import Glibc
import Synchronization

/// What other threads ask of the event loop: the one thing that both sides hold.
///
/// Locks: `state` alone; nothing is called while it is held.
final class Inbox: Sendable {
  enum Command: Sendable {
    case start(Transfer)
    case cancel(UInt64)
    case schedule(deadline: UInt64, work: @Sendable () -> Void)
  }

  private struct State {
    var commands: [Command] = []
    var isStopping = false
  }

  /// An eventfd that becomes readable when there is something to do. Owned here and not by libcurl's multi handle
  /// (`curl_multi_wakeup`), because a cancellation may come when that handle is gone.
  let wakeDescriptor: Int32
  private let state = Mutex(State())
  private let loopThread = Atomic<UInt>(0)

  /// Nil when the process has no descriptor left.
  init?() {
    wakeDescriptor = eventfd(0, Int32(EFD_CLOEXEC | EFD_NONBLOCK))
    if wakeDescriptor < 0 { return nil }
  }

  deinit { close(wakeDescriptor) }

  /// Whether the caller runs on the event thread.
  var isOnLoopThread: Bool { loopThread.load(ordering: .acquiring) == UInt(pthread_self()) }

  /// The calling thread is the event thread from now on.
  func claimLoopThread() { loopThread.store(UInt(pthread_self()), ordering: .releasing) }

  /// Leaves a command; false when the loop takes no more.
  func submit(_ command: Command) -> Bool {
    let (accepted, wasEmpty) = state.withLock { state in
      guard !state.isStopping else { return (false, false) }
      let wasEmpty = state.commands.isEmpty
      state.commands.append(command)
      return (true, wasEmpty)
    }
    // Where the queue was not empty, whoever filled it has woken the loop; and the loop looks before it sleeps.
    if wasEmpty, !isOnLoopThread { wake() }
    return accepted
  }

  /// No more commands are taken; the loop ends.
  func stop() {
    state.withLock { $0.isStopping = true }
    wake()
  }

  /// Takes everything that was left, in order. Once `isStopping` is reported, nothing comes after.
  func take() -> (commands: [Command], isStopping: Bool) {
    state.withLock { state in
      defer { state.commands = [] }
      return (state.commands, state.isStopping)
    }
  }

  var isIdle: Bool { state.withLock { $0.commands.isEmpty && !$0.isStopping } }

  /// Makes the descriptor unreadable again.
  func clearWake() {
    var count: UInt64 = 0
    _ = read(wakeDescriptor, &count, 8)
  }

  private func wake() {
    var one: UInt64 = 1
    _ = write(wakeDescriptor, &one, 8)
  }
}
