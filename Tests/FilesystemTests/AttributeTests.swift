import Basics
import ObjectStore
import SystemPackage
import Testing

@testable import Filesystem

@Suite struct AttributeTests {
  private func change(_ body: (inout AttributeChanges) -> Void) -> AttributeChanges {
    var changes = AttributeChanges()
    body(&changes)
    return changes
  }

  @Test func attributesOfAnObjectAreSetInPlace() throws {
    let bench = try Bench()
    try bench.put("a", "bytes", metadata: ["custom": "kept"])
    let inode = try bench.inode("a")
    let changes = change {
      $0.mode = 0o600
      $0.uid = 12
      $0.modified = .at(Timestamp(seconds: 5, nanoseconds: 7))
    }
    let reply = try bench.filesystem.setAttributes(inode, changes, nil, bench.context)
    #expect(reply.attributes.mode == 0o100600)
    #expect(reply.attributes.uid == 12)
    #expect(reply.attributes.modified == Timestamp(seconds: 5, nanoseconds: 7))
    let metadata = try bench.metadata("a")
    #expect(metadata["mode"] == "33152")
    #expect(metadata["mtime"] == "5.000000007")
    #expect(metadata["custom"] == "kept")
    #expect(bench.text("a") == "bytes")
  }

  @Test(arguments: [WriteMode.close, .writeback])
  func headersOfOthersAreKept(_ mode: WriteMode) throws {
    let bench = try Bench(writeMode: mode)
    let headers: [StoredHeader: String] = [
      .cacheControl: "max-age=60", .contentDisposition: "attachment; filename=\"a\"", .contentEncoding: "gzip",
      .contentLanguage: "nb", .expires: "Thu, 01 Dec 2044 16:00:00 GMT",
    ]
    let attributes = ObjectAttributes(
      contentType: "text/html", headers: headers, userMetadata: ["custom": "kept"], storageClass: "STANDARD_IA")
    for name in ["a", "d/b"] {
      try bench.memory.put(PutRequest(ObjectKey(name), body: .bytes([1]), attributes: attributes))
    }
    func expectAll(_ key: String, storageClass: String? = "STANDARD_IA") throws {
      let found = try bench.memory.head(ObjectKey(key))
      #expect(found.headers == headers && found.contentType == "text/html", "\(key)")
      #expect(found.userMetadata["custom"] == "kept" && found.storageClass == storageClass, "\(key)")
    }
    _ = try bench.filesystem.setAttributes(bench.inode("a"), change { $0.mode = 0o600 }, nil, bench.context)
    try expectAll("a")
    try bench.rename("a", to: "c")
    try expectAll("c")
    try bench.rename("d", to: "e")
    try expectAll("e/b")
    let handle = try bench.open("c", writes: true)
    try bench.write("xyz".utf8, to: handle, at: 1)
    try bench.close(handle)
    bench.runUploads()
    #expect(bench.object("c")?.count == 4)
    // What is stored anew is stored like any new file.
    try expectAll("c", storageClass: nil)
  }

  @Test func aCopyOfAnObjectInAnArchiveIsNotStoredInOne() throws {
    let bench = try Bench()
    for name in ["GLACIER", "SOMETHING_ELSE"] {
      let attributes = ObjectAttributes(storageClass: name)
      try bench.memory.put(PutRequest(ObjectKey(name), body: .bytes([1]), attributes: attributes))
      _ = try bench.filesystem.setAttributes(bench.inode(name), change { $0.mode = 0o600 }, nil, bench.context)
      #expect(try bench.memory.head(ObjectKey(name)).storageClass == nil)
    }
  }

  @Test func attributesOfAFileBeingWrittenGoWithItsUpload() throws {
    let bench = try Bench()
    let handle = try bench.create("a")
    try bench.write("x".utf8, to: handle)
    let changes = change {
      $0.mode = 0o755
      $0.modified = .at(Timestamp(seconds: 99))
    }
    _ = try bench.filesystem.setAttributes(bench.inode("a"), changes, handle, bench.context)
    try bench.close(handle)
    #expect(bench.store.count(.copy) == 0)
    #expect(try bench.metadata("a")["mtime"] == "99")
    #expect(try bench.stat("a").mode == 0o100755)
  }

  @Test func theTimesOfALargeFileAreKeptToo() throws {
    let bench = try Bench()
    let handle = try bench.create("large")
    try bench.write(pattern(17 << 20), to: handle)
    _ = try bench.filesystem.setAttributes(
      bench.inode("large"), change { $0.modified = .at(Timestamp(seconds: 99)) }, handle, bench.context)
    try bench.close(handle)
    #expect(try bench.metadata("large")["mtime"] == "99")
    #expect(bench.object("large") == pattern(17 << 20))
    #expect(try bench.stat("large").modified == Timestamp(seconds: 99))
  }

