import Basics
import Filesystem
import Synchronization
import SystemPackage

/// The account's buckets, asked for when somebody wants to know and what is known is too old: once for all who wait.
///
/// Thread-safe. `state` is the only lock; nothing is called while it is held.
final class BucketList: Sendable {
  /// What is known at a moment.
  struct View: Sendable {
    var buckets: [FileName: AccountBucket]
    /// Why this may be out of date; nil when it is not.
    var problem: Errno?
    /// Seconds for which it may be believed.
    var lifetime: Double

    /// A bucket of that name; nil when it is known that there is none.
    /// - Throws: when nobody knows.
    func bucket(_ name: FileName) throws(Errno) -> AccountBucket? {
      if let bucket = buckets[name] { return bucket }
      if let problem { throw problem }
      return nil
    }
  }

  private struct State {
    var book: BucketBook
    /// What was said of single buckets, where the list leaves something out, and until when it is believed (monotonic).
    var details: [FileName: (bucket: AccountBucket?, until: UInt64)] = [:]
    var waiters: [Int: Basics.Semaphore] = [:]
    var nextWaiter = 0
  }

  /// What somebody wants to know.
  enum Question: Hashable, Sendable {
    /// Which buckets there are.
    case all
    /// Whether there is one of that name: a name that is known is good for an answer.
    case bucket(FileName)
    /// Something that may be out of date.
    case roughly
  }

  /// Seconds for which somebody waits for news.
  private static let patience = 10.0
  /// The same for somebody who can be told what was known. Every path goes through here: it must not stand still with
  /// the service.
  private static let shortPatience = 1.0

  private let directory: any BucketDirectory
  private let time: TimeSource
  private let noteChange: @Sendable (BucketBook.Change) -> Void
  private let state: Mutex<State>

  /// - Parameters:
  ///   - first: what the account has now.
  ///   - lifetime: seconds for which an answer is believed.
  ///   - noteChange: called after an answer that changed something; it must not block for long.
  init(
    _ directory: any BucketDirectory, first: BucketAnswer, lifetime: Double, time: TimeSource,
    noteChange: @escaping @Sendable (BucketBook.Change) -> Void
  ) {
    self.directory = directory
    self.time = time
    self.noteChange = noteChange
    var book = BucketBook(lifetime: lifetime)
    _ = book.heard(first, askedAt: time.monotonic)
    state = Mutex(State(book: book))
  }

  /// What is known, after asking if need be. Blocks for some seconds at most, and less when the caller gives up.
  func current(_ question: Question, _ cancellation: Cancellation? = nil) -> View {
    let now = time.monotonic
    let waiter = Basics.Semaphore()
    let (advice, number, isKnown) = state.withLock { state in
      let isKnown = state.book.knows(question)
      let advice = state.book.advice(now: now, isKnown: isKnown)
      guard advice == .wait || advice == .ask(waits: true) else { return (advice, nil as Int?, isKnown) }
      defer { state.nextWaiter += 1 }
      state.waiters[state.nextWaiter] = waiter
      return (advice, state.nextWaiter, isKnown)
    }
    if case .ask = advice {
      // A thread of its own: who waits may give up, and the answer counts all the same.
      if let thread = Thread.start(name: "waysfs-buckets", { self.ask() }) { thread.detach() } else { ask() }
    }
    guard let number, !wait(waiter, number, isKnown: isKnown, cancellation), !isKnown else { return view }
    var view = view
    view.problem = view.problem ?? .interrupted
    return view
  }

  /// What is known, without asking.
  var view: View {
    let now = time.monotonic
    return state.withLock { state in
      View(
        buckets: state.book.buckets, problem: state.book.problem, lifetime: state.book.remaining(now: now))
    }
  }

  /// A bucket with all that the service says of it: asks for it alone where the list leaves something out, once in a
  /// lifetime. Blocks. What nobody says is left out.
  func details(of bucket: AccountBucket, _ cancellation: Cancellation?) -> AccountBucket {
    guard !bucket.isWhole else { return bucket }
    let (name, now) = (FileName(bucket.name), time.monotonic)
    let (known, lifetime) = state.withLock { ($0.details[name], $0.book.lifetime) }
    var said = known?.bucket
    if known.map({ $0.until <= now }) ?? true {
      do throws(Errno) { said = try directory.details(of: bucket.name, cancellation) } catch {}
      let answer = said
      state.withLock { $0.details[name] = (answer, now &+ UInt64(lifetime * 1e9)) }
    }
    return said.map(bucket.completed) ?? bucket
  }

  func made(_ bucket: AccountBucket) {
    let now = time.monotonic
    state.withLock { $0.book.made(bucket, now: now) }
  }

  func removed(_ name: FileName) {
    let now = time.monotonic
    state.withLock { state in
      state.book.removed(name, now: now)
      state.details[name] = nil
    }
  }

  /// What is known has turned out to be wrong.
  func expire() { state.withLock { $0.book.expire() } }

  private func ask() {
    let askedAt = time.monotonic
    let change: BucketBook.Change
    do throws(Errno) {
      let answer = try directory.list()
      let seconds = Double(time.monotonic - askedAt) / 1e9
      change = state.withLock {
        $0.book.heard(answer, askedAt: askedAt, wasSlow: seconds > Self.shortPatience)
      }
    } catch {
      let now = time.monotonic
      state.withLock { $0.book.failed(error, now: now) }
      change = BucketBook.Change()
    }
    if change != BucketBook.Change() { noteChange(change) }
    let waiters = state.withLock { state in
      defer { state.waiters = [:] }
      return state.waiters.values.map(\.self)
    }
    for waiter in waiters { waiter.signal() }
  }

  /// Blocks until the question that is under way is answered, the caller gives up, or it takes too long.
  /// - Returns: whether it was answered, well or not.
  private func wait(
    _ waiter: Basics.Semaphore, _ number: Int, isKnown: Bool, _ cancellation: Cancellation?
  ) -> Bool {
    let token = cancellation?.addHandler { waiter.signal() }
    waiter.wait(seconds: isKnown ? Self.shortPatience : Self.patience)
    cancellation?.removeHandler(token)
    return state.withLock { state in
      let isAnswered = state.waiters.removeValue(forKey: number) == nil
      guard !isAnswered, cancellation?.isCancelled != true else { return isAnswered }
      if isKnown { state.book.noteSlow() } else { state.book.noteOverdue() }
      return false
    }
  }
}

extension BucketBook {
  /// Whether what is known is an answer.
  fileprivate func knows(_ question: BucketList.Question) -> Bool {
    switch question {
    case .all: false
    case .bucket(let name): buckets[name] != nil
    case .roughly: true
    }
  }
}
