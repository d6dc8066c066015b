import Testing

@testable import WritePath

@Suite struct UploadPlanTests {
  private let mebi: UInt64 = 1 << 20

  private func set(_ ranges: Range<UInt64>...) -> RangeSet64 {
    ranges.reduce(into: RangeSet64()) { $0.insert($1) }
  }

  /// What S3 demands of every plan, and that no changed byte is copied.
  private func check(_ plan: UploadPlan, size: UInt64, dirty: RangeSet64, baseLimit: UInt64) {
    #expect(plan.parts.count <= PartLayout.maximumPartCount)
    var position: UInt64 = 0
    for (index, part) in plan.parts.enumerated() {
      #expect(part.number == index + 1)
      #expect(part.range.lowerBound == position)
      let length = part.range.upperBound - part.range.lowerBound
      #expect(length <= 5 << 30)
      #expect(length >= UploadPlan.minimumPartSize || part.range.upperBound == size, "part \(part)")
      if part.isCopy {
        #expect(!dirty.intersects(part.range) && part.range.upperBound <= baseLimit)
      }
      position = part.range.upperBound
    }
    #expect(position == size)
  }

  @Test func aPatchInTheMiddleIsSentWithItsNeighbourhood() {
    let size = 512 * mebi
    let dirty = set(256 * mebi..<256 * mebi + 4096)
    let plan = UploadPlan(size: size, dirty: dirty, baseLimit: size)
    check(plan, size: size, dirty: dirty, baseLimit: size)
    let sent = plan.parts.filter { !$0.isCopy }
    #expect(sent.map(\.range) == [256 * mebi..<261 * mebi])
    #expect(plan.parts.count < 8)
  }

  @Test func anAppendedTailAloneIsSent() {
    let (before, size) = (100 * mebi, 100 * mebi + 7)
    let dirty = set(before..<size)
    let plan = UploadPlan(size: size, dirty: dirty, baseLimit: before)
    check(plan, size: size, dirty: dirty, baseLimit: before)
    #expect(plan.parts.filter { !$0.isCopy }.map(\.range) == [before..<size])
  }

  @Test func aTruncatedObjectIsOnlyCopied() {
    let plan = UploadPlan(size: 33 * mebi, dirty: RangeSet64(), baseLimit: 33 * mebi)
    #expect(!plan.parts.contains { !$0.isCopy })
    check(plan, size: 33 * mebi, dirty: RangeSet64(), baseLimit: 33 * mebi)
  }

  @Test func aChangedHeaderIsSentWithWhatItNeeds() {
    let dirty = set(0..<100)
    let plan = UploadPlan(size: 40 * mebi, dirty: dirty, baseLimit: 40 * mebi)
    check(plan, size: 40 * mebi, dirty: dirty, baseLimit: 40 * mebi)
    #expect(plan.parts.first { !$0.isCopy }?.range == 0..<5 * mebi)
  }

  @Test func withoutABaseThePartsAreThoseThatAreStreamed() {
    let plan = UploadPlan(size: 20 * mebi, dirty: set(0..<20 * mebi), baseLimit: 0)
    #expect(plan == UploadPlan(size: 20 * mebi))
    #expect(plan.parts.map(\.range.lowerBound) == [0, 8 * mebi, 16 * mebi])
  }

  /// Changes everywhere in the largest object.
  @Test func anyNumberOfChangesFitsIntoTheParts() {
    let size: UInt64 = 5 << 40
    var dirty = RangeSet64()
    for start in stride(from: 0, to: size, by: Int(16 * mebi)) { dirty.insert(start..<start + 1) }
    let plan = UploadPlan(size: size, dirty: dirty, baseLimit: size)
    check(plan, size: size, dirty: dirty, baseLimit: size)
  }

  @Test(arguments: 1...200) func everyPlanIsOneThatS3Takes(seed: UInt64) {
    var random = Random(seed)
    let before = UInt64(random.below(300)) * mebi + UInt64(random.below(3))
    var dirty = RangeSet64()
    for _ in 0..<random.below(12) {
      let start = UInt64(random.below(300 << 20))
      let end = start + UInt64(1 + random.below(9 << 20))
      dirty.insert(start..<end)
    }
    var size = max(before, dirty.ranges.last?.upperBound ?? 0)
    // What lies beyond the base is all new.
    dirty.insert(before..<size)
    if random.below(3) == 0 {
      size = UInt64(random.below(Int(size) + 1))
      dirty.removeAll(from: size)
    }
    guard size > 0 else { return }
    let limit = min(before, size)
    check(UploadPlan(size: size, dirty: dirty, baseLimit: limit), size: size, dirty: dirty, baseLimit: limit)
  }
}
