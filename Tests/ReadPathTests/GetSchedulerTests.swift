import Synchronization
import Testing

@testable import ReadPath

@Suite struct GetSchedulerTests {
  /// A GET that ends when the test says so.
  private final class Job: ScheduledGet {
    let name: String
    let log: Log
    let endsAtOnce: Bool
    private let done = Mutex<(@Sendable () -> Void)?>(nil)

    init(_ name: String, _ log: Log, endsAtOnce: Bool = false) {
      self.name = name
      self.log = log
      self.endsAtOnce = endsAtOnce
    }

    func start(done: @escaping @Sendable () -> Void) {
      log.add(name)
      if endsAtOnce { done() } else { self.done.withLock { $0 = done } }
    }

    func end() {
      let done = self.done.withLock { done in
        defer { done = nil }
        return done
      }
      done?()
    }
  }

  private final class Log: Sendable {
    private let names = Mutex<[String]>([])
    var started: [String] { names.withLock { $0 } }
    func add(_ name: String) { names.withLock { $0.append(name) } }
  }

  @Test func limitHoldsAndDemandGoesFirst() {
    let log = Log()
    let scheduler = GetScheduler(limit: 2)
    let first = Job("first", log)
    let second = Job("second", log)
    scheduler.submit(first, .demand)
    scheduler.submit(second, .demand)
    scheduler.submit(Job("guess", log), .ahead)
    scheduler.submit(Job("wanted", log), .demand)
    #expect(log.started == ["first", "second"])
    first.end()
    #expect(log.started == ["first", "second", "wanted"])
    second.end()
    #expect(log.started == ["first", "second", "wanted", "guess"])
  }

  @Test func severalTakeTurns() {
    let log = Log()
    let turns = GetTurns(limit: 1, isShared: true)
    let (many, few) = (GetScheduler(turns), GetScheduler(turns))
    let first = Job("first", log)
    many.submit(first, .demand)
    for number in 0..<3 { many.submit(Job("many \(number)", log, endsAtOnce: true), .demand) }
    many.submit(Job("guess", log, endsAtOnce: true), .ahead)
    for number in 0..<2 { few.submit(Job("few \(number)", log, endsAtOnce: true), .demand) }
    let last = Job("few guess", log, endsAtOnce: true)
    few.submit(last, .ahead)
    // What is withdrawn from one is not taken from the other.
    #expect(!many.withdraw(last) && few.withdraw(last))
    few.submit(last, .ahead)
    first.end()
    #expect(
      log.started == ["first", "few 0", "many 0", "few 1", "many 1", "many 2", "few guess", "guess"])
  }

  /// A bucket whose server does not answer keeps its turns for long.
  @Test func oneThatNeverEndsLeavesTurnsForOthers() {
    let log = Log()
    let turns = GetTurns(limit: 8, isShared: true)
    let (silent, other) = (GetScheduler(turns), GetScheduler(turns))
    for number in 0..<20 { silent.submit(Job("silent \(number)", log), .demand) }
    #expect(log.started.count == 6)
    for number in 0..<50 { other.submit(Job("other \(number)", log, endsAtOnce: true), .demand) }
    #expect(log.started.count == 56)
  }

  @Test func guessesThatNeverEndLeaveOthersSomeOfTheirs() {
    let log = Log()
    let turns = GetTurns(limit: 16, isShared: true)
    let (silent, other) = (GetScheduler(turns), GetScheduler(turns))
    for number in 0..<20 { silent.submit(Job("silent \(number)", log), .ahead) }
    // Three quarters of the twelve that are for guesses.
    #expect(log.started.count == 9)
    for number in 0..<20 { silent.submit(Job("silent wanted \(number)", log), .demand) }
    #expect(log.started.count == 12)
    for number in 0..<50 { other.submit(Job("other \(number)", log, endsAtOnce: true), .ahead) }
    #expect(log.started.count == 62)
  }

  @Test func whoHasTheFewestUnderWayGoesFirst() {
    let log = Log()
    let turns = GetTurns(limit: 8, isShared: true)
    let (many, few) = (GetScheduler(turns), GetScheduler(turns))
    let jobs = (0..<10).map { Job("many \($0)", log) }
    for job in jobs { many.submit(job, .demand) }
    let wanted = (0..<2).map { Job("few \($0)", log) }
    for job in wanted { few.submit(job, .demand) }
    #expect(log.started == (0..<6).map { "many \($0)" } + ["few 0"])
    jobs[0].end()
    #expect(log.started.last == "few 1")
    wanted[0].end()
    #expect(log.started.last == "few 1")
    wanted[1].end()
    #expect(log.started.last == "many 6")
  }

  @Test func guessesLeaveAQuarterForDemand() {
    let log = Log()
    let scheduler = GetScheduler(limit: 4)
    for number in 0..<6 { scheduler.submit(Job("guess \(number)", log), .ahead) }
    #expect(log.started.count == 3)
    scheduler.submit(Job("wanted", log), .demand)
    #expect(log.started.last == "wanted" && log.started.count == 4)
  }

  @Test func promotedGuessOvertakes() {
    let log = Log()
    let scheduler = GetScheduler(limit: 1)
    let running = Job("running", log)
    scheduler.submit(running, .demand)
    let guesses = (0..<3).map { Job("guess \($0)", log) }
    for guess in guesses { scheduler.submit(guess, .ahead) }
    scheduler.promote(guesses[2])
    #expect(scheduler.withdraw(guesses[0]))
    #expect(!scheduler.withdraw(guesses[0]))
    #expect(!scheduler.withdraw(running))
    running.end()
    #expect(log.started == ["running", "guess 2"])
    guesses[2].end()
    #expect(log.started == ["running", "guess 2", "guess 1"])
  }

  @Test func storesThatAnswerAtOnceDoNotRecurse() {
    let log = Log()
    let scheduler = GetScheduler(limit: 1)
    let running = Job("running", log)
    scheduler.submit(running, .demand)
    // Recursion would overflow the stack of this thread.
    for _ in 0..<50_000 { scheduler.submit(Job("job", log, endsAtOnce: true), .ahead) }
    running.end()
    #expect(log.started.count == 50_001)
  }

  @Test func aLimitOfZeroIsOne() {
    let log = Log()
    let scheduler = GetScheduler(limit: 0)
    scheduler.submit(Job("job", log), .ahead)
    #expect(log.started == ["job"])
  }
}
