import Filesystem
import SystemPackage
import Testing

@testable import AccountTree

@Suite struct SlotTests {
  @Test func numbersOfTwoBucketsDiffer() throws {
    let (first, second) = (Slot(number: 1), Slot(number: UInt16.max))
    for number in [1, 2, 77, 1 << 48 - 1] as [UInt64] {
      for slot in [first, second] {
        let split = Slot.split(try slot.number(of: number))
        #expect(split.slot == slot && split.inBucket == number)
      }
      #expect(try first.number(of: number) != second.number(of: number))
    }
    #expect(first.directory == (try first.inode(.root)))
    #expect(throws: Errno.overflow) { try first.number(of: 1 << 48) }
    // The root's own numbers are what they are.
    #expect(Slot.split(1).slot == .root && Slot.split(1).inBucket == 1)
  }

  @Test func fileNumbersOfTwoBucketsDiffer() {
    let (first, second) = (FileNumbers(bucket: "first"), FileNumbers(bucket: "second"))
    let numbers: [UInt64] = [1, 2, 3, .max, 0xcbf2_9ce4_8422_2325]
    #expect(Set(numbers.flatMap { [first.shown($0), second.shown($0)] }).count == 2 * numbers.count)
    #expect(first.shown(5) == FileNumbers(bucket: "first").shown(5))
    // Neither 0 nor the number of the mount's root.
    for taken in [0, 1] as [UInt64] {
      let before = FileNumbers(bucket: "").shown(0) ^ taken
      #expect(FileNumbers(bucket: "").shown(before) > 1)
    }
  }
}

