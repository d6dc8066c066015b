import Basics
import Dispatch
import HTTPTransport
import Synchronization
import Testing

/// Cancellation, limits, re-entrancy, timers, and the end.
@Suite struct LifecycleTests {
  private static let ok = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"

  private func code(_ outcome: Outcome?) -> HTTPError.Code? {
    if case .failure(let error)? = outcome { error.code } else { nil }
  }

  /// A server that reports each request it has read and answers nothing.
  private func silentServer(_ arrived: Reports<String>, start: String = "") -> ScriptedServer {
    ScriptedServer { connection in
      guard let request = try connection.readRequest() else { return }
      try connection.write(start)
      arrived.report(request.line)
      try connection.readToEnd()
    }
  }

  private func configuration(perHost: Int) -> HTTPTransport.Configuration {
    var configuration = HTTPTransport.Configuration()
    configuration.connectionsPerHost = perHost
    return configuration
  }

  @Test(arguments: ["", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n123"])
  func cancelledWhileUnderWay(start: String) throws {
    let arrived = Reports<String>()
    let server = silentServer(arrived, start: start)
    try withServer(server) { transport in
      let cancellation = Cancellation()
      let outcome = transport.start(HTTPRequest(.get, server.url()), cancellation: cancellation)
      _ = arrived.next()
      cancellation.cancel()
      #expect(code(outcome.next()) == .cancelled)
      cancellation.cancel()
      transport.shutdown()
      #expect(outcome.all.count == 1)
    }
  }

  @Test func cancelledFromTheBodyCallback() throws {
    let server = silentServer(Reports(), start: "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n123")
    try withServer(server) { transport in
      let cancellation = Cancellation()
      let outcome = Reports<Outcome>()
      transport.send(
        HTTPRequest(.get, server.url()), cancellation: cancellation,
        destination: { _ in
          .deliver { _ in
            cancellation.cancel()
            return true
          }
        }, completion: { outcome.report($0) })
      #expect(code(outcome.next()) == .cancelled)
    }
  }

  @Test func cancelledInTheQueueOrBeforeNeverStarts() throws {
    let arrived = Reports<String>()
    let server = silentServer(arrived)
    try withServer(server, configuration(perHost: 1)) { transport in
      let first = transport.start(HTTPRequest(.get, server.url("/1")))
      _ = arrived.next()
      let cancellation = Cancellation()
      let second = transport.start(HTTPRequest(.get, server.url("/2")), cancellation: cancellation)
      let third = transport.start(HTTPRequest(.get, server.url("/3")), cancellation: Cancellation())
      cancellation.cancel()
      #expect(code(second.next()) == .cancelled)
      // Cancelled before it was sent.
      let fourth = transport.start(HTTPRequest(.get, server.url("/4")), cancellation: cancellation)
      #expect(code(fourth.next()) == .cancelled)
      transport.shutdown()
      #expect(code(first.next()) == .shutDown)
      #expect(code(third.next()) == .shutDown)
      #expect(arrived.all == ["GET /1 HTTP/1.1"])
    }
  }

  @Test func cancellingAfterTheEndDoesNothing() throws {
    let server = ScriptedServer(answering: { _ in Self.ok })
    try withServer(server) { transport in
      let cancellation = Cancellation()
      let outcome = transport.start(HTTPRequest(.get, server.url()), cancellation: cancellation)
      try #expect(#require(outcome.next()).get().head.status == 200)
      cancellation.cancel()
      try #expect(transport.exchange(HTTPRequest(.get, server.url())).head.status == 200)
      #expect(outcome.all.count == 1)
    }
  }

  /// Many requests, cancelled from other threads at any moment: each reports exactly once.
  @Test func cancellationsRaceWithCompletions() throws {
    let server = ScriptedServer(answering: { _ in Self.ok })
    try withServer(server, configuration(perHost: 8)) { transport in
      let outcomes = Reports<Outcome>()
      let count = 600
      DispatchQueue.concurrentPerform(iterations: count) { index in
        let cancellation = Cancellation()
        _ = transport.start(HTTPRequest(.get, server.url("/\(index)")), cancellation: cancellation, reports: outcomes)
        if index % 2 == 0 { cancellation.cancel() }
      }
      let all = outcomes.next(count)
      #expect(all.count == count)
      for outcome in all { #expect(code(outcome) == nil || code(outcome) == .cancelled) }
      #expect(all.filter { code($0) == nil }.count >= count / 2)
    }
  }

  @Test func noMoreThanTheLimitAndInOrder() throws {
    let parallel = Mutex((now: 0, most: 0))
    let arrived = Reports<String>()
    let gate = DispatchSemaphore(value: 0)
    let server = ScriptedServer { connection in
      while let request = try connection.readRequest() {
        parallel.withLock {
          $0.now += 1
          $0.most = max($0.most, $0.now)
        }
        arrived.report(request.line)
        gate.wait()
        parallel.withLock { $0.now -= 1 }
        try connection.write(Self.ok)
      }
    }
    try withServer(server, configuration(perHost: 3)) { transport in
      let outcomes = Reports<Outcome>()
      for index in 0..<10 { _ = transport.start(HTTPRequest(.get, server.url("/\(index)")), reports: outcomes) }
      #expect(Set(arrived.next(3)) == Set((0..<3).map { "GET /\($0) HTTP/1.1" }))
      for _ in 0..<10 { gate.signal() }
      #expect(outcomes.next(10).allSatisfy { code($0) == nil })
      #expect(parallel.withLock { $0.most } == 3)
      #expect(arrived.all.count == 10)
    }
    #expect(server.accepted == 3)
    #expect(server.mostOpen == 3)
  }

  @Test func theQueueMovesOnAtOnce() throws {
    let server = ScriptedServer(answering: { _ in Self.ok })
    try withServer(server, configuration(perHost: 1)) { transport in
      let outcomes = Reports<Outcome>()
      let start = TimeSource.system.monotonic
      for _ in 0..<200 { _ = transport.start(HTTPRequest(.get, server.url()), reports: outcomes) }
      #expect(outcomes.next(200).count == 200)
      // A loop that sleeps before it looks at the queue needs a quarter of a second for each.
      #expect(TimeSource.system.monotonic - start < 40_000_000_000)
    }
  }

  @Test func completionsMaySendAgain() throws {
    let server = ScriptedServer(answering: { _ in Self.ok })
    try withServer(server, configuration(perHost: 1)) { transport in
      let done = Reports<Int>()
      @Sendable func send(_ index: Int) {
        transport.send(
          HTTPRequest(.get, server.url("/\(index)")), cancellation: nil, destination: { _ in .collect(limit: 0) },
          completion: { _ in
            done.report(index)
            if index < 100 { send(index + 1) }
          })
      }
      send(1)
      #expect(done.next(100) == Array(1...100))
    }
    #expect(server.accepted == 1)
  }

  @Test func shutdownFailsEverythingOnceAndRunsTimers() throws {
    let arrived = Reports<String>()
    let server = silentServer(arrived)
    try withServer(server, configuration(perHost: 2)) { transport in
      let outcomes = Reports<Outcome>()
      let late = Reports<Outcome>()
      let ran = Reports<Int>()
      for _ in 0..<5 { _ = transport.start(HTTPRequest(.get, server.url()), reports: outcomes) }
      transport.schedule(after: 2000) { ran.report(2) }
      transport.schedule(after: 1000) {
        ran.report(1)
        _ = transport.start(HTTPRequest(.get, server.url()), reports: late)
      }
      _ = arrived.next(2)
      transport.shutdown()
      // Everything has been reported when shutdown returns.
      #expect(outcomes.all.map(code) == Array(repeating: .shutDown, count: 5))
      #expect(ran.all == [1, 2])
      #expect(late.all.map(code) == [.shutDown])
      transport.shutdown()
      #expect(code(transport.start(HTTPRequest(.get, server.url())).all.last) == .shutDown)
      transport.schedule(after: 1000) { ran.report(3) }
      #expect(ran.all == [1, 2, 3])
      #expect(arrived.all.count == 2)
    }
  }

  @Test func shutdownFromACompletion() throws {
    let server = ScriptedServer(answering: { _ in Self.ok })
    try withServer(server) { transport in
      let done = Reports<Void>()
      transport.send(
        HTTPRequest(.get, server.url()), cancellation: nil, destination: { _ in .collect(limit: 0) },
        completion: { _ in
          transport.shutdown()
          done.report(())
        })
      #expect(done.next() != nil)
      transport.shutdown()
    }
  }

  @Test func theLastReferenceMayGoOnTheEventThread() throws {
    let server = ScriptedServer(answering: { _ in Self.ok })
    defer { server.stop() }
    let gone = Reports<Void>()
    do {
      let transport = try HTTPTransport()
      let witness = Witness { gone.report(()) }
      transport.schedule(after: 0.01) { [transport] in
        transport.send(
          HTTPRequest(.get, server.url()), cancellation: nil, destination: { _ in .collect(limit: 0) },
          completion: { _ in
            _ = transport
            _ = witness
          })
      }
    }
    #expect(gone.next() != nil)
  }

  @Test func concurrentShutdownsAllWait() throws {
    let arrived = Reports<String>()
    let server = silentServer(arrived)
    try withServer(server) { transport in
      let outcome = transport.start(HTTPRequest(.get, server.url()))
      _ = arrived.next()
      DispatchQueue.concurrentPerform(iterations: 4) { _ in
        transport.shutdown()
        #expect(outcome.all.count == 1)
      }
    }
  }

  @Test func timersRunInOrderAndNotEarly() throws {
    let transport = try HTTPTransport()
    let order = Reports<Int>()
    let start = TimeSource.system.monotonic
    transport.schedule(after: 0.2) { order.report(3) }
    transport.schedule(after: 0.1) { order.report(2) }
    transport.schedule(after: -1) { order.report(1) }
    transport.schedule(after: .nan) { order.report(0) }
    transport.schedule(after: 1e300) { order.report(9) }
    #expect(order.next(4).suffix(2) == [2, 3])
    #expect(TimeSource.system.monotonic - start >= 200_000_000)
  }
}

/// Tells when it goes away.
private final class Witness: Sendable {
  private let gone: @Sendable () -> Void

  init(_ gone: @escaping @Sendable () -> Void) { self.gone = gone }

  deinit { gone() }
}
