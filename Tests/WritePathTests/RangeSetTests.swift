import Testing

@testable import WritePath

@Suite struct RangeSetTests {
  /// The same set as a bitmap.
  private struct Bitmap {
    var bits = [Bool](repeating: false, count: 64)

    func runs(of value: Bool, in range: Range<UInt64>) -> [Range<UInt64>] {
      var runs: [Range<UInt64>] = []
      for index in range where bits[Int(index)] == value {
        if let last = runs.last, last.upperBound == index {
          runs[runs.count - 1] = last.lowerBound..<index + 1
        } else {
          runs.append(index..<index + 1)
        }
      }
      return runs
    }
  }

  @Test(arguments: 0..<8) func agreesWithABitmap(seed: Int) {
    var random = Random(UInt64(seed) + 1)
    for _ in 0..<15 {
      var set = RangeSet64()
      var model = Bitmap()
      for _ in 0..<30 {
        let (a, b) = (UInt64(random.below(64)), UInt64(random.below(65)))
        let range = min(a, b)..<max(a, b)
        switch random.below(5) {
        case 0:
          set.removeAll(from: a)
          for index in a..<64 { model.bits[Int(index)] = false }
        case 1, 2, 3:
          set.insert(range)
          for index in range { model.bits[Int(index)] = true }
        default: set.insert(a..<a)
        }
        let inside = model.runs(of: true, in: range)
        #expect(set.ranges == model.runs(of: true, in: 0..<64))
        #expect(set.contains(range) == (range.isEmpty || inside == [range]))
        #expect(set.intersects(range) == !inside.isEmpty)
        #expect(set.gaps(in: range) == model.runs(of: false, in: range))
        #expect(set.byteCount == UInt64(model.bits.count { $0 }))
        #expect(set.isEmpty == !model.bits.contains(true))
      }
    }
  }

  @Test func theLargestOffsetsDoNotOverflow() {
    var set = RangeSet64()
    let top = UInt64.max
    set.insert(top - 1..<top)
    #expect(set.intersects(top - 1..<top))
    #expect(!set.intersects(0..<top - 1))
    #expect(set.gaps(in: 0..<top) == [0..<top - 1])
    set.insert(0..<top)
    #expect(set.byteCount == top)
    #expect(set.contains(0..<top))
    set.removeAll(from: top)
    set.removeAll(from: 1)
    #expect(set.ranges == [0..<1])
  }
}

@Suite struct PartLayoutTests {
  @Test func partsFollowEachOther() {
    var end: UInt64 = 0
    for index in 0..<PartLayout.maximumPartCount {
      #expect(PartLayout.partStart(index) == end)
      end += PartLayout.partSize(index)
      if index % 499 == 0 || index % 1000 > 997 || index % 1000 < 2 {
        #expect(PartLayout.partIndex(containing: PartLayout.partStart(index)) == index)
        #expect(PartLayout.partIndex(containing: end - 1) == index)
        #expect(PartLayout.range(ofPart: index, size: end) == PartLayout.partStart(index)..<end)
        #expect(PartLayout.partCount(size: end) == index + 1)
      }
    }
    #expect(end > PartLayout.maximumObjectSize)
  }

  @Test func theLargestObjectFits() {
    let count = PartLayout.partCount(size: PartLayout.maximumObjectSize)
    #expect(count == 9282)
    #expect(count <= 10_000)
    #expect(PartLayout.range(ofPart: count - 1, size: PartLayout.maximumObjectSize).upperBound == 5 << 40)
    #expect((0..<10_000).allSatisfy { (5 << 20...5 << 30).contains(PartLayout.partSize($0)) })
  }

  @Test func smallSizes() {
    let part = PartLayout.firstPartSize
    #expect(PartLayout.partCount(size: 0) == 1)
    #expect(PartLayout.partCount(size: 1) == 1)
    #expect(PartLayout.partCount(size: part) == 1)
    #expect(PartLayout.partCount(size: part + 1) == 2)
    #expect(PartLayout.range(ofPart: 0, size: 0).isEmpty)
    #expect(PartLayout.range(ofPart: 1, size: part).isEmpty)
    #expect(PartLayout.range(ofPart: 1, size: part + 5) == part..<part + 5)
  }

  @Test(arguments: [UInt64.max, UInt64(1) << 63, UInt64(1) << 62, UInt64(6) << 40, UInt64(8) << 40])
  func numbersOutOfRangeDoNotTrap(offset: UInt64) {
    #expect((0..<10_000).contains(PartLayout.partIndex(containing: offset)))
    #expect((1...10_000).contains(PartLayout.partCount(size: offset)))
    #expect(PartLayout.partStart(.max) > 0)
    #expect(PartLayout.partSize(.min) == PartLayout.firstPartSize)
    #expect(PartLayout.range(ofPart: .max, size: 10).isEmpty)
  }
}
