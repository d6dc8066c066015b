import BlockCache
import Testing

@Suite struct GranuleMaskTests {
  @Test func rangesBecomeBits() {
    #expect(GranuleMask(0..<16) == .all)
    #expect(GranuleMask(0..<0) == .none)
    #expect(GranuleMask(15..<16).bits == 0x8000)
    #expect(GranuleMask(2..<5).description == "0000000000011100")
    #expect(GranuleMask(-3..<40) == .all)
  }

  @Test func setOperations() {
    var mask = GranuleMask(0..<4)
    #expect(mask.contains(GranuleMask(1..<3)))
    #expect(!mask.contains(GranuleMask(3..<5)))
    #expect(mask.contains(GranuleMask.none))
    mask.insert(GranuleMask(8..<9))
    #expect(mask.count == 5)
    #expect(mask.contains(8) && !mask.contains(7))
    mask.remove(GranuleMask(0..<2))
    #expect(mask == GranuleMask(bits: 0b1_0000_1100))
    #expect(mask.subtracting(GranuleMask(8..<9)) == GranuleMask(2..<4))
    #expect(mask.intersection(GranuleMask(3..<16)) == GranuleMask(bits: 0b1_0000_1000))
  }
}
