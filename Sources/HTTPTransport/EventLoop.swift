import Basics
import CCurl
import Synchronization

/// The state of the event thread: libcurl's multi handle, the transfers, and the timers.
///
/// Everything here is used on that thread only and holds no lock, so callbacks and completions may call the transport.
final class EventLoop {
  // How often the speed of the transfers is looked at; a stall is noticed at most this late.
  private static let sweepInterval: UInt64 = 250_000_000
  // Handles carry buffers; after this long without transfers they are given back to the system.
  private static let trimDelay: UInt64 = 5_000_000_000
  // The longest sleep. Nothing depends on it.
  private static let longestWait: UInt64 = 60_000_000_000

  private let inbox: Inbox
  private let configuration: HTTPTransport.Configuration
  private let time: TimeSource
  private let multi: UnsafeMutableRawPointer
  private var queue: AdmissionQueue
  private var timers = TimerQueue<@Sendable () -> Void>()
  private var transfers: [UInt64: Transfer] = [:]
  private var active: [UInt64: Transfer] = [:]
  private var idleHandles: [EasyHandle] = []
  private var nextID: UInt64 = 0
  private var nextSweep: UInt64 = 0
  private var trimTime: UInt64?

  /// Nil when there is no memory.
  init?(_ inbox: Inbox, _ configuration: HTTPTransport.Configuration, _ time: TimeSource) {
    guard let multi = curl_multi_init() else { return nil }
    self.multi = multi
    self.inbox = inbox
    self.configuration = configuration
    self.time = time
    queue = AdmissionQueue(
      perHost: configuration.connectionsPerHost, total: configuration.totalConnections,
      isShared: configuration.isShared)
    ccurl_multi_set_long(multi, CURLMOPT_PIPELINING, 0)
    // This bounds the busy connections too: less than the limit would close each one as soon as its transfer is over.
    ccurl_multi_set_long(multi, CURLMOPT_MAXCONNECTS, max(1, configuration.totalConnections))
  }

  deinit { curl_multi_cleanup(multi) }

  /// Runs until the inbox is stopped.
  func run() {
    while takeCommands() {
      admit()
      var running: Int32 = 0
      curl_multi_perform(multi, &running)
      reportFinished()
      runTimers()
      sweep()
      // What has ended made room; libcurl does not sleep while it has a transfer that was just added.
      admit()
      wait()
    }
    finish()
  }

  // MARK: Commands

  private func takeCommands() -> Bool {
    while true {
      let (commands, isStopping) = inbox.take()
      for command in commands { execute(command) }
      if isStopping { return false }
      // A command may have left another one: a cancellation that had happened before it could be observed.
      if commands.isEmpty { return true }
    }
  }

  private func execute(_ command: Inbox.Command) {
    switch command {
    case .start(let transfer):
      accept(transfer)
    case .cancel(let id):
      if let transfer = transfers[id] { end(transfer, with: .failure(Self.cancelled(transfer))) }
    case .schedule(let deadline, let work):
      timers.add(deadline: deadline, work)
    }
  }

  private func accept(_ transfer: Transfer) {
    nextID += 1
    let id = nextID
    transfer.id = id
    transfers[id] = transfer
    queue.enqueue(id, transfer.lane)
    transfer.cancellationToken = transfer.cancellation?.addHandler { [inbox] in _ = inbox.submit(.cancel(id)) }
  }

  private static func cancelled(_ transfer: Transfer) -> HTTPError {
    transfer.error(.cancelled, "the request was cancelled")
  }

  // MARK: Transfers

  private func admit() {
    while let id = queue.admit() {
      guard let transfer = transfers[id] else { continue }
      active[id] = transfer
      if transfer.cancellation?.isCancelled == true {
        end(transfer, with: .failure(Self.cancelled(transfer)))
      } else {
        start(transfer)
      }
    }
  }