  @Test func timesThatCannotBeKeptAreAnErrorOfClose() throws {
    let bench = try Bench()
    let handle = try bench.create("large")
    try bench.write(pattern(17 << 20), to: handle)
    _ = try bench.filesystem.setAttributes(
      bench.inode("large"), change { $0.modified = .at(Timestamp(seconds: 99)) }, handle, bench.context)
    bench.store.setRule { $0.kind == .copy ? .fail(.accessDenied) : nil }
    #expect(failure { try bench.close(handle) } == .permissionDenied)
    #expect(bench.object("large") == pattern(17 << 20), "the bytes are stored all the same")
  }

  @Test func attributesOfADirectoryAreOnItsMarker() throws {
    let bench = try Bench()
    try bench.makeDirectory("d")
    _ = try bench.filesystem.setAttributes(
      bench.inode("d"), change { $0.mode = 0o700 }, nil, bench.context)
    #expect(try bench.stat("d").mode == 0o040700)
    let marker = try bench.memory.head(ObjectKey("d/"))
    #expect(marker.userMetadata["mode"] == "16832")
    #expect(marker.contentType?.hasPrefix("application/x-directory; mode=16832; uid=1000") == true)
    bench.clock.advance(seconds: 60)
    #expect(try bench.stat("d").mode == 0o040700)
  }

  @Test func aMarkerWhoseHeadersWereLostIsReadFromItsType() {
    let metadata = ObjectMetadata(
      size: 0, etag: ETag("x"), lastModified: Timestamp(seconds: 1),
      contentType: "application/x-directory; mode=16832; uid=5; mtime=7.5")
    let posix = PosixAttributes(metadata)
    #expect(posix.permissions == 0o700)
    #expect(posix.uid == 5)
    #expect(posix.gid == nil)
    #expect(posix.modified == Timestamp(seconds: 7, nanoseconds: 500_000_000))
  }

  @Test func whatTheRootOfABucketCannotKeepIsAnError() throws {
    let bench = try Bench()
    #expect(
      failure {
        _ = try bench.filesystem.setAttributes(.root, change { $0.mode = 0o700 }, nil, bench.context)
      } == .notSupported)
    let below = try Bench(prefix: "p/")
    _ = try below.filesystem.setAttributes(.root, change { $0.mode = 0o700 }, nil, below.context)
    #expect(try below.filesystem.getAttributes(.root, nil, below.context).attributes.mode == 0o040700)
  }

  @Test func aFailureToSetThemIsAnError() throws {
    let bench = try Bench()
    try bench.put("a", "x")
    let inode = try bench.inode("a")
    bench.store.setRule { $0.kind == .copy ? .fail(.accessDenied) : nil }
    #expect(
      failure {
        _ = try bench.filesystem.setAttributes(inode, change { $0.mode = 0o600 }, nil, bench.context)
      } == .permissionDenied)
    #expect(try bench.stat("a").mode == 0o100644)
  }

  @Test(arguments: [
    ("12", Timestamp(seconds: 12)), ("12.5", Timestamp(seconds: 12, nanoseconds: 500_000_000)),
    ("-3", Timestamp(seconds: -3)), ("12.000000001", Timestamp(seconds: 12, nanoseconds: 1)),
    ("1700000000.123456789123", Timestamp(seconds: 1_700_000_000, nanoseconds: 123_456_789)),
  ])
  func timesInTheFormsOthersWrite(_ text: String, _ time: Timestamp) {
    #expect(PosixAttributes.parseTime(text) == time)
  }

  @Test(arguments: ["", "x", "1.", "1.x", ".5", "1.2.3", "99999999999999999999", "1.-5"])
  func timesThatAreNone(_ text: String) {
    #expect(PosixAttributes.parseTime(text) == nil)
  }

  @Test func formattedTimesAreReadBack() {
    for time in [Timestamp(seconds: 0), Timestamp(seconds: 5, nanoseconds: 1), Timestamp(seconds: -1)] {
      #expect(PosixAttributes.parseTime(PosixAttributes.format(time)) == time)
    }
  }

  @Test func everyStoreErrorHasAnErrno() {
    for code in ObjectStoreError.Code.allCases {
      let errno = Errno(ObjectStoreError(code, "x"))
      #expect((errno == .noSuchFileOrDirectory) == (code == .notFound))
    }
  }
}
