import Testing

@testable import BlockCache

struct GranuleBookTests {
  private let length = GranuleBook.stretchLength

  @Test func sumsAreReadInStretches() {
    let count = 2 * length + 100
    var book = GranuleBook()
    #expect(book.knows(5..<5) && book.missing(for: 5..<5, of: count) == [])
    #expect(!book.knows(0..<1))
    #expect(book.missing(for: length - 1..<length + 1, of: count) == [0..<length, length..<2 * length])
    book.add(Array(repeating: 1, count: Int(length)), from: 0)
    #expect(book.knows(0..<length) && !book.knows(0..<length + 1))
    #expect(book.missing(for: 0..<count, of: count) == [length..<2 * length, 2 * length..<count])
    book.add(Array(repeating: 2, count: 100), from: 2 * length)
    #expect(book.sum(length - 1) == 1 && book.sum(length) == 0 && book.sum(count - 1) == 2)
    #expect(book.runs(in: length - 2..<length + 2) == [length - 2..<length])
    #expect(
      Dictionary(uniqueKeysWithValues: book.known.map { ($0.first, $0.sums.count) }) == [
        0: Int(length), 2 * length: 100,
      ])
  }

  /// Random changes give what sets of granules give.
  @Test(arguments: UInt64(1)...3) func itIsWhatSetsAre(seed: UInt64) {
    var dice = BlockPoolModelTests.Random(state: seed)
    let range = length - 70..<length + 70
    var (book, sums, verified) = (GranuleBook(), [UInt64: UInt32](), Set<UInt64>())
    for stretch in [0, length] { book.add(Array(repeating: 0, count: Int(length)), from: stretch) }
    for step in 0..<3000 {
      let granule = UInt64.random(in: range, using: &dice)
      switch Int.random(in: 0..<200, using: &dice) {
      case 0..<90:
        let sum = UInt32.random(in: 1...9, using: &dice)
        book.put(granule, sum: sum)
        (sums[granule], _) = (sum, verified.insert(granule))
      case 90..<150:
        book.drop(granule)
        (sums[granule], _) = (nil, verified.remove(granule))
      case 150..<199 where sums[granule] != nil:
        book.verify(granule)
        verified.insert(granule)
      case 199:
        book.forgetVerified()
        verified = []
      default: break
      }
      #expect(book.verified == UInt64(verified.count), "step \(step)")
      #expect(book.sum(granule) == sums[granule] ?? 0, "step \(step)")
    }
    let runs = book.runs(in: range)
    #expect(runs.flatMap { Array($0) } == sums.keys.sorted())
    #expect(zip(runs, runs.dropFirst()).allSatisfy { $0.upperBound < $1.lowerBound })
  }
}