  private func start(_ transfer: Transfer) {
    trimTime = nil
    guard let easy = idleHandles.popLast() ?? EasyHandle() else {
      return end(transfer, with: .failure(transfer.error(.unreachable, "out of memory")))
    }
    transfer.started = time.monotonic
    if transfer.request.deadlines.connect == nil { transfer.beginStallDetection(now: transfer.started) }
    let code = easy.prepare(for: transfer, configuration)
    guard code == CURLE_OK else {
      let reason = String(cString: curl_easy_strerror(code))
      return end(transfer, with: .failure(transfer.error(.invalidRequest, reason)))
    }
    guard curl_multi_add_handle(multi, easy.raw) == CURLM_OK else {
      return end(transfer, with: .failure(transfer.error(.unreachable, "out of memory")))
    }
    transfer.easy = easy
  }

  private func reportFinished() {
    var code = CURLE_OK
    while let raw = ccurl_next_finished(multi, &code) {
      guard let context = ccurl_private(raw) else { continue }
      let transfer = Unmanaged<Transfer>.fromOpaque(context).takeUnretainedValue()
      end(transfer, with: transfer.result(code, now: time.monotonic))
    }
  }

  /// Takes a transfer away from libcurl and from the queue, then reports.
  private func end(_ transfer: Transfer, with result: Result<HTTPResponse, HTTPError>) {
    guard transfers.removeValue(forKey: transfer.id) != nil else { return }
    if let easy = transfer.easy {
      transfer.easy = nil
      curl_multi_remove_handle(multi, easy.raw)
      // libcurl 7.88 does not clean a handle up after a name that did not resolve: its next transfer fails with "a
      // function was given a bad argument". Failures are rare enough to take a new handle after any of them.
      if case .success = result {
        easy.reset()
        idleHandles.append(easy)
      }
    }
    if active.removeValue(forKey: transfer.id) != nil {
      queue.finish(transfer.lane)
      if active.isEmpty { trimTime = time.monotonic + Self.trimDelay }
    } else {
      _ = queue.remove(transfer.id, transfer.lane)
    }
    transfer.complete(result)
  }

  // MARK: Time

  private func runTimers() {
    let now = time.monotonic
    while let work = timers.take(dueAt: now) { work() }
    if let trimTime, trimTime <= now {
      self.trimTime = nil
      idleHandles.removeAll()
      ccurl_release_freed_memory()
    }
  }

  private func sweep() {
    let now = time.monotonic
    guard !active.isEmpty, now >= nextSweep else { return }
    nextSweep = now + Self.sweepInterval
    for transfer in Array(active.values) where transfer.isStalled(now: now) {
      let seconds = transfer.request.deadlines.stall ?? 0
      end(transfer, with: .failure(transfer.error(.stalled, "no progress for \(seconds) seconds")))
    }
  }

  private func wait() {
    let now = time.monotonic
    var until = now + Self.longestWait
    if !active.isEmpty { until = min(until, nextSweep) }
    if let deadline = timers.nextDeadline { until = min(until, deadline) }
    if let trimTime { until = min(until, trimTime) }
    if !inbox.isIdle { until = now }
    // Rounded up: a moment too early would mean to look again, and again.
    let milliseconds = until > now ? (until - now + 999_999) / 1_000_000 : 0
    var wake = curl_waitfd(fd: inbox.wakeDescriptor, events: Int16(CURL_WAIT_POLLIN), revents: 0)
    curl_multi_poll(multi, &wake, 1, Int32(milliseconds), nil)
    if wake.revents != 0 { inbox.clearWake() }
  }

  // MARK: End

  private func finish() {
    for id in transfers.keys.sorted() {
      guard let transfer = transfers[id] else { continue }
      end(transfer, with: .failure(transfer.error(.shutDown, "the transport was shut down")))
    }
    while let work = timers.take(dueAt: .max) { work() }
    idleHandles.removeAll()
  }
}
