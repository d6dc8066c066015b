public import Basics
import CCurl
import Glibc
import Synchronization

/// HTTP/1.1 over libcurl, on one event thread.
///
/// Thread-safe. Callbacks and completions run on the event thread and may call the transport again; they must not
/// block. Redirects are responses like any other, nothing is decompressed, and certificates are always verified.
///
/// - A request whose method changes nothing (GET, HEAD) is sent again when a kept connection turns out to be dead before
///   anything was answered; any other then fails with `connectionLost`, because it may have been applied.
/// - Deadlines run from the moment a transfer leaves the queue. The stall deadline also runs while the server thinks,
///   that is between the last byte sent and the first received; while connecting it runs only without a connect deadline.
/// - A body that is framed by the end of the connection alone (neither `Content-Length` nor chunks) is accepted.
/// - `schedule` after a shutdown runs the work at once, on the caller's thread: work that schedules itself again must
///   have a way to end.
///
/// Make it after the last `fork`: the thread does not survive one.
public final class HTTPTransport: HTTPClient {
  private let configuration: Configuration
  private let inbox: Inbox
  private let time: TimeSource
  private let thread: EventThread

  /// Starts the event thread.
  /// - Throws: `unreachable` when the system has no descriptor, memory or thread left.
  public convenience init(_ configuration: Configuration = Configuration()) throws(HTTPError) {
    try self.init(configuration, time: .system)
  }

  init(_ configuration: Configuration, time: TimeSource) throws(HTTPError) {
    self.configuration = configuration
    self.time = time
    guard curl_global_init(ccurl_global_default) == CURLE_OK, let inbox = Inbox() else {
      throw Self.cannotStart
    }
    self.inbox = inbox
    let started = EventThread {
      inbox.claimLoopThread()
      // Where there is no memory for a loop, requests fail as after a shutdown.
      if let loop = EventLoop(inbox, configuration, time) { loop.run() } else { inbox.stop() }
    }
    guard let started else { throw Self.cannotStart }
    thread = started
  }

  deinit { shutdown() }

  private static var cannotStart: HTTPError {
    HTTPError(.unreachable, "cannot start the HTTP transport: out of descriptors, memory or threads", neverSent: true)
  }

  /// Starts a request; see `HTTPClient`. After a shutdown it fails with `shutDown`, on the caller's thread.
  public func send(
    _ request: HTTPRequest, cancellation: Cancellation?,
    destination: @escaping @Sendable (HTTPResponseHead) -> HTTPBodyDestination,
    completion: @escaping Completion<HTTPResponse, HTTPError>
  ) {
    let target: RequestTarget
    do {
      target = try RequestTarget(request)
    } catch {
      return completion(.failure(error))
    }
    let transfer = Transfer(
      request, target: target, maximumHeadBytes: configuration.maximumHeadBytes, cancellation: cancellation,
      destination: destination, completion: completion)
    if !inbox.submit(.start(transfer)) {
      completion(.failure(transfer.error(.shutDown, "the transport was shut down")))
    }
  }

  /// Runs `work` on the event thread after `seconds`; see `HTTPClient`. After a shutdown it runs at once, on the
  /// caller's thread.
  public func schedule(after seconds: Double, _ work: @escaping @Sendable () -> Void) {
    let deadline = time.monotonic + (seconds > 0 ? nanoseconds(seconds) : 0)
    if !inbox.submit(.schedule(deadline: deadline, work: work)) { work() }
  }

  /// Fails every request that is not complete with `shutDown`, runs scheduled work at once, and ends the event thread.
  ///
  /// Returns when that is done; called on the event thread, it returns at once and the rest happens after. May be
  /// called more than once and from any thread.
  public func shutdown() {
    inbox.stop()
    thread.join(isSelf: inbox.isOnLoopThread)
  }
}
