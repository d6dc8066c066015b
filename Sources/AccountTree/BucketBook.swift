import Filesystem
import SystemPackage

/// What is known of an account's buckets: says when to ask again, and what an answer has changed. A value, without I/O;
/// times are those of the monotonic clock, in nanoseconds.
struct BucketBook: Sendable {
  /// What to do before a question about buckets is answered.
  enum Advice: Hashable, Sendable {
    /// Answer.
    case answer
    /// Ask the service, and report by `heard` or `failed`.
    /// - Parameter waits: whether the answer is worth waiting for.
    case ask(waits: Bool)
    /// Wait for somebody who is asking.
    case wait
  }

  /// What an answer has changed.
  struct Change: Hashable, Sendable {
    var appeared: [FileName] = []
    var vanished: [FileName] = []
    /// Whether from now on the answers are only a part.
    var isPartNow = false
  }

  /// Seconds for which an answer is believed.
  let lifetime: Double
  private(set) var buckets: [FileName: AccountBucket] = [:]
  /// Whether the last answer was only a part.
  private var isPart = false
  /// Why the last question was not answered; nil when it was.
  private(set) var problem: Errno?
  private var freshUntil: UInt64 = 0
  private var isAsking = false
  /// Whether the last answer took so long that nobody waits for the next who can be told what was known.
  private(set) var isSlow = false
  private var failures = 0
  /// After a failure nobody is asked before this.
  private var quietUntil: UInt64 = 0
  /// When this mount made or removed a bucket: an answer to an earlier question knows nothing of it.
  private var changedAt: [FileName: UInt64] = [:]

  /// Seconds between two questions to a service that does not answer.
  private static let longestQuiet = 30.0

  init(lifetime: Double) { self.lifetime = lifetime }

  /// What is to be done by somebody who wants to know.
  /// - Parameter isKnown: whether what is known already is an answer, though maybe an old one.
  mutating func advice(now: UInt64, isKnown: Bool = false) -> Advice {
    // As long as the service does not answer, nobody waits for it: buckets that are known go on working.
    let waits = problem == nil && !(isKnown && isSlow)
    if isAsking { return waits ? .wait : .answer }
    if now < (problem == nil ? freshUntil : quietUntil) { return .answer }
    isAsking = true
    return .ask(waits: waits)
  }

  /// Somebody who could be told what was known has waited as long as such a one does.
  mutating func noteSlow() {
    if isAsking { isSlow = true }
  }

  /// Somebody has waited in vain.
  mutating func noteOverdue() {
    if isAsking, problem == nil { problem = .timedOut }
  }

  /// The service has answered a question of the time `askedAt`.
  /// - Parameter wasSlow: whether it took longer than who is told what is known should wait.
  mutating func heard(_ answer: BucketAnswer, askedAt: UInt64, wasSlow: Bool = false) -> Change {
    (isAsking, isSlow) = (false, wasSlow)
    (problem, failures, quietUntil) = (nil, 0, 0)
    freshUntil = askedAt &+ UInt64(lifetime * 1e9)
    changedAt = changedAt.filter { $0.value >= askedAt }
    var found: [FileName: AccountBucket] = [:]
    for bucket in answer.buckets {
      let name = FileName(bucket.name)
      guard BucketName.canBeListed(bucket.name), changedAt[name] == nil else { continue }
      var bucket = bucket
      // The service's list does not say it.
      bucket.tier = bucket.tier ?? buckets[name]?.tier
      found[name] = bucket
    }
    for (name, bucket) in buckets where found[name] == nil && (!answer.isWhole || changedAt[name] != nil) {
      found[name] = bucket
    }
    let change = Change(
      appeared: found.keys.filter { buckets[$0] == nil }.sorted(),
      vanished: buckets.keys.filter { found[$0] == nil }.sorted(), isPartNow: !answer.isWhole && !isPart)
    buckets = found
    isPart = !answer.isWhole
    return change
  }

  /// The service has not answered: what is known stays, and it is asked again after a while.
  mutating func failed(_ error: Errno, now: UInt64) {
    isAsking = false
    problem = error
    quietUntil = now &+ UInt64(min(Self.longestQuiet, Double(1 << min(failures, 5))) * 1e9)
    failures += 1
  }

  /// What is known has turned out to be wrong: the next who wants to know asks.
  mutating func expire() { freshUntil = 0 }

  /// This mount has made a bucket.
  mutating func made(_ bucket: AccountBucket, now: UInt64) {
    buckets[FileName(bucket.name)] = bucket
    changedAt[FileName(bucket.name)] = now
  }

  /// This mount has removed a bucket.
  mutating func removed(_ name: FileName, now: UInt64) {
    buckets[name] = nil
    changedAt[name] = now
  }

  /// Seconds for which the kernel may believe what it is told now.
  func remaining(now: UInt64) -> Double {
    // Of a service that does not answer news may come at any time.
    if problem != nil { return min(lifetime, 1) }
    return freshUntil > now ? Double(freshUntil - now) / 1e9 : 0
  }
}

/// What names buckets can have.
enum BucketName {
  /// Why no bucket can be made with this name; nil when one can. S3's rule, and that of the control plane, which knows
  /// no dots.
  static func problem(with name: String) -> Errno? {
    let bytes = Array(name.utf8)
    guard bytes.count <= 63 else { return .fileNameTooLong }
    let hyphen = UInt8(ascii: "-")
    let isAllowed = bytes.allSatisfy { (0x61...0x7A).contains($0) || (0x30...0x39).contains($0) || $0 == hyphen }
    guard bytes.count >= 3, isAllowed, bytes.first != hyphen, bytes.last != hyphen else { return .invalidArgument }
    return nil
  }

  /// Whether a listed bucket can be shown, and is worth asking for: what desktops look for in every directory is none.
  /// Older buckets of other services have capital letters and underscores.
  static func canBeListed(_ name: String) -> Bool {
    let bytes = name.utf8
    return (3...255).contains(bytes.count) && bytes.first != UInt8(ascii: ".")
      && bytes.allSatisfy {
        (0x61...0x7A).contains($0 | 0x20) || (0x30...0x39).contains($0) || [0x2D, 0x2E, 0x5F].contains($0)
      }
  }
}