@Suite struct BucketNameTests {
  @Test(arguments: ["abc", "a-b-c", "123", String(repeating: "x", count: 63)])
  func good(_ name: String) { #expect(BucketName.problem(with: name) == nil) }

  @Test(arguments: ["ab", "", "Abc", "a.b.c", "a_b", "-abc", "abc-", "é23"])
  func bad(_ name: String) { #expect(BucketName.problem(with: name) == .invalidArgument) }

  @Test func long() { #expect(BucketName.problem(with: String(repeating: "x", count: 64)) == .fileNameTooLong) }

  @Test func whatDesktopsLookForIsNoBucket() {
    #expect(!BucketName.canBeListed(".Trash-1000") && !BucketName.canBeListed("..") && !BucketName.canBeListed("a/b"))
    #expect(BucketName.canBeListed("Old_Bucket.of.2009"))
  }
}

@Suite struct BucketBookTests {
  private static let second: UInt64 = 1_000_000_000
  private let start = 100 * second

  private func names(_ book: BucketBook) -> [String] { book.buckets.keys.map(\.string).sorted() }

  private func answer(_ names: String..., isWhole: Bool = true) -> BucketAnswer {
    BucketAnswer(names.map { FakeAccount.bucket($0) }, isWhole: isWhole)
  }

  private func names(_ texts: String...) -> [FileName] { texts.map { FileName($0) } }

  @Test func anAnswerIsBelievedForItsLifetime() {
    var book = BucketBook(lifetime: 10)
    #expect(book.advice(now: start) == .ask(waits: true))
    #expect(book.advice(now: start) == .wait)
    #expect(book.heard(answer("aaa", "bbb"), askedAt: start).appeared == names("aaa", "bbb"))
    #expect(book.advice(now: start + 9 * Self.second) == .answer)
    #expect(book.remaining(now: start + 4 * Self.second) == 6)
    #expect(book.advice(now: start + 10 * Self.second) == .ask(waits: true))
    let change = book.heard(answer("bbb", "ccc"), askedAt: start + 10 * Self.second)
    #expect(change == BucketBook.Change(appeared: names("ccc"), vanished: names("aaa")))
    #expect(names(book) == ["bbb", "ccc"])
  }

  @Test func withoutALifetimeEveryQuestionIsAsked() {
    var book = BucketBook(lifetime: 0)
    for step in 0..<3 as Range<UInt64> {
      #expect(book.advice(now: start + step) == .ask(waits: true))
      _ = book.heard(answer("aaa"), askedAt: start + step)
      #expect(book.remaining(now: start + step) == 0)
    }
  }

  @Test func whatIsKnownStaysWhileNobodyAnswers() {
    var book = BucketBook(lifetime: 10)
    _ = book.heard(answer("aaa"), askedAt: start)
    var now = start + 10 * Self.second
    #expect(book.advice(now: now) == .ask(waits: true))
    book.failed(.ioError, now: now)
    #expect(book.problem == .ioError && names(book) == ["aaa"])
    // One second, then two, then four; and nobody waits for the questions between.
    for quiet in [1, 2, 4, 8, 16, 30, 30] as [UInt64] {
      #expect(book.advice(now: now + quiet * Self.second - 1) == .answer)
      now += quiet * Self.second
      #expect(book.advice(now: now) == .ask(waits: false))
      #expect(book.advice(now: now) == .answer)
      book.failed(.timedOut, now: now)
    }
    _ = book.advice(now: now + 30 * Self.second)
    #expect(book.heard(answer("aaa", "bbb"), askedAt: now + 30 * Self.second).appeared == names("bbb"))
    #expect(book.problem == nil)
    #expect(book.advice(now: now + 31 * Self.second) == .answer)
  }

  @Test func whoHasWaitedInVainWaitsAlone() {
    var book = BucketBook(lifetime: 10)
    #expect(book.advice(now: start) == .ask(waits: true))
    book.noteOverdue()
    #expect(book.problem == .timedOut)
    #expect(book.advice(now: start) == .answer)
    _ = book.heard(answer("aaa"), askedAt: start)
    #expect(book.problem == nil)
    book.noteOverdue()
    #expect(book.problem == nil)
  }

  @Test func forASlowAnswerNobodyWaitsWhoKnowsEnough() {
    var book = BucketBook(lifetime: 10)
    _ = book.heard(answer("aaa"), askedAt: start)
    let later = start + 10 * Self.second
    #expect(book.advice(now: later, isKnown: true) == .ask(waits: true))
    book.noteSlow()
    #expect(book.advice(now: later, isKnown: true) == .answer && book.advice(now: later) == .wait)
    _ = book.heard(answer("aaa"), askedAt: later, wasSlow: true)
    // Nor for the next one.
    let again = later + 10 * Self.second
    #expect(book.advice(now: again, isKnown: true) == .ask(waits: false))
    #expect(book.advice(now: again) == .wait)
    _ = book.heard(answer("aaa"), askedAt: again)
    #expect(book.advice(now: again + 10 * Self.second, isKnown: true) == .ask(waits: true))
  }

  @Test func anAnswerToAnEarlierQuestionKnowsNothingOfOwnChanges() {
    var book = BucketBook(lifetime: 10)
    _ = book.heard(answer("aaa", "bbb"), askedAt: start)
    book.made(FakeAccount.bucket("ccc"), now: start + 20)
    book.removed(FileName("aaa"), now: start + 20)
    let early = book.heard(answer("aaa", "bbb"), askedAt: start + 10)
    #expect(early == BucketBook.Change() && names(book) == ["bbb", "ccc"])
    let late = book.heard(answer("aaa", "bbb"), askedAt: start + 30)
    #expect(late.appeared == names("aaa") && late.vanished == names("ccc"))
  }

  @Test func whoIsMissingInAPartOfTheListHasNotVanished() {
    var book = BucketBook(lifetime: 10)
    _ = book.heard(answer("aaa", "bbb"), askedAt: start)
    // Which is said once, until it changes.
    #expect(book.heard(answer("bbb", isWhole: false), askedAt: start + 1) == BucketBook.Change(isPartNow: true))
    #expect(book.heard(answer("bbb", isWhole: false), askedAt: start + 2) == BucketBook.Change())
    #expect(names(book) == ["aaa", "bbb"])
    #expect(book.heard(answer("aaa", "bbb"), askedAt: start + 3) == BucketBook.Change())
    #expect(book.heard(answer("bbb", isWhole: false), askedAt: start + 4).isPartNow)
    #expect(names(book) == ["aaa", "bbb"])
  }

  @Test func theTierThatTheListDoesNotSayIsRemembered() {
    var book = BucketBook(lifetime: 10)
    var made = FakeAccount.bucket("aaa")
    made.tier = "enterprise"
    book.made(made, now: start)
    _ = book.heard(answer("aaa"), askedAt: start + 1)
    #expect(book.buckets[FileName("aaa")]?.tier == "enterprise")
  }
}
