import Testing

@testable import waysfs

@Suite struct LeftBucketsTests {
  @Test func countsWhatNobodyElseCounts() {
    var left = LeftBuckets(["aaa": 2, "bbb": 3, "ccc": 0])
    #expect(left.names == ["aaa", "bbb", "ccc"])
    #expect(left.pending(apartFrom: []) == PendingUploads(files: 5, bytes: 0))
    // One that is being opened counts its files from some moment on.
    #expect(left.pending(apartFrom: ["bbb"]).files == 2)
    left.opened("bbb")
    #expect(left.names == ["aaa", "ccc"] && left.pending(apartFrom: []).files == 2)
    left.failed("aaa", "no permission")
    left.failed("bbb", "not of interest")
    #expect(
      left.pending(apartFrom: []) == PendingUploads(files: 2, bytes: 0, failed: 2, lastError: "no permission"))
    left.opened("aaa")
    #expect(left.pending(apartFrom: []) == .none)
  }

  @Test func bucketsThatAreListedAgainAreOpened() {
    var left = LeftBuckets(["aaa": 2], unlisted: ["bbb": 3, "ccc": 1])
    #expect(left.names == ["aaa"] && left.pending(apartFrom: []).files == 2)
    // Nobody's, or open already.
    left.opened("ccc")
    #expect(left.appeared(["ccc", "ddd"]).isEmpty)
    #expect(left.appeared(["bbb", "eee"]) == ["bbb"] && left.appeared(["bbb"]).isEmpty)
    #expect(left.names == ["aaa", "bbb"] && left.pending(apartFrom: []).files == 5)
  }
}
